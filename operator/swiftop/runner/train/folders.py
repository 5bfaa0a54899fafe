"""Folders of rows that ms-swift would write to, though the claim that they lie on is mounted read-only.

``modelscope download --dataset`` leaves a file dataset_infos.json, which the datasets library trips over. ms-swift
renames it when it reads the folder (_load_repo_dataset in its loader.py), and ends where it cannot.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Optional

VIEWS = Path("/tmp/swiftop-data")
_RENAMED = "dataset_infos.json"
_MOST = 100_000  # files: more of them would fill the pod's disk with links


def readable(command: Sequence[str], folders: Iterable[str], views: Path = VIEWS) -> tuple[str, ...]:
    """The command with a view in place of each folder that could not be read; a view is made of links to its files."""
    words = tuple(command)
    for number, folder in enumerate(folders):
        view = _view(Path(folder), views / str(number))
        if view is not None:
            words = tuple(_moved(word, folder, str(view)) for word in words)
    return words


def _view(folder: Path, place: Path) -> Optional[Path]:
    """The folder again, without the file; None where ms-swift does without it."""
    if not (folder / _RENAMED).is_file() or os.access(folder, os.W_OK):
        return None
    view, count = place / folder.name, 0
    for root, directories, files in os.walk(folder):
        here = view / Path(root).relative_to(folder)
        here.mkdir(parents=True, exist_ok=True)
        links = [name for name in directories if (Path(root) / name).is_symlink()]
        count += len(files) + len(links)
        if count > _MOST:
            return None
        for name in (*files, *links):
            if name != _RENAMED and not (here / name).is_symlink():
                (here / name).symlink_to(Path(root) / name)
    return view


def _moved(word: str, folder: str, view: str) -> str:
    """A word of --dataset names subsets and a sample behind the folder."""
    rest = word[len(folder) :]
    return view + rest if word.startswith(folder) and rest[:1] in ("", ":", "#") else word
