"""The steps of a push, against a hub in memory that loses, delays and refuses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from swiftop.runner.hub import failure
from swiftop.runner.hub.adapter import Listing, Repository, Told
from swiftop.runner.hub.failure import Failure
from swiftop.runner.hub.files import Changed, LocalFile, RemoteFile, digest, local_files, marker
from swiftop.runner.hub.publish import check, publish
from swiftop.runner.hub.request import Checked, Progress, Push, Pushed, Target
from swiftop.runner.task import Refused

LOST = Failure(failure.UNREACHABLE, "no answer")
TARGET = Target("modelscope", "alice/demo", "model", "TOKEN")


@dataclass
class MemoryHub:
    """Does what it is told to, or fails before or after it."""

    url: str = "https://hub/alice/demo"
    visibility: str = ""  # empty: there is no repository
    made_as: str = "private"
    made_with: tuple[RemoteFile, ...] = ()
    files: dict[str, RemoteFile] = field(default_factory=dict)
    tags: dict[str, Listing] = field(default_factory=dict)
    commit_ids: list[str] = field(default_factory=list)
    blobs: set[str] = field(default_factory=set)
    before: dict[str, list[Failure]] = field(default_factory=dict)
    after: dict[str, list[Failure]] = field(default_factory=dict)
    late: int = 0  # listings that do not show the last commit yet
    revision: str = ""
    most_files: int = 100
    shown: Listing | None = None
    opened_by: str = ""  # the step at which somebody else changes the visibility
    digests: bool = True  # whether listings tell them
    contents: dict[str, bytes] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)

    def _step(self, name: str, work: Callable[[], Any]) -> Any:
        if self.before.get(name):
            raise self.before[name].pop(0)
        done = work()
        if self.after.get(name):
            raise self.after[name].pop(0)
        return done

    def account(self) -> str:
        return str(self._step("account", lambda: "alice"))

    def repository(self) -> Repository | None:
        return Repository(self.visibility) if self.visibility else None

    def create(self) -> None:
        if self.visibility:
            raise Failure(failure.EXISTS, "already there")
        self._step("create", self._create)

    def _create(self) -> None:
        self.visibility = self.made_as
        self.files.update((file.path, file) for file in self.made_with)

    def listing(self) -> Listing:
        files = (file if self.digests else replace(file, sha256="") for file in self.files.values())
        current = Listing(self.commit_ids[-1] if self.commit_ids else "", tuple(files))
        if self.late and self.shown is not None:
            self.late -= 1
            return self.shown
        self.shown = current
        return current

    def content(self, file: RemoteFile, revision: str) -> bytes:
        self.read.append(file.path)
        return bytes(self._step("content", lambda: self.contents[file.path]))

    def upload(self, files: Sequence[LocalFile], told: Told) -> None:
        def work() -> None:
            for file in files:
                told(file.sha256, file.size)
                self.blobs.add(file.sha256)

        self._step("upload", work)

    def commits(self, files: Sequence[LocalFile]) -> list[list[LocalFile]]:
        return [list(files[start : start + self.most_files]) for start in range(0, len(files), self.most_files)]

    def commit(self, files: Sequence[LocalFile]) -> str:
        assert {file.sha256 for file in files} <= self.blobs
        return str(self._step("commit", lambda: self._commit(files)))

    def _commit(self, files: Sequence[LocalFile]) -> str:
        self.files.update((file.path, RemoteFile(file.path, file.size, file.sha256)) for file in files)
        self.visibility = "public" if self.opened_by == "commit" else self.visibility
        self.contents.update((file.path, file.read()) for file in files)
        self.commit_ids.append(f"c{len(self.commit_ids) + 1}")
        return self.commit_ids[-1]

    def tagged(self) -> Listing | None:
        return self.tags.get(self.revision)

    def tag(self, commit: str) -> None:
        if self.revision:
            self._step("tag", lambda: self.tags.update({self.revision: Listing(commit, tuple(self.files.values()))}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text(name)
    return tmp_path


def request(folder: Path, **target: Any) -> Push:
    return Push(replace(TARGET, **target), "u-1", str(folder), backoff_seconds=0.0)


def pushed(hub: MemoryHub, folder: Path, **target: Any) -> Pushed:
    return publish(hub, request(folder, **target), lambda _: None)


def reason(work: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        work()
    return caught.value.judged.cause.reason


def test_all_is_there_after_one_commit_and_the_same_again_makes_none(folder: Path) -> None:
    hub = MemoryHub()
    size = 28 + marker("u-1").size
    first = pushed(hub, folder)
    assert first == Pushed("c1", hub.url, "private", 3, size, committed=True)
    assert pushed(hub, folder) == replace(first, committed=False)
    assert hub.commit_ids == ["c1"]


def test_progress_goes_from_nothing_to_all(folder: Path) -> None:
    told: list[Progress] = []
    publish(MemoryHub(), request(folder), told.append)
    assert told[0].bytes_done == 0
    assert told[-1].bytes_done == told[-1].bytes_total == 28 + marker("u-1").size


def test_a_lost_answer_is_looked_for_before_anything_is_repeated(folder: Path) -> None:
    hub = MemoryHub(after={"commit": [LOST], "create": [LOST], "upload": [LOST]})
    assert pushed(hub, folder).commit == "c1"
    assert hub.commit_ids == ["c1"]


def test_a_commit_that_was_not_done_is_repeated(folder: Path) -> None:
    hub = MemoryHub(before={"commit": [LOST, Failure(failure.CONFLICT, "x"), Failure(failure.BUSY, "x")]})
    assert pushed(hub, folder).commit == "c1"


def test_of_several_commits_the_last_one_is_told_and_none_is_made_twice(folder: Path) -> None:
    hub = MemoryHub(most_files=2, after={"commit": [LOST]})
    assert pushed(hub, folder).commit == "c2"
    assert hub.commit_ids == ["c1", "c2"]
    assert "config.json" in hub.files


def test_a_hub_that_shows_a_commit_late_gets_no_second_one(folder: Path) -> None:
    hub = MemoryHub(late=3)
    assert pushed(hub, folder).commit == "c1"
    assert hub.commit_ids == ["c1"]


def test_a_hub_that_keeps_something_else_is_told_after_two_rounds(folder: Path) -> None:
    hub = MemoryHub(late=1000)
    assert reason(lambda: pushed(hub, folder)) == "PushIncomplete"
    assert len(hub.commit_ids) == 2


def test_a_failure_that_stays_is_told(folder: Path) -> None:
    with pytest.raises(Failure, match="no answer"):
        pushed(MemoryHub(before={"commit": [LOST] * 99}), folder)


def test_a_repository_that_is_not_as_private_as_asked_gets_nothing(folder: Path) -> None:
    hub = MemoryHub(made_as="public")
    assert reason(lambda: pushed(hub, folder)) == "RepositoryVisible"
    assert hub.files == {}


def test_files_that_the_hub_makes_itself_are_nobody_elses(folder: Path) -> None:
    hub = MemoryHub(made_with=(RemoteFile("demo.yaml", 1, "x"),), after={"create": [LOST]})
    assert pushed(hub, folder).commit == "c1"


@pytest.mark.parametrize(("there", "asked", "fits"), [
    ("private", "private", True), ("private", "public", True), ("internal", "public", True),
    ("internal", "private", False), ("public", "internal", False), ("public", "public", True),
])  # fmt: skip
def test_who_may_see_it(folder: Path, there: str, asked: str, fits: bool) -> None:
    hub = MemoryHub(visibility=there)
    if fits:
        assert pushed(hub, folder, visibility=asked).visibility == there
    else:
        assert reason(lambda: pushed(hub, folder, visibility=asked, overwrite=True)) == "RepositoryVisible"


def test_what_others_published_is_left_alone(folder: Path) -> None:
    old = RemoteFile("old.bin", 1, "x")
    hub = MemoryHub(visibility="private", files={"old.bin": old})
    assert reason(lambda: check(hub, request(folder))) == "RepositoryExists"
    assert reason(lambda: pushed(hub, folder)) == "RepositoryExists"
    assert check(hub, request(folder, overwrite=True)) == Checked("alice", "foreign", "private")
    found = pushed(hub, folder, overwrite=True)
    assert (found.foreign, found.foreign_files, hub.files["old.bin"]) == (("old.bin",), 1, old)
    assert check(hub, request(folder)) == Checked("alice", "ours", "private")


def test_a_repository_that_the_token_does_not_see_is_somebody_elses(folder: Path) -> None:
    hub = MemoryHub(before={"create": [Failure(failure.EXISTS, "already there")]})
    assert reason(lambda: pushed(hub, folder)) == "RepositoryExists"


def test_a_tag_is_made_once_on_the_commit(folder: Path) -> None:
    hub = MemoryHub(revision="v1", after={"tag": [LOST]})
    assert pushed(hub, folder, revision="v1").commit == "c1"
    assert hub.tags["v1"].commit == "c1"
    assert pushed(hub, folder, revision="v1").commit == "c1"
    (folder / "config.json").write_text("other")
    assert reason(lambda: pushed(hub, folder, revision="v1")) == "RevisionExists"
    assert hub.commit_ids == ["c1"]


def test_a_tag_that_others_made_is_found_by_the_check(folder: Path) -> None:
    hub = MemoryHub(visibility="private", revision="v1", tags={"v1": Listing("c0", ())})
    assert reason(lambda: check(hub, request(folder, revision="v1"))) == "RevisionExists"


def test_nothing_to_publish_makes_no_repository(tmp_path: Path) -> None:
    hub = MemoryHub()
    assert reason(lambda: pushed(hub, tmp_path)) == "NothingToPublish"
    assert hub.visibility == ""


def test_one_file_of_a_dataset_calls_its_neighbours_foreign(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}")
    hub = MemoryHub(
        visibility="private", files={path: RemoteFile(path, 1, "x") for path in ("data/dev.jsonl", "notes.txt")}
    )
    push = replace(request(tmp_path / "rows.jsonl", overwrite=True), path="data/train.jsonl")
    assert publish(hub, push, lambda _: None).foreign == ("data/dev.jsonl",)


def test_what_is_published_is_what_was_checked(folder: Path) -> None:
    checked = digest(local_files(folder, "", ()))
    (folder / "model.safetensors").write_text("tampered!")
    hub = MemoryHub()
    assert reason(lambda: publish(hub, replace(request(folder), digest=checked), lambda _: None)) == "ContentChanged"
    assert (hub.visibility, hub.files) == ("", {})
    (folder / "model.safetensors").write_text("model.safetensors")
    assert publish(hub, replace(request(folder), digest=checked), lambda _: None).files == 3


def test_so_is_a_single_file(folder: Path) -> None:
    push = replace(request(folder), source=str(folder / "config.json"), path="data/x.json")
    checked = hashlib.sha256(b"config.json").hexdigest()
    assert reason(lambda: publish(MemoryHub(), replace(push, digest="0" * 64), lambda _: None)) == "ContentChanged"
    assert publish(MemoryHub(), replace(push, digest=checked), lambda _: None).files == 2


def test_a_small_file_that_changes_before_its_commit_is_not_sent(folder: Path) -> None:
    config, _ = local_files(folder, "", ())
    assert config.read() == b"config.json"
    (folder / "config.json").write_text("other words")
    with pytest.raises(Changed, match=r"config\.json was changed while it was published"):
        config.read()


def test_who_may_see_it_is_told_as_it_is_in_the_end(folder: Path) -> None:
    hub = MemoryHub()
    hub.opened_by = "commit"
    assert pushed(hub, folder).visibility == "public"


def test_small_files_are_read_where_the_hub_tells_no_digest(folder: Path) -> None:
    hub = MemoryHub(digests=False, before={"content": [LOST]})
    assert pushed(hub, folder).by_size == 0
    assert pushed(hub, folder).committed is False
    (folder / "config.json").write_text("C" * 11)  # as long as before
    assert pushed(hub, folder).commit == "c2"
    assert hub.contents["config.json"] == b"C" * 11


def test_large_files_without_a_digest_are_committed_once_and_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swiftop.runner.hub.publish.LARGE", 15)
    hub = MemoryHub(digests=False)
    found = pushed(hub, folder)
    assert (found.by_size, found.files, hub.commit_ids) == (2, 3, ["c1"])  # the weights, and the marker of 44 bytes
    assert "model.safetensors" not in hub.read
    assert pushed(hub, folder).by_size == 2
    assert len(hub.commit_ids) == 2  # nobody knows whether it was the same
