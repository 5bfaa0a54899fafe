"""Which images there are, what goes into each, and the content hash that names a build.

The hash covers every input and build argument, so a second build of unchanged sources costs nothing and a cluster can
tell from the tag alone whether it already holds an image.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from images.cache import cache_root

ROOT = Path(__file__).resolve().parent.parent
REGISTRY = "localhost/swiftop"
DEBIAN = "docker.io/library/debian:trixie-slim"
_LEFT_OUT = {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


@dataclass(frozen=True)
class Image:
    """One image: its Dockerfile plus the paths of the repository that the Dockerfile copies."""

    name: str
    sources: tuple[str, ...]
    arguments: tuple[str, ...]  # the build arguments that the Dockerfile knows
    base: str | None  # a base that can be made without a registry; None: it must be pulled

    @property
    def dockerfile(self) -> str:
        """Path of the Dockerfile inside the build context."""
        return f"images/{self.name}/Dockerfile"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Every path that the build reads."""
        return (self.dockerfile, *self.sources)


IMAGES: Mapping[str, Image] = {
    image.name: image
    for image in (
        Image(
            name="operator",
            sources=("images/operator/constraints.txt", "pyproject.toml", "README.md", "LICENSE", "operator"),
            arguments=("BASE",),
            base=DEBIAN,
        ),
        Image(
            name="trainer-cpu",
            sources=("images/trainer-cpu/requirements.txt", "images/trainer-cpu/constraints.txt"),
            arguments=("BASE",),
            base=DEBIAN,
        ),
        Image(
            name="server-vllm-cpu",
            sources=("images/server-vllm-cpu/constraints.txt", "images/server-vllm-cpu/fit.py"),
            arguments=("BASE",),
            base=DEBIAN,
        ),
        Image(
            name="trainer",
            sources=("images/trainer/check.py", "images/trainer/wheels"),
            arguments=(
                "BASE",
                "SWIFT_VERSION",
                "SWANLAB_VERSION",
                "MODELSCOPE_VERSION",
                "DEEPSPEED_VERSION",
                "LIGER_VERSION",
                "FLASH_ATTN",
            ),
            base=None,
        ),
    )
}


def cache_directory() -> Path:
    """Where archives, base file systems and layers are kept between builds."""
    return cache_root() / "images"


def input_files(image: Image, root: Path = ROOT) -> Iterator[Path]:
    """Every input file in a stable order; caches of tools are no input."""
    for entry in image.inputs:
        path = root / entry
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (file for file in files if not file.is_dir() and not _LEFT_OUT & set(file.parts))


def content_hash(image: Image, arguments: Mapping[str, str], recipe: str, root: Path = ROOT) -> str:
    """Name the result by what it is made of; `recipe` stands for the base made on this machine."""
    digest = hashlib.sha256(repr((image.name, sorted(arguments.items()), recipe)).encode())
    for file in input_files(image, root):
        executable = bool(file.stat().st_mode & 0o100)
        digest.update(repr((str(file.relative_to(root)), executable)).encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def stage_context(image: Image, target: Path, root: Path = ROOT) -> None:
    """Copy exactly the hashed inputs, so that nothing else of the checkout can reach an image."""
    for file in input_files(image, root):
        copy = target / file.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
