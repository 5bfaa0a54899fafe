"""Environments with real ms-swift releases, made once and kept in swiftop's cache.

All stand on the file system of the CPU trainer image, which has Debian's small CPU-only torch (PyPI's carries gigabytes
of CUDA) and ms-swift 4.6. An older release is a virtual environment on top that holds only what differs. A program runs
in there by chroot, in a mount namespace of its own, so that nothing stays mounted; without root in a user namespace. It
is a fork of a process that has imported ms-swift, unless it asks for an interpreter that has not.

``image_rootfs(NAME)`` is the file system of any of our images, for tests that start something else in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from images import archive, host
from images.build import build
from images.cache import cache_root
from tests.swift_versions.forks import ForkServer

TRAINER = "trainer-cpu"
ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = Path(__file__).parent / "requirements"
ENVIRONMENTS = "/mnt"  # inside; every Debian has these two empty directories
WORK = "/srv"
# PID 1's view of /proc and /dev is enough; /tmp is fresh, so that nothing a program writes there stays.
_ENTER = f"""set -e
mount --rbind /proc "$0/proc"; mount --rbind /dev "$0/dev"; mount -t tmpfs tmpfs "$0/tmp"
mount --bind "$1" "$0{ENVIRONMENTS}"; mount --bind "$2" "$0{WORK}"
mount --bind /etc/resolv.conf "$0/etc/resolv.conf"
root=$0; shift 2; exec chroot "$root" /usr/bin/env -i "$@"
"""
# torch 2.6 raises where later ones answer None (there is no accelerator), and transformers 5 asks at import.
_RUN = """import runpy, sys, torch
torch.accelerator.current_accelerator = lambda *_args, **_kwargs: None
sys.argv = sys.argv[1:]
runpy.run_path("WORK/" + sys.argv[0], run_name="__main__")
""".replace("WORK", WORK)
# No fork has the threads of libraries: those of OpenMP, of numpy's and scipy's OpenBLAS, and of Arrow's allocator.
_ONE_THREAD = ("OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "JE_ARROW_MALLOC_CONF=background_thread:false")
_ZSTD = b"\x28\xb5\x2f\xfd"
_PIP = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")


def cache_directory() -> Path:
    """Where root file system and environments are kept between runs."""
    return cache_root() / "swift-versions"


@dataclass(frozen=True)
class Environment:
    """One ms-swift release, ready to run Python programs."""

    name: str
    rootfs: Path
    store: Path
    python: str

    def run(self, program: str, *words: str, stdin: str = "", fresh: bool = False) -> str:
        """Standard output of a Python program of the repository, given by its path in there.

        It finds ms-swift imported. ``fresh``: it imports ms-swift itself, as where the import is to read variables.
        """
        if fresh:
            return _inside(self.rootfs, self.store, ROOT, [self.python, "-c", _RUN, program, *words], stdin=stdin)
        done = _forks(self).run([f"{WORK}/{program}", *words], stdin)
        if done.returncode != 0:
            raise RuntimeError(f"{program} ended with {done.returncode}:\n{done.stderr[-4000:]}")
        return done.stdout


@functools.cache
def _forks(environment: Environment) -> ForkServer:
    def start(file: int) -> list[str]:
        command = [environment.python, "-c", _RUN, "tests/swift_versions/fork_server.py", str(file)]
        return _entered(environment.rootfs, environment.store, ROOT, [*_ONE_THREAD, *command])

    return ForkServer(start)


def _inside(rootfs: Path, store: Path, work: Path, command: Sequence[str], *, stdin: str = "") -> str:
    enter = _entered(rootfs, store, work, command)
    done = subprocess.run(enter, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:4])} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout


def _entered(rootfs: Path, store: Path, work: Path, command: Sequence[str]) -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    variables = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp", "LANG=C.UTF-8", "DS_BUILD_OPS=0"]
    variables += ["PYTHONDONTWRITEBYTECODE=1", *(f"{k}={v}" for k, v in host.proxy_arguments().items())]
    return ["unshare", *user, "--mount", "sh", "-c", _ENTER, str(rootfs), str(store), str(work), *variables, *command]


def environment(name: str, rootfs: Path | None = None) -> Environment:
    """The environment of ``requirements/<name>.txt``, made on first use."""
    root = rootfs or image_rootfs()
    files = [REQUIREMENTS / "common.txt", REQUIREMENTS / f"{name}.txt"]
    digest = hashlib.sha256(b"".join(f.read_bytes() for f in files) + root.name.encode()).hexdigest()[:16]
    store = cache_directory() / "environments"
    target = store / f"{name}-{digest}"
    store.mkdir(parents=True, exist_ok=True)
    with _locked(store / f"{name}.lock"):
        if not (target / "ready").exists():
            _remove(*store.glob(f"{name}-????????????????"))
            _make(target, root, store, files)
            (target / "ready").touch()
    return Environment(name, root, store, f"{ENVIRONMENTS}/{target.name}/bin/python")


def _make(target: Path, root: Path, store: Path, files: Sequence[Path]) -> None:
    """A virtual environment whose own packages win over those of the image's."""
    python = f"{ENVIRONMENTS}/{target.name}/bin/python"
    _inside(root, store, store, ["python3", "-m", "venv", "--system-site-packages", f"{ENVIRONMENTS}/{target.name}"])
    (site,) = target.glob("lib/python3.*/site-packages")
    (site / "trainer-image.pth").write_text(f"/opt/swift/lib/{site.parent.name}/site-packages\n")
    secrets = store / f"{target.name}-pip"
    try:
        for secret, path in host.write_secrets(secrets).items():
            text = path.read_text().replace(host.CA_IN_BUILD, f"{WORK}/ca.crt")
            (secrets / secret).write_text(text)
        for number, file in enumerate(files):
            shutil.copyfile(file, secrets / f"{number}.txt")
            pip = [f"PIP_CONFIG_FILE={WORK}/pip.conf", python, *_PIP, "--requirement", f"{WORK}/{number}.txt"]
            _inside(root, store, secrets, pip)
    finally:
        _remove(secrets)


def image_rootfs(name: str = TRAINER) -> Path:
    """File system of an image, unpacked; the folder's name is the image's digest."""
    built = build(name)
    target = cache_directory() / name / f"rootfs-{built.digest.removeprefix('sha256:')[:16]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.parent / "rootfs.lock"):
        if not target.exists():
            _remove(*target.parent.glob("rootfs-*"), *target.parent.glob("part-*"))
            part = target.with_name(f"part-{target.name}")
            part.mkdir()
            for layer in _manifest(built.archive)["layers"]:
                _apply(built.archive, _blob(layer["digest"]), part)
            _remove(part / "etc/resolv.conf")
            (part / "etc/resolv.conf").touch()  # a place to mount the machine's own one over
            part.rename(target)
    return target


def image_variables(name: str = TRAINER) -> dict[str, str]:
    """Environment that an image gives to its containers."""
    file = build(name).archive
    settings = archive.read_json(file, _blob(_manifest(file)["config"]["digest"]))
    return dict(item.split("=", 1) for item in settings["config"]["Env"])


def _manifest(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = archive.read_json(file, _blob(archive.manifest_digest(file)))
    return found


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _apply(file: Path, layer: str, target: Path) -> None:
    """One layer over those before it: ``.wh.NAME`` removes NAME."""
    with _unpacked(file, layer) as stream, tarfile.open(fileobj=stream, mode="r|*") as tar:
        for member in tar:
            folder, _, base = member.name.rpartition("/")
            if base.startswith(".wh."):
                _remove(target / folder / base.removeprefix(".wh."))
            elif not member.isdev():
                tar.extract(member, target, filter=_as_in_an_image)


@contextlib.contextmanager
def _unpacked(file: Path, layer: str) -> Iterator[IO[bytes]]:
    """A layer as tarfile can read it: Python knows gzip, and zstd only from 3.14 on."""
    with tarfile.open(file) as outer, tempfile.NamedTemporaryFile(dir=cache_directory()) as copy:
        blob = outer.extractfile(layer)
        assert blob is not None
        shutil.copyfileobj(blob, copy)
        copy.flush()
        copy.seek(0)
        if copy.read(4) != _ZSTD:
            copy.seek(0)
            yield copy
            return
        if shutil.which("zstd") is None:
            subprocess.run(["apt-get", "install", "-q", "-y", "zstd"], check=True, capture_output=True)
        with subprocess.Popen(["zstd", "-dc", copy.name], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            yield process.stdout
            process.stdout.read()
        assert process.returncode == 0


def _as_in_an_image(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
    """Absolute links lead into the root file system, where the ``tar`` filter would refuse them."""
    member.uid = member.gid = os.geteuid() if os.geteuid() else 0
    return member if member.issym() else tarfile.tar_filter(member, path)


def _remove(*paths: Path) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
