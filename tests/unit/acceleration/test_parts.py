"""The small parts that need no library: the report, who asks for flash attention, borders that are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swiftop.acceleration.attention import asked
from swiftop.acceleration.borders import remembered
from swiftop.acceleration.plugin import Wanted
from swiftop.acceleration.report import PARTS, Report
from swiftop.runner.protocol import Acceleration
from swiftop.runner.report import ACCELERATION_PARTS, read_acceleration


def test_a_report_is_written_whole(tmp_path: Path) -> None:
    report = Report(tmp_path / "report.json")
    report.use("mlp")
    report.use("borders")
    report.use("borders")
    report.skip("attention", "Installed")
    report.skip("mlp", "NotANumber")
    report.rows, report.estimated, report.checkpointing = 4, 53.8021, False
    report.write()
    assert json.loads((tmp_path / "report.json").read_text()) == {
        "active": True,
        "parts": ["borders"],
        "skipped": [["attention", "Installed"], ["mlp", "NotANumber"]],
        "perDeviceBatchSize": 4,
        "gradientCheckpointing": False,
        "estimatedGiB": 53.8,
    }
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_part_that_acts_after_all_is_not_left_out() -> None:
    report = Report()
    report.skip("liger", "NotInstalled")
    report.use("liger")
    assert (report.parts, report.skipped) == (["liger"], {})


def test_an_error_is_told_by_its_name() -> None:
    report = Report()
    report.fail("liger", ModuleNotFoundError("no module"))
    report.fail("mlp", type("_odd", (Exception,), {})())
    assert report.skipped == {"liger": "ModuleNotFoundError", "mlp": "Failed"}


def test_a_report_that_cannot_be_written_is_no_fault(tmp_path: Path) -> None:
    Report(tmp_path / "none" / "report.json").write()
    Report().write()


def test_both_sides_know_the_same_parts(tmp_path: Path) -> None:
    assert PARTS == ACCELERATION_PARTS
    report = Report(tmp_path / "report.json")
    for part in PARTS:
        report.skip(part, "NotOnCuda")
    report.write()
    found = read_acceleration({"acceleration": json.loads((tmp_path / "report.json").read_text())})
    assert found is not None
    assert (found.active, len(found.skipped)) == (False, len(PARTS))


def test_the_plugin_reads_what_the_runner_says() -> None:
    said = {"mode": Acceleration().mode, "fixed": ["packing", "max-length"], "report": "/r", "entry": "/e"}
    assert Wanted.read(json.dumps(said)) == Wanted("Auto", frozenset({"packing", "max_length"}), Path("/r"), "/e")


@pytest.mark.parametrize(
    ("words", "flash"),
    [
        ("--attn_impl flash_attn", True),
        ("--attn_impl flash_attention_2 --packing true", True),
        ("--attn_impl=flash_attn", True),
        ("--attn-impl flash_attn", True),
        ("--attn_impl flash_attn --attn_impl sdpa", False),
        ("--attn_impl flash_attention_3", False),
        ("--attn_impl", False),
        ("--model flash_attn", False),
        ("", False),
    ],
)
def test_only_who_asks_for_flash_attention_gets_it(words: str, flash: bool) -> None:
    assert asked(["sft.py", *words.split()]) is flash


class Ids:
    """Position ids as far as they are looked at."""

    def __init__(self) -> None:
        self._version = 0


def test_what_was_found_is_kept_until_other_ids_come() -> None:
    calls: list[Any] = []

    def find(ids: Any, *args: Any) -> int:
        calls.append(ids)
        return len(calls)

    call, first, second = remembered(find, str), Ids(), Ids()
    assert [call(first), call(first), call(first, 2), call(second), call(first)] == ["1", "1", "2", "3", "4"]
    first._version += 1  # as a change in place does
    assert (call(first), call(first)) == ("5", "5")
    assert (call(None), call(None)) == ("6", "7")


def test_ids_without_a_version_are_never_the_same() -> None:
    class Inference:
        @property
        def _version(self) -> int:
            raise RuntimeError("Inference tensors do not track version counter.")

    calls: list[Any] = []
    call, ids = remembered(calls.append, bool), Inference()
    call(ids)
    call(ids)
    assert len(calls) == 2
