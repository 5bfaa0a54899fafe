"""Publishing with the real clients: what is there in the end, and how often it was committed."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from swiftop.runner.hub.files import marker
from swiftop.runner.hub.request import DATASET, MODELSCOPE
from tests.runner.hub.clients import CLIENTS, MARKER, UID, WORK, Desk

DESKS = tuple(CLIENTS)

PUBLISHED = [
    MARKER,
    "chat_template.jinja",
    "config.json",
    "extra/empty.txt",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
]
BY_THE_HUB = {".gitattributes", "README.md"}


def names(repository: dict[str, Any]) -> list[str]:
    """All but what the hub made itself."""
    return sorted(set(repository["files"]) - BY_THE_HUB)


def own_commits(desk: Desk) -> list[str]:
    """The hub's first one left out."""
    return [commit["id"] for commit in desk.repository["commits"] if commit["message"] != "initial commit"]


def test_a_folder_becomes_a_private_repository_in_one_commit(desk: Desk) -> None:
    done = desk.run(commit_message="Merged by hand")
    assert done.code == 0, done.log
    repository = desk.repository
    (commit,) = own_commits(desk)
    assert repository["visibility"] == "private"
    assert names(repository) == PUBLISHED
    for path in PUBLISHED[1:]:
        assert repository["files"][path] == hashlib.sha256((desk.source / path).read_bytes()).hexdigest()
    size = sum((desk.source / path).stat().st_size for path in PUBLISHED[1:]) + marker(UID).size
    url = f"{desk.hub.url}/models/alice/demo" if desk.client.hub == MODELSCOPE else f"{desk.hub.url}/alice/demo"
    assert done.result == {
        "commit": commit, "url": url, "visibility": "private", "files": len(PUBLISHED), "bytes": size,
        "committed": True, "foreign": [], "foreignFiles": 0, "bySize": 0,
    }  # fmt: skip
    assert done.progress == {"bytesDone": size, "bytesTotal": size}
    assert repository["commits"][-1]["message"] == "Merged by hand"


def test_the_same_again_makes_no_commit_and_tells_the_same_one(desk: Desk) -> None:
    first, second = desk.run(), desk.run()
    assert (first.code, second.code) == (0, 0), second.log
    assert second.result == {**first.result, "committed": False}
    assert len(own_commits(desk)) == 1


def test_only_what_has_changed_is_published_again(desk: Desk) -> None:
    assert desk.run().code == 0
    (desk.source / "config.json").write_text("{}")
    done = desk.run()
    assert (done.code, done.result["commit"]) == (0, own_commits(desk)[1]), done.log
    assert desk.hub.requests("/commit/")[-1]["committed"] == ["config.json"]


def test_a_dataset_of_one_file_at_its_path(desk: Desk) -> None:
    (desk.directory / "chats.jsonl").write_text('{"messages": []}\n' * 5000)
    request: dict[str, Any] = {"repo_type": DATASET, "source": f"{WORK}/chats.jsonl", "path": "data/train.jsonl"}
    done = desk.run(**request)
    assert (done.code, done.result.get("files")) == (0, 2), done.log
    assert desk.repository["visibility"] == "private"
    assert names(desk.repository) == [MARKER, "data/train.jsonl"]
    again = desk.run(**request)
    assert again.result == {**done.result, "committed": False}
    assert len(own_commits(desk)) == 1


def test_a_dataset_is_loaded_without_the_file_that_marks_it(desk: Desk) -> None:
    (desk.directory / "chats.jsonl").write_text('{"messages": []}\n' * 7)
    done = desk.run(repo_type=DATASET, source=f"{WORK}/chats.jsonl")  # no name that tells the loader of a split
    assert done.code == 0, done.log
    loader = "modelscope.MsDataset.load" if desk.client.hub == MODELSCOPE else "datasets.load_dataset"
    module = loader.partition(".")[0]
    assert desk.python(f"import {module}; print({loader}('alice/demo', split='train').num_rows)").endswith("7\n")


def test_large_files_are_uploaded_beside_each_other(desk: Desk) -> None:
    """Each is tried again by itself."""
    for number in range(3):
        (desk.source / f"large-{number}.safetensors").write_bytes(bytes([number]) * (9 << 20))
    cut = {"match": "^PUT /_blob", "cut": 4 << 20}
    desk.hub.faults(cut, cut)
    done = desk.run()
    assert (done.code, desk.hub.pending()["faults"]) == (0, []), done.log
    assert done.progress["bytesDone"] == done.result["bytes"] > 27 << 20
    assert len(own_commits(desk)) == 1


def test_a_public_repository_when_it_is_asked_for(desk: Desk) -> None:
    done = desk.run(visibility="public")
    assert (done.code, desk.repository["visibility"], done.result["visibility"]) == (0, "public", "public"), done.log


def test_a_revision_holds_exactly_what_was_published(desk: Desk) -> None:
    first, second = desk.run(revision="v1"), desk.run(revision="v1")
    assert (first.code, second.code) == (0, 0), second.log
    assert second.result == {**first.result, "committed": False}
    repository = desk.repository
    kept = repository["tags"] if desk.client.hub == MODELSCOPE else repository["heads"]
    assert kept["v1"] == first.result["commit"]
    assert len(own_commits(desk)) == 1


@pytest.mark.parametrize("desk", ["modelscope"], indirect=True)
def test_the_visibility_is_asked_for_where_it_is_told(desk: Desk) -> None:
    desk.hub.ask("/_settings", {"tellsVisibility": False})
    done = desk.run()
    assert (done.code, done.result["visibility"]) == (0, "private"), done.log


@pytest.mark.parametrize("digests", ["large", "git", "none"])
@pytest.mark.parametrize("desk", ["modelscope"], indirect=True)
def test_listings_without_some_digests_prove_what_they_can(desk: Desk, digests: str) -> None:
    desk.hub.ask("/_settings", {"digests": digests})
    (desk.source / "large.safetensors").write_bytes(bytes(9 << 20))
    first, second = desk.run(revision="v1"), desk.run(revision="v1")
    assert (first.code, second.code) == (0, 0), second.log
    unproven = digests == "none"
    assert first.result["bySize"] == second.result["bySize"] == int(unproven)
    assert second.result["committed"] == unproven
    assert any("downloaded" in request for request in desk.hub.requests()) == (digests != "git")
    (desk.source / "config.json").write_text('{"model_type": "qwen3"}')  # as long as before
    assert desk.run().code == 0
    digest = hashlib.sha256((desk.source / "config.json").read_bytes()).hexdigest()
    assert desk.repository["files"]["config.json"] == digest


@pytest.mark.parametrize("desk", ["modelscope"], indirect=True)
def test_a_tag_of_other_files_is_not_moved(desk: Desk) -> None:
    assert desk.run(revision="v1").code == 0
    (desk.source / "config.json").write_text("{}")
    assert desk.run(revision="v1").reason == "RevisionExists"


def test_what_was_deleted_at_the_hub_is_published_again(desk: Desk) -> None:
    """The client's own record of what it uploaded lies, and would even make the repository public."""
    assert desk.run().code == 0
    desk.hub.ask("/_delete", {"hub": desk.client.hub, "kind": "model", "id": "alice/demo"})
    done = desk.run()
    assert (done.code, done.result["committed"]) == (0, True), done.log
    assert (desk.repository["visibility"], names(desk.repository)) == ("private", PUBLISHED)


def test_foreign_files_are_told_and_kept(desk: Desk) -> None:
    assert desk.run().code == 0
    seed = {"hub": desk.client.hub, "kind": "model", "id": "alice/demo", "files": {"notes.txt": "x", "README.md": "y"}}
    desk.hub.ask("/_seed", seed)
    done = desk.run()
    assert (done.code, done.result["foreign"], done.result["foreignFiles"]) == (0, ["notes.txt"], 1), done.log
    assert names(desk.repository) == sorted([*PUBLISHED, "notes.txt"])


@pytest.mark.parametrize("task", ["hub.check", "hub.push"])
def test_a_repository_of_somebody_else_is_refused_unless_it_may_be_overwritten(desk: Desk, task: str) -> None:
    seed = {"hub": desk.client.hub, "kind": "model", "id": "alice/demo", "files": {"config.json": "{}", "old.bin": ""}}
    desk.hub.ask("/_seed", seed)
    refused = desk.run(task)
    assert refused.reason == "RepositoryExists", refused.log
    assert len(desk.repository["commits"]) == 2
    done = desk.run(task, overwrite=True)
    assert done.code == 0, done.log
    if task == "hub.check":
        assert done.result == {"account": "alice", "repository": "foreign", "visibility": "private"}
    else:
        assert (done.result["foreign"], names(desk.repository)) == (["old.bin"], sorted([*PUBLISHED, "old.bin"]))


@pytest.mark.parametrize("desk", ["huggingface-0", "huggingface-1"], indirect=True)
def test_a_branch_takes_what_has_changed(desk: Desk) -> None:
    assert desk.run().code == 0
    assert desk.run(revision="dev").code == 0
    (desk.source / "config.json").write_text("{}")
    done = desk.run(revision="dev")
    heads = desk.repository["heads"]
    assert (done.code, heads["dev"], heads["dev"] != heads["main"]) == (0, done.result["commit"], True), done.log
    assert [commit["branch"] for commit in desk.repository["commits"]] == ["main", "main", "dev"]


@pytest.mark.parametrize("task", ["hub.check", "hub.push"])
def test_a_public_repository_is_never_taken_for_a_private_one(desk: Desk, task: str) -> None:
    desk.hub.ask("/_seed", {"hub": desk.client.hub, "kind": "model", "id": "alice/demo", "visibility": "public"})
    done = desk.run(task, overwrite=True)
    assert done.reason == "RepositoryVisible", done.log
    assert own_commits(desk) == []


def test_the_check_tells_what_is_there(desk: Desk) -> None:
    assert desk.run("hub.check").result == {"account": "alice", "repository": "absent", "visibility": ""}
    desk.hub.ask("/_seed", {"hub": desk.client.hub, "kind": "model", "id": "alice/demo"})
    assert desk.run("hub.check").result == {"account": "alice", "repository": "empty", "visibility": "private"}
    assert desk.run().code == 0
    assert desk.run("hub.check").result == {"account": "alice", "repository": "ours", "visibility": "private"}


def test_a_token_goes_to_no_other_host(desk: Desk) -> None:
    """The links for large files name a second address, and so does the one that confirms an upload."""
    desk.hub.ask("/_settings", {"uploads": desk.hub.other})
    done = desk.run()
    assert done.code == 0, done.log
    asked = desk.hub.requests()
    elsewhere = [request for request in asked if not desk.hub.url.endswith(request["host"])]
    assert "PUT" in {request["method"] for request in elsewhere}
    assert [request for request in elsewhere if "authorization" in request or "cookie" in request] == []
    assert any("authorization" in request for request in asked)
