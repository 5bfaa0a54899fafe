"""Publish files so that any end, at any point, can be followed by the same again: look, then do what is missing.

No commit is ever repeated without a look at what is there, since its answer may have been lost: not within a push, and
not by the next one. A repository that this object did not make, or that more people see than they should, is refused.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable

from ..task import Refused
from . import causes as ends
from .adapter import Hub, Listing, Repository
from .failure import EXISTS, UNREACHABLE, Failure, Patience
from .files import (
    Difference,
    LocalFile,
    NotPublishable,
    compare,
    digest,
    in_order,
    is_empty,
    local_files,
    made_by,
    marker,
)
from .request import (
    ABSENT,
    EMPTY,
    FOREIGN,
    MOST_FOREIGN,
    OPENNESS,
    OURS,
    Checked,
    Progress,
    Push,
    Pushed,
    Target,
)

LARGE = 8 << 20  # a file of this size is uploaded by itself
UPLOADS = 4  # at a time
ROUNDS = 2  # a hub that lists something else after the second one will do so after the third
TELL_SECONDS = 1.0  # between two reports of progress

Tell = Callable[[Progress], None]


def check(hub: Hub, push: Push) -> Checked:
    """Whether the target may be published to, in seconds; raises ``Refused`` or ``Failure``."""
    patience = Patience.of(push)
    account = patience.call(hub.account)
    repository = patience.call(hub.repository)
    if repository is None:
        return Checked(account, ABSENT)
    standing = _permitted(push, repository, patience.call(hub.listing))
    if standing != OURS and patience.call(hub.tagged) is not None:
        raise Refused(ends.REVISION_EXISTS, f"{push.target.repo} has a tag {push.target.revision}")
    return Checked(account, standing, repository.visibility)


def _permitted(push: Push, repository: Repository, listing: Listing) -> str:
    """Whose repository it is; raises ``Refused``. One that nobody has put anything into may be used by anyone."""
    target = push.target
    _not_too_visible(target, repository)
    if made_by(push.uid, listing.files):
        return OURS
    if is_empty(listing.files):
        return EMPTY
    if not target.overwrite:
        message = f"{target.repo} exists with {len(listing.files)} files, and was not made by this object"
        raise Refused(ends.REPOSITORY_EXISTS, message)
    return FOREIGN


def _not_too_visible(target: Target, repository: Repository) -> None:
    if OPENNESS.index(repository.visibility) > OPENNESS.index(target.visibility):
        message = f"{target.repo} is {repository.visibility}, not {target.visibility}"
        raise Refused(ends.REPOSITORY_VISIBLE, message)


def publish(hub: Hub, push: Push, tell: Tell) -> Pushed:
    """Publish it, unless it is there, and compare; raises ``Refused`` or ``Failure``."""
    patience = Patience.of(push)
    patience.call(hub.account)
    try:
        files = [marker(push.uid), *local_files(Path(push.source), push.path, push.excluded)]
    except NotPublishable as error:
        raise Refused(ends.NOTHING_TO_PUBLISH, str(error)) from error
    _as_checked(push, files[1:])
    was_absent = patience.call(hub.repository) is None
    repository = _made(hub, push, patience)
    listing = patience.call(hub.listing)
    if was_absent:
        _not_too_visible(push.target, repository)  # whatever files the hub has put into it
    else:
        _permitted(push, repository, listing)
    patience.call(lambda: _is_tagged(hub, push, files))  # a name that is taken is told before anything is published
    sent = _Sent(files, tell)
    found = _Publishing(hub, push, patience, files, sent).until_it_is_there(listing)
    patience.call(lambda: None if _is_tagged(hub, push, files) else hub.tag(found.commit))
    difference = found.difference
    shown = patience.call(hub.repository) or repository  # somebody may have opened it meanwhile
    return Pushed(
        commit=found.commit,
        url=hub.url,
        visibility=shown.visibility,
        files=len(files),
        bytes=sum(file.size for file in files),
        committed=found.committed,
        foreign=difference.foreign[:MOST_FOREIGN],
        foreign_files=len(difference.foreign),
        by_size=len(difference.by_size),
    )


def _as_checked(push: Push, files: Sequence[LocalFile]) -> None:
    """What is published is what was checked, byte for byte, whoever writes to the volume."""
    found = digest(files) if Path(push.source).is_dir() else files[0].sha256
    if push.digest and push.digest != found:
        raise Refused(ends.CONTENT_CHANGED, f"{Path(push.source).name} is not what it was when it was checked")


def _made(hub: Hub, push: Push, patience: Patience) -> Repository:
    """The repository, made when there is none; what it really is comes from the hub, not from what it was asked for."""

    def make() -> Repository:
        found = hub.repository()
        if found is not None:
            return found
        try:
            hub.create()
        except Failure as failure:
            if failure.kind != EXISTS:
                raise
            if hub.repository() is None:  # the token may not even see it
                raise Refused(ends.REPOSITORY_EXISTS, f"{push.target.repo} exists: {failure}") from failure
        found = hub.repository()
        if found is None:
            raise Failure(UNREACHABLE, f"{push.target.repo} was created, and the hub does not show it yet")
        return found

    return patience.call(make)


def _compared(hub: Hub, push: Push, files: Sequence[LocalFile], listing: Listing) -> Difference:
    """Of a small file whose digest is not told, the content is asked for. Raises ``Failure``."""
    below = push.path if Path(push.source).is_dir() else push.path.rpartition("/")[0]
    found = compare(files, listing.files, below)
    asked = {file.path for file in found.by_size if file.size < LARGE}
    if not asked:
        return found
    known = [
        replace(file, sha256=hashlib.sha256(hub.content(file, listing.revision)).hexdigest())
        if file.path in asked
        else file
        for file in listing.files
    ]
    return compare(files, known, below)


@dataclass(frozen=True)
class _Found:
    """All is there."""

    commit: str
    difference: Difference
    committed: bool


class _Publishing:
    """Rounds of looking, and of publishing what is not there."""

    def __init__(self, hub: Hub, push: Push, patience: Patience, files: Sequence[LocalFile], sent: _Sent) -> None:
        self._hub, self._push, self._patience, self._files, self._sent = hub, push, patience, files, sent
        self._committed = ""
        self._answered: set[str] = set()  # paths of what was committed
        self._tried = False

    def until_it_is_there(self, listing: Listing) -> _Found:
        """Raises ``Failure``, or ``Refused`` when the hub goes on listing something else."""
        rounds = failures = 0
        while True:
            difference = self._compare(listing)
            left = self._left(difference)
            self._sent.only(left)
            if not left:
                return _Found(self._committed or listing.commit, difference, self._tried)
            if rounds == ROUNDS:
                shown = ", ".join(file.path for file in left[:3])
                repo = self._push.target.repo
                raise Refused(ends.PUSH_INCOMPLETE, f"{repo} does not list what was published {rounds} times: {shown}")
            try:
                self._round(left)
            except Failure as failure:
                failures += 1
                self._patience.wait(failure, failures)
                listing = self._patience.call(self._hub.listing)
            else:
                rounds += 1
                listing = self._settled()

    def _compare(self, listing: Listing) -> Difference:
        return self._patience.call(lambda: _compared(self._hub, self._push, self._files, listing))

    def _left(self, difference: Difference) -> list[LocalFile]:
        """A large file of the right size, and without a digest, may be an older one unless it was committed now."""
        unproven = (file for file in difference.by_size if file.path not in self._answered)
        return [*difference.to_push, *unproven]

    def _round(self, files: Sequence[LocalFile]) -> None:
        for commit in self._hub.commits(self._uploaded(files)):
            self._tried = True
            self._committed = ""  # from here on until the answer is there, only a listing tells
            self._committed = self._hub.commit(commit)
            self._answered.update(file.path for file in commit)
            self._sent.all_of(commit)

    def _uploaded(self, files: Sequence[LocalFile]) -> Sequence[LocalFile]:
        """Before any commit; each large file is tried again by itself."""
        ordered = in_order(files)
        small = [file for file in ordered if file.size < LARGE]
        groups = [group for group in (small, *([file] for file in ordered if file.size >= LARGE)) if group]
        with ThreadPoolExecutor(UPLOADS) as pool:
            running = [pool.submit(self._upload, group) for group in groups]
            try:
                for upload in running:
                    upload.result()
            finally:
                for upload in running:
                    upload.cancel()
        return ordered

    def _upload(self, group: Sequence[LocalFile]) -> None:
        self._patience.call(lambda: self._hub.upload(group, self._sent.part_of))
        self._sent.all_of(group)

    def _settled(self) -> Listing:
        """The listing after a commit; a hub may need a moment to show it, and must not get a second one for that."""
        attempt = 1
        while True:
            listing = self._patience.call(self._hub.listing)
            left = self._left(self._compare(listing))
            if not left or attempt >= self._push.attempts or not self._patience.pause(attempt):
                return listing
            attempt += 1


def _is_tagged(hub: Hub, push: Push, files: Sequence[LocalFile]) -> bool:
    """Whether the revision is there with these files; raises ``Refused`` when it has others."""
    found = hub.tagged()
    if found is not None and _compared(hub, push, files, found).to_push:
        raise Refused(ends.REVISION_EXISTS, f"{push.target.repo} has a tag {push.target.revision} of other files")
    return found is not None


class _Sent:
    """How much of the files is at the hub, told once in a while, from any thread."""

    def __init__(self, files: Sequence[LocalFile], tell: Tell) -> None:
        self._files, self._tell = files, tell
        self._done = {file.sha256: 0 for file in files}
        self._lock = threading.Lock()
        self._told = 0.0

    def only(self, left: Iterable[LocalFile]) -> None:
        """Everything but these is there."""
        missing = {file.sha256 for file in left}
        with self._lock:
            self._done = {file.sha256: 0 if file.sha256 in missing else file.size for file in self._files}
            self._report()

    def part_of(self, digest: str, size: int) -> None:
        """So much of one file was sent; less than before when it is sent again."""
        with self._lock:
            self._done[digest] = size
            if time.monotonic() - self._told >= TELL_SECONDS:
                self._report()

    def all_of(self, files: Iterable[LocalFile]) -> None:
        """These are there."""
        with self._lock:
            self._done.update((file.sha256, file.size) for file in files)
            self._report()

    def _report(self) -> None:
        self._told = time.monotonic()
        done = sum(self._done[file.sha256] for file in self._files)
        self._tell(Progress(done, sum(file.size for file in self._files)))
