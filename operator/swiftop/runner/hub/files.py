"""What is there locally and what the hub lists, and how they differ. Pure but for reading the files once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Optional, Union

CHUNK = 4 << 20
MARKERS = ".swiftop/"
HUB_FILES = frozenset({".gitattributes", "README.md", "configuration.json", "dataset_infos.json"})
"""What a hub puts into a new repository by itself: one that has nothing else is empty."""

_LAST = ("config.json", "model.safetensors.index.json")  # a folder without these is loaded by nobody


class NotPublishable(Exception):
    """The source is not there, is empty, or leads elsewhere."""


class Changed(Exception):
    """The source is not what it was."""


@dataclass(frozen=True)
class LocalFile:
    """One file to publish. Its content is on the disk, or small and here."""

    path: str  # in the repository
    size: int
    sha256: str
    git_oid: str
    content: Union[Path, bytes]

    def read(self) -> bytes:
        """All of it; for small files, whose request nobody compares with a digest. Raises ``Changed``."""
        if isinstance(self.content, bytes):
            return self.content
        with self.content.open("rb") as file:
            content = file.read(self.size + 1)
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise Changed(f"{self.path} was changed while it was published")
        return content


@dataclass(frozen=True)
class RemoteFile:
    """One file as the hub lists it: by the digest of its content, by git's, or by its size alone."""

    path: str
    size: int
    sha256: str = ""
    git_oid: str = ""


@dataclass(frozen=True)
class Difference:
    """What has to be published, and what is there besides."""

    missing: tuple[LocalFile, ...]
    different: tuple[LocalFile, ...]
    by_size: tuple[LocalFile, ...]  # as large as they should be, and the hub tells no digest
    foreign: tuple[str, ...]

    @property
    def to_push(self) -> tuple[LocalFile, ...]:
        """What the hub has not, or not so."""
        return (*self.missing, *self.different)


def local_files(source: Path, path: str, excluded: Sequence[str]) -> tuple[LocalFile, ...]:
    """The files to publish, by their path in the repository; raises ``NotPublishable``."""
    if source.is_file():
        found = [(PurePosixPath(path or source.name), source)]
    else:
        found = [(PurePosixPath(path) / name, file) for name, file in _walk(source, excluded)]
    if not found:
        raise NotPublishable(f"{source} has no file to publish")
    return tuple(_hashed(name.as_posix(), file) for name, file in found)


def _walk(folder: Path, excluded: Sequence[str]) -> Iterator[tuple[Path, Path]]:
    if not folder.is_dir():
        raise NotPublishable(f"{folder} does not exist")
    root = folder.resolve()
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if any(fnmatchcase(part, pattern) for part in name.parts for pattern in excluded):
            continue
        if file.is_symlink() and (not file.is_file() or root not in file.resolve().parents):
            raise NotPublishable(f"{name} is a symbolic link that leads out of {folder}, or to no file")
        if file.is_file():
            yield name, file


def _hashed(path: str, file: Path) -> LocalFile:
    """Read once, because the weights of a model are many gigabytes."""
    size = file.stat().st_size
    sha256, git = hashlib.sha256(), _git_hash(size)
    with file.open("rb") as stream:
        for chunk in iter(lambda: stream.read(CHUNK), b""):
            sha256.update(chunk)
            git.update(chunk)
    return LocalFile(path, size, sha256.hexdigest(), git.hexdigest(), file)


def _git_hash(size: int) -> hashlib._Hash:
    digest = hashlib.sha1(usedforsecurity=False)
    digest.update(b"blob %d\0" % size)
    return digest


def digest(files: Iterable[LocalFile]) -> str:
    """What identifies several files: the SHA-256 of what sha256sum prints for them, sorted by path."""
    lines = "".join(f"{file.sha256}  {file.path}\n" for file in sorted(files, key=lambda file: file.path))
    return hashlib.sha256(lines.encode()).hexdigest()


def marker(uid: str) -> LocalFile:
    """A small file by which a repository is known as made by this object.

    It is in the same commit as the rest, survives edits of the model card, and needs no more than a listing to be seen.
    The UID is in its name, so that objects which share a repository do not take it from each other. Loaders of datasets
    skip hidden files; any other JSON file would be taken for rows.
    """
    content = json.dumps({"publishedBy": "swiftop.dev", "uid": uid}).encode() + b"\n"
    git = _git_hash(len(content))
    git.update(content)
    digest = hashlib.sha256(content).hexdigest()
    return LocalFile(f"{MARKERS}{uid}.json", len(content), digest, git.hexdigest(), content)


def compare(local: Iterable[LocalFile], remote: Iterable[RemoteFile], below: str = "") -> Difference:
    """Where the two differ; ``foreign`` is what is there ``below`` that folder and was not published."""
    there = {file.path: file for file in remote}
    wanted = {file.path: file for file in local}
    foreign = (path for path in there if path not in wanted and path.startswith(f"{below}/" if below else ""))
    return Difference(
        tuple(file for path, file in wanted.items() if path not in there),
        tuple(file for path, file in wanted.items() if path in there and same(file, there[path]) is False),
        tuple(file for path, file in wanted.items() if path in there and same(file, there[path]) is None),
        tuple(sorted(path for path in foreign if path not in HUB_FILES and not path.startswith(MARKERS))),
    )


def same(local: LocalFile, remote: RemoteFile) -> Optional[bool]:
    """Whether the hub has this content; None for a listing that has the right size, and no digest."""
    if remote.sha256:
        return remote.size == local.size and remote.sha256 == local.sha256
    if remote.git_oid:  # the size may be that of a pointer
        return remote.git_oid == local.git_oid
    return None if remote.size == local.size else False


def batches(files: Iterable[LocalFile], *, most_files: int, most_inline: int, limit: int) -> list[list[LocalFile]]:
    """Commits of at most so many files and bytes in the request, in the order of the files.

    A file of more than ``limit`` bytes is not in the request itself.
    """
    made: list[list[LocalFile]] = []
    room = 0
    for file in files:
        inline = file.size if file.size <= limit else 0
        if not made or len(made[-1]) >= most_files or inline > room:
            made.append([])
            room = most_inline
        made[-1].append(file)
        room -= inline
    return made


def in_order(files: Iterable[LocalFile]) -> list[LocalFile]:
    """The marker first, weights next, and last what makes the folder a model: half of it must not look whole."""
    return sorted(files, key=lambda file: (not file.path.startswith(MARKERS), _rank(file), file.path))


def _rank(file: LocalFile) -> int:
    name = file.path.rpartition("/")[2]
    return 2 if name in _LAST else 0 if name.endswith((".safetensors", ".bin")) else 1


def made_by(uid: str, remote: Iterable[RemoteFile]) -> bool:
    """Whether the repository carries this object's marker."""
    path = marker(uid).path
    return any(file.path == path for file in remote)


def is_empty(remote: Iterable[RemoteFile]) -> bool:
    """Whether nobody has put anything into it yet."""
    return all(file.path in HUB_FILES for file in remote)
