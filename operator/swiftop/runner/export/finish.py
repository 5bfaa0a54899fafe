"""Task: the last touch on a folder that is to be kept or published, and its manifest.

What belongs to the machine or to an interrupted writer goes (args.json, hidden files), every file becomes readable for
other users (ms-swift leaves weights as 0600), a model card is written where none is, and each file is hashed.

Request: ``{artifact, card?}``. Result: ``{files: [{path, size, sha256}], bytes, dtype, digest, removed, card}``. The
digest is that of the output of ``sha256sum`` over all files, sorted by path, so that anybody can make it again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .. import causes, task
from ..hub.request import EXCLUDED
from . import card, folder, weights
from .meter import Meter

_BLOCK = 1 << 22


@dataclass(frozen=True)
class File:
    """One file of an artifact."""

    path: str  # relative, with /
    size: int
    sha256: str


def work(request: Mapping[str, Any], progress: task.Progress) -> Mapping[str, Any]:
    """Clean, write the card, hash."""
    artifact = Path(request["artifact"])
    removed = clean(artifact)
    written = _write_card(artifact, request.get("card"))
    make_readable(artifact)
    files = manifest(artifact, progress)
    try:
        code = weights.main_type(weights.read_folder(artifact, folder.stem_of(artifact)).values())
    except weights.Damaged as error:
        raise task.Refused(causes.VERIFICATION_FAILED, str(error)) from error
    return {
        "files": [asdict(file) for file in files],
        "bytes": sum(file.size for file in files),
        "dtype": weights.WORDS.get(code or "", ""),
        "digest": digest(files),
        "removed": removed,
        "card": written,
    }


def clean(artifact: Path) -> list[str]:
    """Remove what is no part of a model and never published; hidden files are caches, or left by a killed writer."""
    removed = []
    for path in sorted(artifact.rglob("*")):
        if any(fnmatchcase(path.name, pattern) for pattern in EXCLUDED) and os.path.lexists(path):
            removed.append(path.relative_to(artifact).as_posix())
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    return removed


def make_readable(artifact: Path) -> None:
    """Files for all to read, folders for all to enter: what serves the model may run as another user."""
    for path in (artifact, *artifact.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)


def manifest(artifact: Path, progress: task.Progress) -> list[File]:
    """All files, sorted by path."""
    paths = sorted((path.relative_to(artifact).as_posix(), path) for path in artifact.rglob("*") if path.is_file())
    meter = Meter(progress, "Hashing", sum(path.stat().st_size for _, path in paths))
    return [_hashed(name, path, meter) for name, path in paths]


def _hashed(name: str, path: Path, meter: Meter) -> File:
    found, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
            size += len(block)
            meter.add(len(block))
    return File(name, size, found.hexdigest())


def digest(files: Iterable[File]) -> str:
    """SHA-256 of all, in hex."""
    lines = "".join(f"{file.sha256}  {file.path}\n" for file in sorted(files, key=lambda file: file.path))
    return hashlib.sha256(lines.encode()).hexdigest()


def _write_card(artifact: Path, told: object) -> bool:
    """A card that came with the model is its authors' and stays."""
    path = artifact / card.NAME
    if not isinstance(told, dict) or path.exists():
        return False
    path.write_text(card.render(card.read(told)), encoding="utf-8")
    return True


if __name__ == "__main__":
    raise SystemExit(task.main(work))
