"""A dataset folder that ms-swift wants to write to, on a claim where it may not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swiftop.runner.train import view
from swiftop.swift import paths


@pytest.fixture
def claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Mounted read-only: who runs the tests may be allowed to write anywhere, so the question is answered here."""
    folder = tmp_path / "data" / "chats" / "alpaca"
    (folder / "train").mkdir(parents=True)
    (folder / view.RENAMED).write_text("{}")
    (folder / "train" / "a.jsonl").write_text("row")
    (tmp_path / "data" / "chats" / "plain").mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)
    return tmp_path / "data"


@pytest.mark.parametrize("after", ["", "#500", ":default#500"])
def test_the_folder_is_replaced_by_a_view_of_it(claims: Path, tmp_path: Path, after: str) -> None:
    folder = claims / "chats" / "alpaca"
    command = ("python", "--dataset", f"{folder}{after}", f"{claims}/chats/plain", "--output_dir", "/x")
    found, folders = view.with_views(command, claims=claims, root=tmp_path / "views")
    made = tmp_path / "views" / folder.relative_to("/")
    assert found == ("python", "--dataset", f"{made}{after}", *command[3:])
    assert folders == [str(folder)]
    (made / view.RENAMED).rename(made / f"{view.RENAMED}_bak")
    assert (made / "train" / "a.jsonl").read_text() == "row"
    assert not (made / "train").is_symlink()
    assert (folder / view.RENAMED).read_text() == "{}"


def test_what_needs_no_view_stays(claims: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("--dataset", f"{claims}/chats/plain", "AI-ModelScope/alpaca#5", "/nowhere/x", "--x=/data/y")
    assert view.with_views(command, claims=claims, root=tmp_path / "views") == (command, [])
    monkeypatch.setattr(os, "access", lambda *_: True)
    writable = (f"{claims}/chats/alpaca",)
    assert view.with_views(writable, claims=claims, root=tmp_path / "views") == (writable, [])


def test_a_folder_of_too_many_files_has_none(claims: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "MOST_FILES", 1)
    command = (f"{claims}/chats/alpaca",)
    assert view.with_views(command, claims=claims, root=tmp_path / "views") == (command, [])


def test_claims_are_where_the_operator_mounts_them() -> None:
    assert str(view.CLAIMS) == paths.CLAIM_DATASETS_DIR
    assert Path(paths.WORK_DIR) in view.ROOT.parents
