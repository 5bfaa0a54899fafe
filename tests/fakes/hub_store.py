"""Repositories of a fake hub, in memory: files, commits, branches and tags."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

PRIVATE, PUBLIC = "private", "public"


def sha256(content: bytes) -> str:
    """Digest of a large file."""
    return hashlib.sha256(content).hexdigest()


def git_oid(content: bytes) -> str:
    """What git calls a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Stored:
    """One file of a tree, and the commit that put it there."""

    content: bytes
    large: bool
    commit: str
    time: float

    @cached_property
    def digest(self) -> str:
        """Of its content, which may be a gigabyte that is listed again and again."""
        return sha256(self.content)


@dataclass(frozen=True)
class Commit:
    """One commit with the whole tree after it."""

    id: str
    message: str
    branch: str
    tree: Mapping[str, Stored]


@dataclass
class Repository:
    """One repository. ``kind`` is "model" or "dataset"."""

    kind: str
    id: str
    number: int
    visibility: str
    main: str
    commits: list[Commit] = field(default_factory=list)
    heads: dict[str, str] = field(default_factory=dict)  # of branches
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, message: str, changes: Mapping[str, tuple[bytes, bool] | None]) -> Commit:
        """Put files on a branch; None removes one."""
        now = time.time()
        number = hashlib.sha1(f"{self.id}{len(self.commits)}".encode(), usedforsecurity=False).hexdigest()
        tree = dict(self.at(branch).tree) if branch in self.heads else {}
        for path, change in changes.items():
            tree.pop(path, None)
            if change is not None:
                tree[path] = Stored(*change, number, now)
        made = Commit(number, message, branch, tree)
        self.commits.append(made)
        self.heads[branch] = number
        return made

    def at(self, revision: str) -> Commit:
        """The commit of a branch, a tag or an id that it ``knows``."""
        wanted = self.heads.get(revision) or self.tags.get(revision) or revision
        return next(commit for commit in self.commits if commit.id == wanted)

    def knows(self, revision: str) -> bool:
        """Whether there is such a revision."""
        return revision in {*self.heads, *self.tags, *(commit.id for commit in self.commits)}

    def shown(self) -> dict[str, Any]:
        """For a test: what is there."""
        files = {path: stored.digest for path, stored in self.at(self.main).tree.items()}
        commits = [{"id": commit.id, "message": commit.message, "branch": commit.branch} for commit in self.commits]
        return {
            "visibility": self.visibility,
            "files": files,
            "commits": commits,
            "tags": self.tags,
            "heads": self.heads,
        }


class Store:
    """All repositories of one hub, and the blobs that were uploaded."""

    def __init__(self, main: str, first_files: Iterable[str]) -> None:
        self._main = main
        self._first_files = tuple(first_files)
        self._numbers = itertools.count(1)
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.frozen = False  # commits are answered, and nothing comes of them

    def create(self, kind: str, name: str, visibility: str) -> Repository:
        """With the files that the hub puts into it by itself."""
        made = Repository(kind, name, next(self._numbers), visibility, self._main)
        made.commit(self._main, "initial commit", dict.fromkeys(self._first_files, (b"# made by the hub\n", False)))
        self.repositories[kind, name] = made
        return made

    def commit(
        self, repository: Repository, branch: str, message: str, changes: Mapping[str, tuple[bytes, bool] | None]
    ) -> Commit:
        """As a client asks for it."""
        return repository.commit(branch, message, {} if self.frozen else changes)

    def find(self, kind: str, name: str) -> Repository | None:
        """By its name or by its number."""
        found = self.repositories.get((kind, name))
        numbered = (r for r in self.repositories.values() if r.kind == kind and str(r.number) == name)
        return found or next(numbered, None)
