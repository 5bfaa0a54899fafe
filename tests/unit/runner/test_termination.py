"""The termination message fits, whatever is in it."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from swiftop.runner import causes
from swiftop.runner.classify import Judged
from swiftop.runner.program import Ended
from swiftop.runner.protocol import TERMINATION_BYTES
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
