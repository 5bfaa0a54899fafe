"""ModelScope by its own client (modelscope_hub, which modelscope 1.40 brings).

The client's ``upload_folder`` is not used: it creates a repository that is missing, and that one is public; it believes
a file that it left in the folder more than the hub; it repeats a commit whose answer was lost; and it commits the small
files although the weights failed. Of the same client the three calls below it are used: which blobs are missing, one
blob, one commit. Everything is uploaded before the first commit.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, Optional

from .adapter import Listing, Repository, Told
from .failure import (
    ABSENT,
    AUTH,
    BUSY,
    CONFLICT,
    EXISTS,
    FORBIDDEN,
    REFUSED,
    UNREACHABLE,
    Failure,
    of_library,
    one_line,
)
from .files import LocalFile, RemoteFile, batches, in_order
from .own_host import guard_requests
from .request import INTERNAL, MODEL, PRIVATE, PUBLIC, Target

MASTER = "master"
MOST_FILES = 256  # of a commit, as the client itself divides them
MOST_INLINE = 6 << 20  # bytes of small files in a commit: base64 makes 8 MiB of them
_SHA256_DIGITS, _GIT_DIGITS = 64, 40
_VISIBILITIES = {1: PRIVATE, 3: INTERNAL, 5: PUBLIC}
# How often anything is tried again is decided by this project, so the client tries once. It writes a session file into
# its home, which is not to be the user's.
_ENVIRONMENT = {
    "MODELSCOPE_API_MAX_RETRIES": "1",
    "MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS": "1",
    "MODELSCOPE_UPLOAD_HTTP_RETRY_ALLOWED_METHODS": "TRACE",
}


class ModelScope:
    """One repository on ModelScope."""

    def __init__(self, target: Target, token: str) -> None:
        os.environ.update(_ENVIRONMENT, MODELSCOPE_HOME=tempfile.mkdtemp(prefix="swiftop-modelscope-"))
        from modelscope_hub import HubApi, constants, errors

        self._target, self._errors, self._constants = target, errors, constants
        self._api: Any = HubApi(token=token)
        endpoint = self._api.legacy.endpoint
        guard_requests(endpoint)
        self._where = (target.repo, target.repo_type)
        self.url = f"{endpoint}/{target.repo_type}s/{target.repo}"

    def account(self) -> str:
        """Whose token it is."""
        with self._failures():
            return str(self._api.whoami().username)

    def repository(self) -> Optional[Repository]:
        """The repository, by the call that knows private ones too."""
        try:
            with self._failures():
                known: Any = self._api.legacy.get_repo_info(*self._where).get("Visibility")
                if known is None:
                    known = self._api.get_repo(*self._where).visibility
                return Repository(_VISIBILITIES.get(known, PUBLIC))
        except Failure as failure:
            if failure.kind == ABSENT:
                return None
            raise

    def create(self) -> None:
        """With its visibility said, because the client's default is public."""
        with self._failures():
            self._api.create_repo(*self._where, visibility=self._target.visibility)

    def listing(self) -> Listing:
        """Of master: a revision is a tag."""
        return self._listing(MASTER)

    def _listing(self, revision: str) -> Listing:
        try:
            with self._failures():
                return _listed(self._api.legacy.list_repo_files(*self._where, revision=revision), revision)
        except Failure as failure:
            if failure.kind == ABSENT:  # a repository without a commit
                return Listing("", ())
            raise

    def content(self, file: RemoteFile, revision: str) -> bytes:
        """Not more of it than was listed, and a byte."""
        read = b""
        with self._failures(), self._api.legacy.download_stream(*self._where, file.path, revision) as answer:
            for piece in answer.iter_content(1 << 16):
                read += piece
                if len(read) > file.size:
                    break
        return read

    def upload(self, files: Sequence[LocalFile], told: Told) -> None:
        """The blobs that the hub has not."""
        large = {file.sha256: file for file in files if self._is_large(file)}
        if not large:
            return
        objects = [{"oid": file.sha256, "size": file.size} for file in large.values()]
        with self._failures():
            links = self._api.legacy.validate_blobs(*self._where, objects)
            for digest, link in links.items():
                if link is not None and digest in large:
                    with _opened(large[digest]) as stream:
                        self._api.legacy.upload_blob(link, _Counted(stream, digest, told), large[digest].size)

    def _is_large(self, file: LocalFile) -> bool:
        """As the client decides: files that the hub itself reads are never stored as a pointer."""
        name = PurePosixPath(file.path)
        known = self._constants
        if name.name.upper() in known.UPLOAD_INLINE_METADATA_PATHS:
            return False
        suffixes = known.MODEL_LFS_SUFFIX if self._target.repo_type == MODEL else known.DATASET_LFS_SUFFIX
        return file.size > known.UPLOAD_LFS_FORCE_THRESHOLD_BYTES or name.suffix.lower() in suffixes

    def commits(self, files: Sequence[LocalFile]) -> list[list[LocalFile]]:
        """Mostly one: a second one for more than 256 files, or many that are small."""
        limit = self._constants.UPLOAD_LFS_FORCE_THRESHOLD_BYTES
        return batches(in_order(files), most_files=MOST_FILES, most_inline=MOST_INLINE, limit=limit)

    def commit(self, files: Sequence[LocalFile]) -> str:
        """One commit on master, the only branch that takes any."""
        operations = [self._operation(file) for file in files]
        with self._failures():
            done = self._api.legacy.create_commit(*self._where, operations, self._target.commit_message, MASTER)
            return str(done.get("commit_id") or done.get("CommitId") or "")

    def _operation(self, file: LocalFile) -> dict[str, Any]:
        common = {"action": "create", "path": file.path, "size": file.size}
        if self._is_large(file):
            return {**common, "type": "lfs", "sha256": file.sha256, "content": "", "encoding": ""}
        content = base64.b64encode(file.read()).decode()
        return {**common, "type": "normal", "sha256": "", "content": content, "encoding": "base64"}

    def tagged(self) -> Optional[Listing]:
        """What is under the tag."""
        if not self._target.revision:
            return None
        with self._failures():
            known = self._api.list_repo_revisions(*self._where)
            names = {str(revision.get("Revision") or revision.get("name")) for revision in known}
        return self._listing(self._target.revision) if self._target.revision in names else None

    def tag(self, commit: str) -> None:
        """On exactly this commit."""
        if self._target.revision:
            with self._failures():
                self._api.create_repo_tag(*self._where, self._target.revision, revision=commit or MASTER)

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """What the client raises, as what to do about it."""
        known = self._errors
        kinds = (
            (known.AuthenticationError, AUTH),
            (known.PermissionDeniedError, FORBIDDEN),
            (known.NotExistError, ABSENT),
            (known.RateLimitError, BUSY),
            (known.ServerError, UNREACHABLE),
            (known.NetworkError, UNREACHABLE),
        )
        try:
            yield
        except known.AlreadyExistsError as error:  # it makes one of each 409 too
            creating = "/commit/" not in str(getattr(error, "url", ""))
            raise Failure(EXISTS if creating else CONFLICT, one_line(error)) from error
        except known.HubError as error:
            kind = next((kind for cls, kind in kinds if isinstance(error, cls)), REFUSED)
            raise Failure(kind, one_line(error), getattr(error, "retry_after", None)) from error
        except Exception as error:
            failure = of_library(error)
            if failure is None:
                raise
            raise failure from error


def _listed(entries: Any, revision: str) -> Listing:
    blobs = [entry for entry in entries if entry.get("Type") != "tree"]
    times = [(float(blob.get("CommittedDate") or 0), str(blob.get("Revision") or "")) for blob in blobs]
    return Listing(max(times, default=(0.0, ""))[1], tuple(_remote(blob) for blob in blobs), revision)


def _remote(blob: Mapping[str, Any]) -> RemoteFile:
    """``Sha256`` is that of the content, mostly; git's own digest was seen there, and nothing at all."""
    path, size, digest = str(blob["Path"]), int(blob["Size"]), str(blob.get("Sha256") or "").lower()
    if len(digest) == _GIT_DIGITS:
        return RemoteFile(path, size, git_oid=digest)
    return RemoteFile(path, size, digest if len(digest) == _SHA256_DIGITS else "")


class _Counted:
    """A file that tells how much of it was read. No iterator, or the client's library would send it in chunks."""

    def __init__(self, stream: IO[bytes], digest: str, told: Told) -> None:
        self._stream, self._digest, self._told = stream, digest, told

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._stream.read(size)
        self._told(self._digest, self._stream.tell())
        return data


def _opened(file: LocalFile) -> IO[bytes]:
    return file.content.open("rb") if isinstance(file.content, Path) else io.BytesIO(file.content)
