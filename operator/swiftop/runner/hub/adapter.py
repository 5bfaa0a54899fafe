"""What the two hubs have in common, as the push needs it. Every method raises ``Failure``, and asks once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable, Optional, Protocol

from .files import LocalFile, RemoteFile

Told = Callable[[str, int], None]  # bytes of a file, by its digest, that are sent


@dataclass(frozen=True)
class Repository:
    """One that exists. ``visibility`` is "public" when the hub does not say."""

    visibility: str


@dataclass(frozen=True)
class Listing:
    """What a revision holds, and the commit that it stands at."""

    commit: str
    files: tuple[RemoteFile, ...]
    revision: str = ""  # by which its files are read


class Hub(Protocol):
    """One repository on one hub, with one token."""

    url: str  # of the repository's page

    def account(self) -> str:
        """Whose token it is; fails when it is not valid, or cannot write there for a reason that is known already."""

    def repository(self) -> Optional[Repository]:
        """The repository; None when there is none that this token may see."""

    def create(self) -> None:
        """Make it, with the visibility that was asked for; "exists" when there is one."""

    def listing(self) -> Listing:
        """What is where this push goes to; of a revision that does not exist yet what it will start from."""

    def content(self, file: RemoteFile, revision: str) -> bytes:
        """A small file, where the listing tells no digest of it."""

    def upload(self, files: Sequence[LocalFile], told: Told) -> None:
        """Bring the content to the hub that is no part of a commit, unless it has it. Nobody sees it before a commit.

        Called from several threads.
        """

    def commits(self, files: Sequence[LocalFile]) -> list[list[LocalFile]]:
        """How these files are divided into commits, in order; the hub's limits decide."""

    def commit(self, files: Sequence[LocalFile]) -> str:
        """Make one commit of files that are uploaded, and tell its id."""

    def tagged(self) -> Optional[Listing]:
        """What the revision holds that is named after the push; None when it is to be made, or none is asked for."""

    def tag(self, commit: str) -> None:
        """Name the commit after the push, where revisions are tags."""
