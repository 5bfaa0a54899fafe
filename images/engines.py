"""The two tools that can build a Dockerfile: docker where its daemon answers, buildah elsewhere. Same Dockerfiles, same
secrets, same kind of archive."""

from __future__ import annotations

import os
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
    """docker buildx; the archive is `docker save`'s, an OCI layout since Docker 25."""

    def build(self, request: Request, target: Path, run: Run) -> None:
        """Build into the daemon's store, then save under both names."""
        tags = [part for ref in request.refs for part in ("--tag", ref)]
        options = ["--load", "--progress", "plain", *tags, *common_options(request)]
        run(["docker", "buildx", "build", *options, str(request.context)])
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
            self._ensure_base(str(base), run)
        # A base from a registry is pulled when missing; one that was made here must never be asked of a registry.
        pull = "--pull=never" if own_base else "--pull=missing"
        run(self.command("rm", "--all"))  # what a failed or killed build left; whoever builds holds the lock
        ref = request.refs[0]  # the other names stand in the archive alone
        options = ["--isolation", "chroot", "--layers", "--format", "oci", pull, "--tag", ref]
        run(self.command("build", *options, *common_options(request), str(request.context)))
        with tempfile.TemporaryDirectory(dir=self.cache, prefix="layout-") as layout:
            run(self.command("push", "--quiet", *COMPRESSION, ref, f"oci:{layout}:image"))
            archive.pack_layout(Path(layout), request.refs, target)

    def _ensure_base(self, base: str, run: Run) -> None:
        """Bring a Debian base of our own making under the name that the Dockerfile's FROM asks for."""
        own = debian.local_name()
        if not self._holds(own):
            tree = debian.make(self.cache, run)
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


def docker_answers() -> bool:
    """A docker client alone is not enough: its daemon and buildx must answer."""
    if shutil.which("docker") is None:
        return False
    probes = (["docker", "version", "--format", "{{.Server.Version}}"], ["docker", "buildx", "version"])
    return all(subprocess.run(probe, check=False, capture_output=True, timeout=30).returncode == 0 for probe in probes)


def choose(name: str | None, cache: Path, run: Run) -> Engine:
    """The engine asked for, or the best one here."""
    if name == "docker" or (name is None and docker_answers()):
        return Docker()
    ensure_buildah(run)
    return Buildah(cache)


def missing_packages(which: Callable[[str], str | None] = shutil.which) -> list[str]:
    """Debian packages without which buildah cannot work here."""
    wanted = {"buildah": "buildah", "mmdebstrap": "mmdebstrap", "zstd": "zstd"}  # zstd: to look into an archive
    return [package for command, package in wanted.items() if which(command) is None]


def ensure_buildah(run: Run) -> None:
    """Install what is missing when that is possible, else say exactly what to do."""
    if os.geteuid() != 0:
        raise BuildError("building images needs a docker daemon that answers, or root for buildah: neither is here")
    missing = missing_packages()
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise BuildError(f"building images needs docker or these packages: {' '.join(missing)}")
    run(["apt-get", "update", "-q"])
    run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing, "debian-archive-keyring"])
