"""The termination message fits, whatever is in it."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from swiftop.runner import causes
from swiftop.runner.classify import Judged
from swiftop.runner.program import Ended
from swiftop.runner.protocol import TERMINATION_BYTES
from swiftop.runner.report import BadRow, read_bad_rows
from swiftop.runner.termination import termination_message, write
from swiftop.runner.train.log import Report

PROGRESS = Report(updated=1764000000, step=412, max_steps=1000, loss=1.23456789, memory_gib=61.25).to_json()


@given(message=st.text(max_size=3000), log=st.text(max_size=6000))
def test_any_text_fits(message: str, log: str) -> None:
    raw = termination_message(Ended("failed", Judged(causes.CUDA_OUT_OF_MEMORY, message)), log=log, progress=PROGRESS)
    assert len(raw) <= TERMINATION_BYTES
    data = json.loads(raw)
    assert (data["outcome"], data["reason"], data["progress"]) == ("failed", "CUDAOutOfMemory", PROGRESS)
    assert data["suggestion"] == causes.CUDA_OUT_OF_MEMORY.suggestion
    assert len(data["log"].encode()) <= 2048


def test_escapes_and_wide_characters_shorten_the_log_only() -> None:
    judged = Judged(causes.UNKNOWN, "错误" * 100)
    for log in ("\x00" * 5000, "训练失败\n" * 2000, '"\\' * 4000):
        data = json.loads(termination_message(Ended("failed", judged), log=log, progress=PROGRESS))
        assert data["message"] == judged.message
        assert len(data["log"]) > 250


def test_the_end_of_the_log_is_kept() -> None:
    raw = termination_message(Ended("failed", Judged(causes.UNKNOWN, "m")), log="x\n" * 5000 + "the end", progress={})
    assert json.loads(raw)["log"].endswith("the end")


def test_a_message_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    assert write(tmp_path / "log", b"x")
    assert not write(tmp_path / "none" / "log", b"x")


@settings(deadline=None)
@given(st.lists(st.text(max_size=400), max_size=40), st.text(max_size=6000))
def test_bad_rows_fit_beside_everything_else(whys: list[str], log: str) -> None:
    rows = tuple(BadRow(number, why) for number, why in enumerate(whys))
    ended = Ended("failed", Judged(causes.DATA_INVALID, "错误" * 200), rows)
    raw = termination_message(ended, log=log, progress=PROGRESS)
    assert len(raw) <= TERMINATION_BYTES
    told = read_bad_rows(json.loads(raw))
    assert [row.line for row in told] == list(range(len(told)))


def test_twenty_bad_rows_are_told_and_their_texts_shortened() -> None:
    rows = tuple(BadRow(10**9 + number, "轮" * 200) for number in range(30))
    told = read_bad_rows(
        json.loads(
            termination_message(Ended("failed", Judged(causes.DATA_INVALID, "m")), log="l" * 5000, progress=PROGRESS)
        )
    )
    assert told == ()
    ended = Ended("failed", Judged(causes.DATA_INVALID, "m"), rows)
    told = read_bad_rows(json.loads(termination_message(ended, log="l" * 5000, progress=PROGRESS)))
    assert told == tuple(BadRow(10**9 + number, "轮" * 36) for number in range(20))
    few = Ended("failed", Judged(causes.DATA_INVALID, "m"), rows[:2])
    assert {len(row.why) for row in read_bad_rows(json.loads(termination_message(few, log="", progress={})))} == {200}
