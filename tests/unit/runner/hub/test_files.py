"""What is published, and how it is compared with what the hub lists."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from swiftop.runner.hub.files import (
    Difference,
    LocalFile,
    NotPublishable,
    RemoteFile,
    batches,
    compare,
    in_order,
    is_empty,
    local_files,
    made_by,
    marker,
)
from swiftop.runner.hub.request import EXCLUDED


def named(path: str, size: int = 1) -> LocalFile:
    return LocalFile(path, size, f"sha-{path}", f"git-{path}", b"")


def test_a_folder_is_hashed_as_both_hubs_do(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    content = "漢字".encode() * 100
    (tmp_path / "sub" / "文.txt").write_bytes(content)
    (found,) = local_files(tmp_path, "", ())
    git = subprocess.run(["git", "hash-object", "--stdin"], input=content, capture_output=True, check=True).stdout
    digest = hashlib.sha256(content).hexdigest()
    assert found == LocalFile("sub/文.txt", 600, digest, git.decode().strip(), tmp_path / "sub" / "文.txt")


@pytest.mark.parametrize(
    "path", [".ms_upload_cache", ".tmpXYZ", ".git/config", "args.json", "sub/args.json", "swiftop-run.json"]
)
def test_what_nobody_wants_to_see_is_left_out(tmp_path: Path, path: str) -> None:
    for name in (path, "config.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [file.path for file in local_files(tmp_path, "", EXCLUDED)] == ["config.json"]


def test_one_file_has_its_own_path(tmp_path: Path) -> None:
    file = tmp_path / ".hidden.jsonl"  # asked for by name: published
    file.touch()
    assert [found.path for found in local_files(file, "data/train.jsonl", EXCLUDED)] == ["data/train.jsonl"]
    assert [found.path for found in local_files(file, "", EXCLUDED)] == [".hidden.jsonl"]


def test_a_folder_goes_below_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    assert [found.path for found in local_files(tmp_path, "data", EXCLUDED)] == ["data/a.jsonl"]


def test_links_stay_inside(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.txt").touch()
    (folder / "b.txt").symlink_to("a.txt")
    assert [found.path for found in local_files(folder, "", EXCLUDED)] == ["a.txt", "b.txt"]


@pytest.mark.parametrize("target", ["/proc/self/environ", "../secret", "nowhere", "/etc"])
def test_a_link_that_leads_elsewhere_publishes_nothing(tmp_path: Path, target: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_text("x")
    (folder / "a.txt").symlink_to(target)
    with pytest.raises(NotPublishable, match=r"a\.txt is a symbolic link"):
        local_files(folder, "", EXCLUDED)


@pytest.mark.parametrize("name", ["empty", "absent"])
def test_nothing_to_publish_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotPublishable, match=name):
        local_files(tmp_path / name, "", EXCLUDED)


def test_a_difference_is_missing_different_or_foreign() -> None:
    same, other, missing, small = named("same"), named("other"), named("missing"), named("small")
    remote = [
        RemoteFile("same", 1, sha256="sha-same"),
        RemoteFile("other", 2, sha256="sha-other"),
        RemoteFile("small", 7, git_oid="git-small"),  # the size of a pointer, or none
        RemoteFile("data/foreign", 1, sha256="x"),
        RemoteFile("README.md", 1, sha256="x"),
        RemoteFile(".swiftop/of-another-object.json", 1, sha256="x"),
    ]
    found = compare([same, other, missing, small], remote)
    assert found == Difference((missing,), (other,), (), ("data/foreign",))
    assert found.to_push == (missing, other)
    assert compare([], remote, "data").foreign == ("data/foreign",)
    assert compare([], remote, "dat").foreign == ()


def test_a_listing_without_digests_proves_nothing_but_another_size() -> None:
    found = compare([named("a"), named("b")], [RemoteFile("a", 1), RemoteFile("b", 2)])
    assert (found.by_size, found.different) == ((named("a"),), (named("b"),))


def test_an_object_knows_its_repository() -> None:
    ours = marker("u-1")
    there = [RemoteFile(ours.path, ours.size, ours.sha256), RemoteFile("README.md", 1)]
    assert made_by("u-1", there)
    assert not made_by("u-2", there)
    assert not is_empty(there)
    assert is_empty([RemoteFile("README.md", 1), RemoteFile(".gitattributes", 1)])
    assert ours.read() == b'{"publishedBy": "swiftop.dev", "uid": "u-1"}\n'


def test_half_of_a_model_does_not_look_whole() -> None:
    names = ["config.json", "a.txt", "model-2.safetensors", "model.safetensors.index.json", "model-1.safetensors"]
    ordered = [file.path for file in in_order([*map(named, names), marker("u-1")])]
    assert ordered == [
        ".swiftop/u-1.json",
        "model-1.safetensors",
        "model-2.safetensors",
        "a.txt",
        "config.json",
        "model.safetensors.index.json",
    ]


def test_commits_are_divided_by_files_and_by_bytes() -> None:
    files = [named("a", 6), named("b", 5), named("large", 1000), named("c", 5), named("d", 1)]
    made = batches(files, most_files=3, most_inline=11, limit=100)
    assert [[file.path for file in batch] for batch in made] == [["a", "b", "large"], ["c", "d"]]
    made = batches(files, most_files=9, most_inline=10, limit=100)
    assert [[file.path for file in batch] for batch in made] == [["a"], ["b", "large", "c"], ["d"]]
    assert batches([], most_files=1, most_inline=1, limit=1) == []
