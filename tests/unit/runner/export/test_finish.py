"""The last touch: leftovers go, files are readable, the manifest is the same for the same files."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from swiftop.runner import causes, task
from swiftop.runner.bundle import PACKAGE, bundle
from swiftop.runner.export import finish, weights
from swiftop.runner.export.weights import Tensor
from swiftop.runner.hub.files import digest, local_files
from swiftop.runner.hub.request import EXCLUDED


def artifact(path: Path) -> Path:
    path.mkdir()
    shard = [Tensor("a", "F16", (4,), "model.safetensors")]
    with (path / "model.safetensors").open("wb") as file:
        weights.write_header(file, shard)
        file.write(bytes(8))
    (path / "model.safetensors").chmod(0o600)
    (path / "config.json").write_text("{}")
    (path / "args.json").write_text("{}")
    (path / ".tmpa1b2").write_text("left over")
    (path / ".cache").mkdir(mode=0o700)
    (path / ".cache" / "x").write_text("")
    (path / "additional_chat_templates").mkdir(mode=0o700)
    (path / "additional_chat_templates" / "rag.jinja").write_text("{{ messages }}")
    return path


def finished(path: Path, **request: object) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
    told: list[Mapping[str, Any]] = []
    return dict(finish.work({"artifact": str(path), **request}, told.append)), told


def test_an_artifact_is_cleaned_and_its_files_can_be_read_by_all(tmp_path: Path) -> None:
    path = artifact(tmp_path / "model")
    result, told = finished(path)
    assert result["removed"] == [".cache", ".tmpa1b2", "args.json"]
    modes = {found.name: oct(found.stat().st_mode & 0o777) for found in (path, *path.rglob("*"))}
    assert modes == {
        "model": "0o755", "additional_chat_templates": "0o755", "rag.jinja": "0o644", "config.json": "0o644",
        "model.safetensors": "0o644",
    }  # fmt: skip
    assert told[-1] == {"phase": "Hashing", "bytesDone": result["bytes"], "bytesTotal": result["bytes"]}


def test_the_manifest_names_every_file_and_is_what_sha256sum_says(tmp_path: Path) -> None:
    path = artifact(tmp_path / "model")
    result, _ = finished(path)
    assert [file["path"] for file in result["files"]] == [
        "additional_chat_templates/rag.jinja", "config.json", "model.safetensors",
    ]  # fmt: skip
    config = result["files"][1]
    assert config == {"path": "config.json", "size": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}
    assert (result["bytes"], result["dtype"]) == (sum(file["size"] for file in result["files"]), "float16")
    names = "\n".join(file["path"] for file in result["files"])
    lines = subprocess.run(["xargs", "sha256sum"], cwd=path, input=names.encode(), capture_output=True, check=True)
    assert result["digest"] == hashlib.sha256(lines.stdout).hexdigest()


def test_the_same_files_have_the_same_digest_and_others_another(tmp_path: Path) -> None:
    one, other = artifact(tmp_path / "one"), artifact(tmp_path / "other")
    first = finished(one)[0]["digest"]
    assert finished(other)[0]["digest"] == first == finished(one)[0]["digest"]
    (other / "config.json").rename(other / "renamed.json")
    assert finished(other)[0]["digest"] != first


def test_a_card_is_written_only_where_none_is(tmp_path: Path) -> None:
    path = artifact(tmp_path / "model")
    assert finished(path, card={"name": "mine"})[0]["card"] is True
    assert "# mine" in (path / "README.md").read_text()
    (path / "README.md").write_text("the authors' own")
    assert finished(path, card={"name": "mine"})[0]["card"] is False
    assert (path / "README.md").read_text() == "the authors' own"


def test_a_damaged_artifact_is_refused(tmp_path: Path) -> None:
    path = artifact(tmp_path / "model")
    (path / "model.safetensors").write_bytes(b"short")
    with pytest.raises(task.Refused) as error:
        finished(path)
    assert error.value.judged.cause is causes.VERIFICATION_FAILED


def test_it_runs_out_of_the_zip_file_that_pods_have(tmp_path: Path) -> None:
    path, directory = artifact(tmp_path / "model"), tmp_path / "task"
    (tmp_path / "runner.pyz").write_bytes(bundle())
    directory.mkdir()
    (directory / "request").write_text(json.dumps({"artifact": str(path)}))
    command = [sys.executable, "-m", f"{PACKAGE}.export.finish", str(directory)]
    subprocess.run(command, env={"PYTHONPATH": str(tmp_path / "runner.pyz")}, check=True)
    assert json.loads((directory / "result").read_text())["removed"] == [".cache", ".tmpa1b2", "args.json"]


def test_what_is_never_published_is_no_part_of_the_digest(tmp_path: Path) -> None:
    path = artifact(tmp_path / "model")
    (path / "swiftop-run.json").write_text("{}")
    (path / "additional_chat_templates" / ".hidden").write_text("")
    result, _ = finished(path)
    assert result["digest"] == digest(local_files(path, "", EXCLUDED))
