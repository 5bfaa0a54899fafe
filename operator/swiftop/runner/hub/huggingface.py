"""Hugging Face by its own client (huggingface_hub, 0.3x on requests and 1.x on httpx).

Large files are uploaded one by one, then everything is committed at once. The xet protocol is switched off: it makes
several commits, and mirrors do not speak it. The client repeats an upload by itself, a commit never.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, Optional

from .adapter import Listing, Repository, Told
from .failure import ABSENT, CONFLICT, EXISTS, FORBIDDEN, REFUSED, Failure, by_status, of_library, one_line
from .files import LocalFile, RemoteFile
from .own_host import guard_requests, httpx_client
from .request import INTERNAL, MODEL, PRIVATE, PUBLIC, Target

MAIN = "main"
SMALL = 10 << 20  # bytes; the hub takes no larger file in a commit
SAMPLE = 512  # bytes by which the hub tells text from the rest
_ENVIRONMENT = {
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_EXPERIMENTAL_WARNING": "1",
    "HF_HUB_ENABLE_HF_TRANSFER": "0",  # it passes by the session that keeps the token at home
    "HF_HUB_OFFLINE": "0",  # a pod that trains offline may still publish
}


class HuggingFace:
    """One repository on Hugging Face."""

    def __init__(self, target: Target, token: str) -> None:
        os.environ.update(_ENVIRONMENT, HF_HOME=tempfile.mkdtemp(prefix="swiftop-huggingface-"))
        import huggingface_hub
        from huggingface_hub.lfs import UploadInfo

        self._target, self._client, self._upload_info = target, huggingface_hub, UploadInfo
        self._api: Any = huggingface_hub.HfApi(token=token)
        endpoint = self._api.endpoint
        if hasattr(huggingface_hub, "set_client_factory"):
            huggingface_hub.set_client_factory(lambda: httpx_client(endpoint))
        else:
            guard_requests(endpoint)
        self._where = {"repo_id": target.repo, "repo_type": target.repo_type}
        self._branch = target.revision or MAIN
        self._operations: dict[str, Any] = {}
        self.url = f"{endpoint}/{'' if target.repo_type == MODEL else 'datasets/'}{target.repo}"

    def account(self) -> str:
        """Whose token it is. The hub tells of which organizations, and whether the token only reads."""
        with self._failures():
            found = self._api.whoami()
            name = str(found.get("name"))
            organizations = {organization.get("name") for organization in found.get("orgs", ())}
            role = ((found.get("auth") or {}).get("accessToken") or {}).get("role")
        owner = self._target.repo.partition("/")[0]
        if role == "read":
            raise Failure(FORBIDDEN, f"the token of {name} may only read")
        if owner not in {name, *organizations}:
            raise Failure(FORBIDDEN, f"the token belongs to {name}, who is no member of {owner}")
        if self._target.visibility == INTERNAL:
            raise Failure(REFUSED, "Hugging Face knows no visibility internal: private or public is meant")
        return name

    def repository(self) -> Optional[Repository]:
        """The repository; the hub says of one that may not be seen that there is none."""
        info = self._info(None)
        return None if info is None else Repository(PRIVATE if getattr(info, "private", None) is True else PUBLIC)

    def _info(self, revision: Optional[str], *, files: bool = False) -> Any:
        try:
            with self._failures():
                return self._api.repo_info(**self._where, revision=revision, files_metadata=files)
        except Failure as failure:
            if failure.kind == ABSENT:
                return None
            raise

    def create(self) -> None:
        """With its visibility said, because the client's default is public."""
        try:
            with self._failures():
                self._api.create_repo(**self._where, private=self._target.visibility != PUBLIC)
        except Failure as failure:
            if failure.kind != CONFLICT:
                raise
            raise Failure(EXISTS, str(failure)) from failure

    def listing(self) -> Listing:
        """Of the branch, or of the main one as long as there is none."""
        info = self._info(self._branch, files=True) or self._info(MAIN, files=True)
        if info is None:
            return Listing("", ())
        with self._failures():
            return Listing(str(info.sha or ""), tuple(_remote(file) for file in info.siblings or ()))

    def content(self, file: RemoteFile, revision: str) -> bytes:
        """Never asked for: this hub tells a digest of each file."""
        raise Failure(REFUSED, f"the hub lists {file.path} without any digest")

    def upload(self, files: Sequence[LocalFile], told: Told) -> None:
        """Those that the hub has not and does not want in the commit. The branch is made of the main one."""
        made = [self._operation(file, told) for file in files]
        self._operations.update((operation.path_in_repo, operation) for operation in made)
        with self._failures():
            if self._branch != MAIN:
                self._api.create_branch(**self._where, branch=self._branch, exist_ok=True)
            self._api.preupload_lfs_files(**self._where, additions=made, revision=self._branch, free_memory=False)

    def _operation(self, file: LocalFile, told: Told) -> Any:
        """A new one for each attempt: the client keeps in it what it knows of the hub."""
        if isinstance(file.content, bytes) or file.size <= SMALL:  # it may be sent in the commit itself
            told(file.sha256, file.size)
            return self._client.CommitOperationAdd(file.path, file.read())
        stream = _Counted(file.content, lambda size: told(file.sha256, size))
        operation = self._client.CommitOperationAdd(file.path, b"")  # of a file it would read all for its digest
        operation.path_or_fileobj = stream
        operation.upload_info = self._upload_info(
            size=file.size, sha256=bytes.fromhex(file.sha256), sample=stream.peek(SAMPLE)[:SAMPLE]
        )
        return operation

    def commits(self, files: Sequence[LocalFile]) -> list[list[LocalFile]]:
        """One: it is all there or nothing."""
        return [list(files)]

    def commit(self, files: Sequence[LocalFile]) -> str:
        """On the branch."""
        operations = [self._operations[file.path] for file in files]
        message = self._target.commit_message
        with self._failures():
            done = self._api.create_commit(
                operations=operations, commit_message=message, revision=self._branch, **self._where
            )
        return str(done.oid)

    def tagged(self) -> Optional[Listing]:
        """Never: a revision is the branch itself."""
        return None

    def tag(self, commit: str) -> None:
        """Nothing: the revision is the branch."""

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """What the client raises, as what to do about it."""
        try:
            yield
        except Exception as error:
            failure = _failure(error)
            if failure is None:
                raise
            raise failure from error


def _failure(error: BaseException) -> Optional[Failure]:
    """What it means; the client wraps what goes wrong with one of several files."""
    answer = getattr(error, "response", None)
    if answer is not None:
        return by_status(answer.status_code, one_line(error), answer.headers.get("Retry-After"))
    if type(error).__module__.startswith("huggingface_hub"):  # it asks nobody about a name that cannot be
        return Failure(REFUSED, one_line(error))
    return of_library(error) or (_failure(error.__cause__) if error.__cause__ is not None else None)


class _Counted(io.BufferedReader):
    """A file that tells how much of it was read."""

    def __init__(self, path: Path, told: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(path))
        self._told = told

    def read(self, size: Optional[int] = -1) -> bytes:
        """The next bytes."""
        data = super().read(size)
        self._told(self.tell())
        return data


def _remote(file: Any) -> RemoteFile:
    lfs = file.lfs
    return RemoteFile(file.rfilename, int(file.size or 0), str(lfs.sha256) if lfs else "", "" if lfs else file.blob_id)
