"""What a program asks of the tasks that publish, and what they answer. Standard library only: PID 1 reads it too."""

from __future__ import annotations

from dataclasses import dataclass

MODELSCOPE, HUGGINGFACE = "modelscope", "huggingface"
MODEL, DATASET = "model", "dataset"
PRIVATE, INTERNAL, PUBLIC = "private", "internal", "public"
OPENNESS = (PRIVATE, INTERNAL, PUBLIC)
"""Visibilities, each seen by more people than the one before."""

CHECK_TASK, PUSH_TASK = "hub.check", "hub.push"
EXCLUDED = (".*", "args.json", "swiftop-*.json")
"""What nobody wants to see published: hidden files, paths and names of the training's data, the runner's own record."""


ABSENT, EMPTY, OURS, FOREIGN = "absent", "empty", "ours", "foreign"
MOST_FOREIGN = 20  # names of foreign files in a result


@dataclass(frozen=True)
class Target:
    """Where to. ``repo`` is ``owner/name``; the token is in the environment variable ``token_env``."""

    hub: str
    repo: str
    repo_type: str
    token_env: str
    visibility: str = PRIVATE
    revision: str = ""  # Hugging Face: a branch. ModelScope: a tag made afterwards, since only master takes commits
    commit_message: str = "Published by swiftop"
    overwrite: bool = False


@dataclass(frozen=True)
class Push:
    """What to publish, and for whom."""

    target: Target
    uid: str  # of the object: a repository that carries it was made by this object
    source: str = ""  # a folder, or one file; not needed for the check
    path: str = ""  # below which folder of the repository; of one file: its whole path there, by default its name
    excluded: tuple[str, ...] = EXCLUDED  # patterns; a file is left out when a part of its path matches one
    attempts: int = 5  # of each step that fails for a reason that may pass
    backoff_seconds: float = 1.0  # before the second one; doubled each time
    patience_seconds: float = 900.0  # of waiting in all, what the hub asks for (Retry-After) included
    digest: str = ""  # of what was checked: of one file its SHA-256, of a folder `files.digest`; empty: unchecked


@dataclass(frozen=True)
class Checked:
    """The target, before anything is done."""

    account: str  # whose token it is
    repository: str  # ABSENT, EMPTY, OURS or FOREIGN
    visibility: str = ""  # of a repository that exists


@dataclass(frozen=True)
class Pushed:
    """What is there now, compared with the hub's own listing."""

    commit: str  # of the revision that holds all of it
    url: str
    visibility: str
    files: int
    bytes: int
    committed: bool = True  # False: all was there already
    foreign: tuple[str, ...] = ()  # what else is there; at most MOST_FOREIGN names
    foreign_files: int = 0
    by_size: int = 0  # files compared by their size alone, since the hub tells no digest of them


@dataclass(frozen=True)
class Progress:
    """How far a push is."""

    bytes_done: int
    bytes_total: int
