"""The command line of the test cluster."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from images.cache import cache_root
from tools.cluster import images, kubectl, locks
from tools.cluster.backend import Cluster, choose
from tools.cluster.layout import DEFAULT_NAME, ClusterError, Layout, Options


class _Parser(argparse.ArgumentParser):
    """A parser that can take every word as it stands: argparse by itself refuses an option as the first of the rest."""

    def __init__(self, *, verbatim: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self._verbatim = verbatim

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if not self._verbatim:
            return super().parse_known_args(args, namespace)
        namespace = namespace or argparse.Namespace()
        namespace.rest = list(args or ())
        return namespace, []


def main(words: Sequence[str] | None = None) -> None:
    """Parse, run, and show errors that the user can act on without a traceback."""
    arguments = _parser().parse_args(words)
    try:
        sys.exit(_run(arguments))
    except ClusterError as error:
        sys.exit(f"cluster: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"cluster: {error}\n{error.stderr or ''}")


def _run(arguments: argparse.Namespace) -> int:
    cluster = choose(arguments.name)
    match arguments.command:
        case "build":
            cluster.build()
            kubectl.find(cache_root())
        case "up":
            _up(cluster, Options(arguments.gpus, arguments.control_plane_only, arguments.audit))
        case "down":
            with locks.session(Layout.of(arguments.name)):
                (cluster.purge if arguments.purge else cluster.down)()
        case "status":
            status = cluster.status()
            print("\n".join(f"{key:<11}{value}" for key, value in status.items()))
            return 0 if status["state"] == "running" else 1
        case "load":
            _load(cluster, arguments.image)
        case "kubectl":
            program = kubectl.find(cache_root())
            os.execve(program, [program, *arguments.rest], kubectl.environment(cluster.kubeconfig))
    return 0


def _up(cluster: Cluster, options: Options) -> None:
    start = time.monotonic()
    cluster.up(options)
    print(f"cluster: {cluster.name} is up after {time.monotonic() - start:.1f} s")
    print(f"export KUBECONFIG={cluster.kubeconfig}")


def _load(cluster: Cluster, image: str) -> None:
    if Path(image).is_file():
        names = cluster.load(Path(image))
    else:
        with tempfile.TemporaryDirectory() as directory:
            names = cluster.load(images.find(image, Path(directory) / "image.tar"))
    print("\n".join(names))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m tools.cluster", description="A real Kubernetes on this machine.")
    parser.add_argument("--name", default=DEFAULT_NAME, help="clusters of different names stand side by side")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build what a cluster is made of, once, and start nothing")
    up = commands.add_parser("up", help="boot and wait until ready; the first time builds everything")
    up.add_argument("--gpus", type=int, default=8, help="fake GPUs on the node; 0 for none")
    up.add_argument("--control-plane-only", action="store_true", help="no node: objects only")
    up.add_argument("--audit", action="store_true", help="write every request to the audit log")
    down = commands.add_parser("down", help="end it; images stay for the next boot")
    down.add_argument("--purge", action="store_true", help="remove its images and certificates too")
    commands.add_parser("status", help="whether it runs and where its files are")
    load = commands.add_parser("load", help="bring an image into the cluster")
    load.add_argument(
        "image",
        metavar="IMAGE",
        help="an archive, localhost/swiftop/operator or trainer-cpu, or a name that docker or buildah knows",
    )
    commands.add_parser("kubectl", help="run kubectl on it", add_help=False, verbatim=True)
    return parser
