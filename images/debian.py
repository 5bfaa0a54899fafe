"""The Debian base, made from Debian's own signed packages where no image registry can be reached."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

SUITE = "trixie"
# The same cuts as Debian's own slim image: documentation, manuals and translations stay out. The files that a build
# host writes for itself (name servers, host name) must not become part of an image.
OPTIONS = (
    "--variant=minbase",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    "--dpkgopt=path-exclude=/usr/share/info/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    '--customize-hook=: > "$1/etc/resolv.conf"',
    '--customize-hook=rm -f "$1/etc/hostname"',
)


def recipe() -> str:
    """Names the base by how it is made."""
    return hashlib.sha256("\n".join((SUITE, *OPTIONS)).encode()).hexdigest()[:16]


def local_name() -> str:
    """The name that tells our base of this recipe from an older one."""
    return f"localhost/swiftop/debian-{SUITE}:{recipe()}"


def make(cache: Path, run: Callable[[Sequence[str]], None], *, fresh: bool = False) -> Path:
    """The base as a tar, made once per recipe, or again when `fresh`: with the packages of today."""
    tree = cache / "base" / f"debian-{SUITE}-{recipe()}.tar"
    if fresh or not tree.exists():
        tree.parent.mkdir(parents=True, exist_ok=True)
        part = tree.with_name(f"part-{tree.name}")
        run(["mmdebstrap", *OPTIONS, SUITE, str(part)])
        part.rename(tree)
    return tree
