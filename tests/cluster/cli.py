"""The command line of the test cluster."""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.cluster.embedded import EmbeddedCluster
from tests.cluster.layout import DEFAULT_NAME, ClusterError, Options


def main() -> None:
    """Parse, run, and show errors that the user can act on without a traceback."""
    arguments = _parser().parse_args()
    try:
        sys.exit(_run(arguments))
    except ClusterError as error:
        sys.exit(f"cluster: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"cluster: {error}\n{error.stderr or ''}")


def _run(arguments: argparse.Namespace) -> int:
    cluster = EmbeddedCluster(arguments.name)
    match arguments.command:
        case "up":
            start = time.monotonic()
            cluster.up(Options(arguments.gpus, arguments.control_plane_only, arguments.audit))
            print(f"cluster: {cluster.name} is up after {time.monotonic() - start:.1f} s")
            print(f"export KUBECONFIG={cluster.kubeconfig}")
        case "down":
            cluster.down()
        case "status":
            print("running" if cluster.running() else "stopped")
            return 0 if cluster.running() else 1
        case "load":
            print("\n".join(cluster.load(Path(arguments.image))))
        case "kubectl":
            os.execvpe("kubectl", ["kubectl", *arguments.rest], os.environ | {"KUBECONFIG": str(cluster.kubeconfig)})
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--name", default=DEFAULT_NAME)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up")
    up.add_argument("--gpus", type=int, default=8)
    up.add_argument("--control-plane-only", action="store_true")
    up.add_argument("--audit", action="store_true")
    commands.add_parser("down")
    commands.add_parser("status")
    load = commands.add_parser("load")
    load.add_argument("image")
    kubectl = commands.add_parser("kubectl")
    kubectl.add_argument("rest", nargs=argparse.REMAINDER)
    return parser
