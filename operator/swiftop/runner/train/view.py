"""A writable view of a dataset folder on a read-only claim.

Of a folder that was downloaded from ModelScope, ms-swift renames ``dataset_infos.json`` before it reads the rest, in
each of its releases, and fails where it may not. So it gets a folder of links to the files instead. Folders are made
anew, since datasets finds no files below a link to a folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

CLAIMS = Path("/data")  # where claims of datasets are mounted
ROOT = Path("/tmp/swiftop-data")
RENAMED = "dataset_infos.json"
MOST_FILES = 100_000  # a link each takes a moment

_DATASET = re.compile(r"^(/[^#:]+?)/?([#:].*)?$")  # a path, with subsets and sample


def with_views(
    command: tuple[str, ...], *, claims: Path = CLAIMS, root: Path = ROOT
) -> tuple[tuple[str, ...], list[str]]:
    """The command with views in place of the folders that need one, and these folders."""
    words, seen = list(command), []
    for at, word in enumerate(command):
        found = _DATASET.match(word)
        if found and claims in Path(found.group(1)).parents and _needs_view(Path(found.group(1))):
            view = _make(Path(found.group(1)), root)
            if view is not None:
                seen.append(found.group(1))
                words[at] = f"{view}{found.group(2) or ''}"
    return tuple(words), seen


def _needs_view(folder: Path) -> bool:
    return (folder / RENAMED).is_file() and not os.access(folder, os.W_OK)


def _make(folder: Path, root: Path) -> Optional[Path]:
    """Always at the same place: the cache of tokenized data knows a dataset by its path."""
    files = []
    for file in _files(folder):
        files.append(file)
        if len(files) > MOST_FILES:
            return None
    view = root / folder.relative_to("/")
    for file in files:
        link = view / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(file)
    return view


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield Path(parent, name)
