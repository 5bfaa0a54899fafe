"""The two tools that can build a Dockerfile: docker where its daemon answers, buildah elsewhere. Same Dockerfiles, same
secrets, same kind of archive."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from images import archive, debian
from images.catalog import Image

Run = Callable[[Sequence[str]], None]  # runs one command, showing its progress; raises BuildError
OCI_SINCE = 25  # the first Docker whose `save` writes an OCI layout
PATIENCE = 30.0  # seconds for docker to answer
STORE_LIMIT = 15e9  # bytes in buildah's store; operator, CPU trainer, CPU server and all their stages are 6e9


class BuildError(Exception):
    """The build cannot go on; the text says what to do."""


@dataclass(frozen=True)
class Request:
    """One build: everything that an engine needs to know."""

    image: Image
    context: Path
    refs: tuple[str, ...]
    arguments: Mapping[str, str]
    secrets: Mapping[str, Path]
    fresh: bool = False


def common_options(request: Request) -> list[str]:
    """The options that docker and buildah spell alike."""
    options = ["--file", str(request.context / request.image.dockerfile)]
    options += [part for item in sorted(request.arguments.items()) for part in ("--build-arg", "=".join(item))]
    options += [
        part for name, file in sorted(request.secrets.items()) for part in ("--secret", f"id={name},src={file}")
    ]
    return [*options, *(["--no-cache"] if request.fresh else [])]


class Engine(Protocol):
    """Builds a request into an archive."""

    def build(self, request: Request, target: Path, run: Run) -> None:
        """Build and write the archive to `target`."""


@dataclass(frozen=True)
class Docker:
    """docker buildx; the archive is `docker save`'s."""

    def build(self, request: Request, target: Path, run: Run) -> None:
        """Build into the daemon's store, then save under both names."""
        tags = [part for ref in request.refs for part in ("--tag", ref)]
        # Attestations would make an index of the image. A base of a fresh build is asked of its registry again.
        options = ["--load", "--provenance=false", "--progress", "plain", *tags, *common_options(request)]
        pull = ["--pull"] if request.fresh else []
        run(["docker", "buildx", "build", *pull, *options, str(request.context)])
        run(["docker", "save", "--output", str(target), *request.refs])


@dataclass(frozen=True)
class Buildah:
    """buildah without a daemon: `chroot` isolation needs neither a container runtime nor cgroups.

    It keeps a store of its own below the cache, so that the base made here never passes for the public image of that
    name in the machine's store.
    """

    cache: Path

    def command(self, *words: str) -> list[str]:
        """A buildah command on our own store, in a mount namespace of its own: what it mounts ends with it."""
        store = ("--root", str(self.cache / "storage"), "--runroot", str(self.cache / "storage-run"))
        return ["unshare", "--mount", "buildah", *store, *words]

    def build(self, request: Request, target: Path, run: Run) -> None:
        """Make the base if needed, build, push into a layout directory, tar that."""
        base = request.image.base
        own_base = base is not None and request.arguments.get("BASE", base) == base
        if own_base:
            self._ensure_base(str(base), run, fresh=request.fresh)
        # A base from a registry is pulled when missing; one that was made here must never be asked of a registry.
        pull = "--pull=never" if own_base else "--pull=always" if request.fresh else "--pull=missing"
        run(self.command("rm", "--all"))  # what a failed or killed build left; whoever builds holds the lock
        ref = request.refs[0]  # the other names stand in the archive alone
        options = ["--isolation", "chroot", "--layers", "--format", "oci", pull, "--tag", ref]
        run(self.command("build", *options, *common_options(request), str(request.context)))
        with tempfile.TemporaryDirectory(dir=self.cache, prefix="layout-") as layout:
            run(self.command("push", "--quiet", *COMPRESSION, ref, f"oci:{layout}:image"))
            archive.pack_layout(Path(layout), request.refs, target)
        self._prune(run)

    def _prune(self, run: Run) -> None:
        """Let go of the layers that no named image stands on, once the store has grown large.

        Not sooner: the stages of the last builds are among them, and are what makes the next build quick.
        """
        sizes = subprocess.run(["du", "-s", "-B1", self.cache / "storage"], check=False, capture_output=True, text=True)
        if int((sizes.stdout.split() or ["0"])[0]) > STORE_LIMIT:
            with contextlib.suppress(BuildError):  # the image is built all the same, and the log has the reason
                run(self.command("rmi", "--prune", "--force"))

    def _ensure_base(self, base: str, run: Run, *, fresh: bool) -> None:
        """Bring a Debian base of our own making under the name that the Dockerfile's FROM asks for."""
        own = debian.local_name()
        if fresh or not self._holds(own):
            tree = debian.make(self.cache, run, fresh=fresh)
            recipe = tree.with_name("Dockerfile")
            recipe.write_text(f'FROM scratch\nADD {tree.name} /\nCMD ["bash"]\n')
            options = ["--isolation", "chroot", "--format", "oci", "--file", str(recipe), "--tag", own]
            run(self.command("build", *options, str(tree.parent)))
        run(self.command("tag", own, base))

    def _holds(self, ref: str) -> bool:
        found = subprocess.run(self.command("inspect", "--type", "image", ref), check=False, capture_output=True)
        return found.returncode == 0


# The CPU trainer (2.2 GB unpacked) on 2 cores: containerd imports it in 38 s from zstd level 1 (0.67 GB), in 45 s
# uncompressed, in 60 s from gzip (0.71 GB).
COMPRESSION = ("--compression-format", "zstd", "--compression-level", "1")


def docker_problem() -> str | None:
    """Why docker cannot build here, None when it can: a client alone is not enough."""
    if shutil.which("docker") is None:
        return "there is no docker"
    server = _answer("docker", "version", "--format", "{{.Server.Version}}")
    if server is None:
        return "docker's daemon does not answer"
    major = re.match(r"\d+", server)
    if major and int(major[0]) < OCI_SINCE:
        return f"docker {server} saves no OCI archives, as {OCI_SINCE} and later do"
    return "docker has no buildx" if _answer("docker", "buildx", "version") is None else None


def _answer(*command: str) -> str | None:
    """What a command prints, None when it fails or is not done in time: a daemon may accept and never answer."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def choose(name: str | None, cache: Path, run: Run) -> Engine:
    """The engine asked for, or the best one here."""
    problem = "buildah was asked for" if name == "buildah" else docker_problem()
    if problem is None:
        return Docker()
    if name == "docker":
        raise BuildError(problem)
    ensure_buildah(run, why=problem)
    return Buildah(cache)


def missing_packages(which: Callable[[str], str | None] = shutil.which) -> list[str]:
    """Debian packages without which buildah cannot work here."""
    wanted = {"buildah": "buildah", "mmdebstrap": "mmdebstrap", "zstd": "zstd"}  # zstd: to look into an archive
    return [package for command, package in wanted.items() if which(command) is None]


def ensure_buildah(run: Run, *, why: str) -> None:
    """Install what is missing when that is possible, else say exactly what to do; `why` says why it is not docker."""
    if os.geteuid() != 0:
        needs = f"docker {OCI_SINCE} or later with buildx and a daemon that answers, or root for buildah"
        raise BuildError(f"building images needs {needs}: {why}, and this is not root")
    missing = missing_packages()
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise BuildError(f"building images needs docker or these packages: {' '.join(missing)}")
    run(["apt-get", "update", "-q"])
    run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing, "debian-archive-keyring"])
