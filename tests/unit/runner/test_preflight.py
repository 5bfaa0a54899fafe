"""What is found before the training starts."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from swiftop.runner import preflight
from swiftop.runner.classify import Judged
from swiftop.runner.protocol import Owner, Plan


def reason(judged: Judged | None) -> str | None:
    return judged.cause.reason if judged else None


def test_required_variables() -> None:
    environ = {"A": "x", "B": " ", "SECRET": "value"}
    assert preflight.check_environment(["A"], environ) is None
    found = preflight.check_environment(["A", "B", "C"], environ)
    assert reason(found) == "SecretMissing"
    assert found is not None
    assert "B, C" in found.message


@pytest.mark.parametrize(
    ("wanted", "installed", "expected"),
    [
        ("4.6", "4.6.0", None),
        ("4.6", "4.6.3.dev0", None),
        (None, None, None),
        ("4.6", "4.5.9", "VersionMismatch"),
        ("3.7", "3.12.6", "VersionMismatch"),
        ("4.6", None, "VersionMismatch"),
    ],
)
def test_version(wanted: str | None, installed: str | None, expected: str | None) -> None:
    assert reason(preflight.check_version(wanted, installed)) == expected


@pytest.mark.parametrize(
    "name", ["ms_swift-4.6.0.dist-info", "ms_swift-4.6.0-py3.11.egg-info", "ms-swift-4.6.0.dist-info"]
)
def test_the_installed_version_is_read_from_a_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / "ms_swift_extra-9.dist-info").mkdir()
    assert preflight.installed_version(["/nowhere", str(tmp_path)]) == "4.6.0"
    assert preflight.installed_version(["/nowhere"]) is None


def test_output_is_made_and_left_clean(tmp_path: Path) -> None:
    assert preflight.check_output(tmp_path / "a" / "b", 0) is None
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_output_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert reason(preflight.check_output(tmp_path / "file" / "x", 0)) == "VolumeNotWritable"


def test_a_full_volume(tmp_path: Path) -> None:
    assert reason(preflight.check_output(tmp_path, 1 << 62)) == "DiskFull"
    assert preflight.storage_failure(OSError(28, os.strerror(28)), tmp_path).cause.reason == "DiskFull"
    assert "user" in preflight.storage_failure(OSError(30, os.strerror(30)), tmp_path).message


def test_gpus_are_counted_by_their_device_files(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert preflight.count_gpus(tmp_path) == 2
    assert preflight.check_gpus(2, 2) is None
    assert reason(preflight.check_gpus(3, 2)) == "GPUMissing"


def test_gpus_are_counted_only_where_each_is_one_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "count_gpus", lambda: 1)
    plan = Plan("train", Owner("SFTRun", "ns", "demo", "u"), 1, ("a",), str(tmp_path), gpus=2)
    assert reason(preflight.check(plan, {})) == "GPUMissing"
    for resource in ("nvidia.com/gpu.shared", "nvidia.com/mig-1g.10gb", "example.com/npu"):
        assert preflight.check(dataclasses.replace(plan, gpu_resource=resource), {}) is None


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("0", None),
        (None, None),
        ("100", "error 100"),
        ("", "no answer"),
        ("OSError: libcuda.so.1: cannot open shared object file: No such file or directory", "libcuda.so.1"),
    ],
)
def test_gpus_whose_driver_does_not_work_are_no_gpus(said: str | None, told: str | None) -> None:
    """ms-swift trains on the CPU then, and says so in a warning only."""
    judged = preflight.check_cuda(said)
    assert reason(judged) == ("GPUMissing" if told else None)
    assert told is None or (judged is not None and told in judged.message)


def test_the_driver_is_asked_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Which finds the library as torch would, and whose last word is told."""
    (tmp_path / "libcuda.so.1").touch()
    said = preflight.ask_cuda({"LD_LIBRARY_PATH": str(tmp_path)}) or ""
    assert "libcuda.so.1: file too short" in said
    assert reason(preflight.check_cuda(said)) == "GPUMissing"


def test_blanks_around_a_secret_are_removed_and_told() -> None:
    pem = "-----BEGIN-----\nabc\n-----END-----\n"
    environ = {"A": "key\n", "B": " key\r\n", "C": "key", "PEM": pem, "OTHER": "x\n"}
    cleaned, names = preflight.clean_secrets(["A", "B", "C", "PEM", "ABSENT"], environ)
    assert names == ["A", "B"]
    assert cleaned == {"A": "key", "B": "key", "C": "key", "PEM": pem, "OTHER": "x\n"}


def test_a_name_is_waited_for() -> None:
    tries: list[str] = []

    def resolve(name: str, _: None) -> None:
        tries.append(name)
        if len(tries) < 3:
            raise OSError(-2, "Name or service not known")

    assert preflight.wait_for_name("a.b", resolve=resolve, sleep=lambda _: None) is None
    assert tries == ["a.b"] * 3


def test_a_name_that_never_comes() -> None:
    def resolve(_: str, __: None) -> None:
        raise OSError(-2, "Name or service not known")

    assert reason(preflight.wait_for_name("a.b", seconds=0, resolve=resolve)) == "CollectiveFailed"
