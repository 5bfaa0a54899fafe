"""The acceleration's package beside ms-swift: what the runner writes, what it adds to the command, what it reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from swiftop.runner.bundle import ACCELERATION, bundle
from swiftop.runner.protocol import Acceleration
from swiftop.runner.report import Accelerated, read_acceleration
from swiftop.runner.train.acceleration import Accelerator, kernel_cache, with_plugin

COMMAND = ("python", "-m", "swift.cli.sft", "--model", "m")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ("--external_plugins", "E")),
        (("--external_plugins", "a.py", "b.py", "--x", "1"), ("--external_plugins", "a.py", "b.py", "E", "--x", "1")),
        (("--external_plugins", "a.py"), ("--external_plugins", "a.py", "E")),
        (("--external-plugins", "a.py", "-x"), ("--external-plugins", "a.py", "-x", "E")),
        (("--external_plugins=a.py", "--x"), ("--external_plugins", "a.py", "E", "--x")),
        (
            ("--external_plugins", "a.py", "--external_plugins", "b.py"),
            ("--external_plugins", "a.py", "--external_plugins", "b.py", "E"),
        ),
    ],
)
def test_the_plugin_comes_after_those_of_the_user(words: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert with_plugin((*COMMAND, *words), "E") == (*COMMAND, *expected)


@pytest.fixture
def zip_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundle, and a temporary folder of our own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "runner.pyz").write_bytes(bundle())
    return tmp_path / "runner.pyz"


def test_the_package_is_written_out_and_ms_swift_is_told(zip_file: Path, tmp_path: Path) -> None:
    made = Accelerator(Acceleration("Approximate", ("max_length",)), bundle=zip_file)
    command = made.prepare(COMMAND, tmp_path, {})
    entry = Path(command[-1])
    assert (*COMMAND, "--external_plugins", str(entry)) == command
    assert made.problem == ""
    (variable, kernels) = made.environ.values()
    told = json.loads(variable)
    assert (told["mode"], told["fixed"], told["entry"]) == ("Approximate", ["max_length"], str(entry))
    assert Path(told["report"]).parent == entry.parents[1]
    assert kernels == str(tmp_path / ".triton")
    # ms-swift imports from the plugin's folder before any other: there is nothing that a library could be called
    assert [path.name for path in entry.parent.iterdir()] == ["swiftop_entry.py"]
    assert (entry.parents[1] / ACCELERATION / "plugin.py").is_file()


def test_the_entry_never_ends_a_training(zip_file: Path, tmp_path: Path) -> None:
    """Here is no ms-swift, and then not even the package."""
    made = Accelerator(Acceleration(), bundle=zip_file)
    entry = Path(made.prepare(COMMAND, tmp_path, {})[-1])
    for said in ("No module named 'swift'", "cannot import name 'plugin'"):
        done = subprocess.run(
            [sys.executable, str(entry)], env=made.environ, capture_output=True, text=True, check=True
        )
        assert said in done.stderr
        (entry.parents[1] / ACCELERATION / "plugin.py").unlink(missing_ok=True)


def test_where_it_cannot_be_written_the_training_is_plain(zip_file: Path, tmp_path: Path) -> None:
    for broken in (tmp_path / "none.pyz", tmp_path):
        made = Accelerator(Acceleration(), bundle=broken)
        assert made.prepare(COMMAND, tmp_path, {}) == COMMAND
        assert (made.environ, made.report()) == ({}, None)
        assert made.problem.startswith("the training is not accelerated: ")


def test_the_users_folder_of_kernels_is_kept(zip_file: Path, tmp_path: Path) -> None:
    made = Accelerator(Acceleration(), bundle=zip_file)
    made.prepare(COMMAND, tmp_path, {"TRITON_CACHE_DIR": "/mine"})
    assert "TRITON_CACHE_DIR" not in made.environ


def test_kernels_lie_beside_the_checkpoints_where_they_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernel_cache(tmp_path) == tmp_path / ".triton"
    assert list((tmp_path / ".triton").iterdir()) == []
    assert kernel_cache(tmp_path / "none") is None
    (tmp_path / "file").write_text("")
    assert kernel_cache(tmp_path / "file") is None

    class NoExecution:
        f_flag = os.ST_NOEXEC

    monkeypatch.setattr(os, "statvfs", lambda _: NoExecution)
    assert kernel_cache(tmp_path) is None


SOUND: dict[str, Any] = {
    "active": True,
    "parts": ["borders", "loader"],
    "skipped": [["attention", "Installed"]],
    "perDeviceBatchSize": 4,
    "gradientAccumulationSteps": 8,
    "gradientCheckpointing": False,
    "estimatedGiB": 53.8,
    "gpuGiB": 79.2,
}


@pytest.fixture
def reporting(zip_file: Path, tmp_path: Path) -> tuple[Accelerator, Path]:
    """An acceleration that is under way, and where it reports."""
    made = Accelerator(Acceleration(), bundle=zip_file)
    made.prepare(COMMAND, tmp_path, {})
    return made, Path(json.loads(made.environ["SWIFTOP_ACCELERATION"])["report"])


def test_what_it_reports_is_told_as_it_stands(reporting: tuple[Accelerator, Path]) -> None:
    made, path = reporting
    assert made.report() is None
    path.write_text(json.dumps(SOUND))
    found = read_acceleration({"acceleration": made.report()})
    assert found == Accelerated(True, ("borders", "loader"), (("attention", "Installed"),), 4, 8, False, 53.8, 79.2)
    assert found.to_json() == SOUND
    path.write_text(json.dumps({**SOUND, "active": False}))
    os.utime(path, ns=(1, 1))
    assert made.report()["active"] is False


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[" * 10_000, b'"' + b"x" * 100_000 + b'"', b"[]", b'{"active": 1}']
)
def test_an_odd_report_is_none(reporting: tuple[Accelerator, Path], content: bytes) -> None:
    made, path = reporting
    path.write_bytes(content)
    assert read_acceleration({"acceleration": made.report()}) is None


def test_no_pipe_folder_or_link_is_read(reporting: tuple[Accelerator, Path], tmp_path: Path) -> None:
    made, path = reporting
    os.mkfifo(path)
    assert made.report() is None
    path.unlink()
    path.mkdir()
    assert made.report() is None
    path.rmdir()
    (tmp_path / "other").write_text(json.dumps(SOUND))
    path.symlink_to(tmp_path / "other")
    assert made.report() is None
