"""What PID 1 reads may be anything: it neither ends nor hangs by it. By bytes, with a bound on the time of each."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swiftop.runner import causes
from swiftop.runner.classify import EndedChild, Judged, classify_failure, last_lines
from swiftop.runner.evalloss import eval_loss
from swiftop.runner.exceptions import is_progress
from swiftop.runner.program import Context, Ended, Program
from swiftop.runner.protocol import TERMINATION_BYTES
from swiftop.runner.report import TRAINING, read
from swiftop.runner.supervise import Supervisor
from swiftop.runner.termination import termination_message
from swiftop.runner.train import checkpoints
from swiftop.runner.train.log import LineReader, TrainingLog

any_file = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)

MANY = 400 * b"9"
NESTED = 30_000 * b"[" + 30_000 * b"]"
VALUES = st.sampled_from(
    [b"1", b"-1", b"1e999", b"NaN", b"-Infinity", b'"x"', b"null", b"true", MANY, b"5000" * 2000, NESTED, b"{}"]
) | st.binary(max_size=20)
NAMES = st.sampled_from(
    [
        b"loss", b"eval_loss", b"global_step/max_steps", b"global_step", b"last_model_checkpoint", b"train_runtime",
        b"epoch", b"memory(GiB)", b"train_speed(s/it)", b"train_speed(iter/s)", b"learning_rate", b"grad_norm",
        b"max_steps", b"best_metric", b"best_model_checkpoint",
    ]
)  # fmt: skip
LINES = st.lists(st.tuples(NAMES, VALUES), max_size=5).map(
    lambda members: b"{" + b", ".join(b'"' + name + b'": ' + value for name, value in members) + b"}"
)
FILES = st.lists(LINES | st.binary(max_size=60), max_size=6).map(b"\n".join) | st.binary(max_size=400)


@any_file
@given(FILES)
def test_any_log_is_followed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "logging.jsonl"
    path.write_bytes(content + b"\n")
    log = TrainingLog(LineReader(path))
    log.poll()
    json.dumps(read(TRAINING, log.report.to_json()), allow_nan=False)
    assert log.report.step is None or abs(log.report.step) < 10**18


@pytest.mark.parametrize(
    "line", [b'{"loss": ' + MANY + b"}", b'{"loss": ' + NESTED + b"}", 10_000 * b'{"a":' + b"1" + 10_000 * b"}"]
)
def test_a_value_that_nobody_can_mean_ends_nothing(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "logging.jsonl"
    path.write_bytes(line + b'\n{"loss": 1.5, "global_step/max_steps": "3/4"}\n')
    log = TrainingLog(LineReader(path))
    assert log.poll()
    assert (log.report.step, log.report.loss) == (3, 1.5)


@any_file
@given(state=FILES, latest=st.binary(max_size=40), names=st.sets(st.sampled_from(["latest", "optimizer.pt"])))
def test_any_checkpoint_is_complete_or_passed_over(
    tmp_path: Path, state: bytes, latest: bytes, names: set[str]
) -> None:
    path = tmp_path / "checkpoint-3"
    path.mkdir(exist_ok=True)
    for name in ("latest", "optimizer.pt"):
        (path / name).unlink(missing_ok=True)
    for name in ("rng_state.pth", "scheduler.pt", *names):
        (path / name).write_bytes(latest)
    (path / "trainer_state.json").write_bytes(state)
    found = checkpoints.find(tmp_path, world_size=1, resumable=True)
    assert found is None or abs(found.step) < 10**18
    eval_loss(path)


@pytest.mark.parametrize("latest", [b"\xff\xfe", b"a\0b", b"..", b"/", b"x" * 100_000])
def test_a_latest_that_names_no_folder_of_its_own(tmp_path: Path, latest: bytes) -> None:
    path = tmp_path / "checkpoint-3"
    path.mkdir()
    (path / "trainer_state.json").write_text('{"global_step": 3}')
    for name in ("rng_state.pth", "scheduler.pt"):
        (path / name).write_text("x")
    (path / "latest").write_bytes(latest)
    assert checkpoints.find(tmp_path, world_size=1, resumable=True) is None


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-3"
    path.mkdir()
    os.mkfifo(path / "trainer_state.json")
    assert checkpoints.find(tmp_path, world_size=1, resumable=False) is None
    assert eval_loss(path) is None


BAR = " 41%|####      | 412/1000 [10:01<14:02,  1.43s/it]"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (BAR, True),
        ("Val: 100%|##########| 5/5 [00:01<00:00]", True),
        ('swiftop-progress {"version":1}', True),
        ("ValueError: 5% of the rows | are [bad]", False),
        ("1%|] | [", False),
        ("", False),
    ],
)
def test_progress_lines(line: str, shown: bool) -> None:
    assert is_progress(line) is shown


SLOW = {
    "bars": "1%|" * 8_000 + "|" * 8_000 + "[" * 8_000,
    "names": "a." * 16_000 + "Error" * 6_000 + "!",
    "words": "swanlab" * 4_000 + "." + "Connection" * 3_000,
    "escapes": "\x1b[" * 16_000 + "0;" * 10_000,
    "blanks": "[rank" + " " * 60_000,
    "files": "Unable to find '" * 2_000 + ".json" * 4_000,
}


@pytest.mark.parametrize("text", SLOW.values(), ids=SLOW.keys())
def test_no_text_keeps_the_runner_busy(text: str) -> None:
    begun = time.process_time()
    for log in (text, f"Traceback (most recent call last):\n{text}\nValueError: {text}\n", f"ValueError: {text}"):
        classify_failure(EndedChild(exit_code=1), log)
        last_lines(log)
    assert time.process_time() - begun < 5


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.sampled_from(["Traceback (most recent call last):\n", '  File "a.py", line 1\n', "ValueError: "])
        | st.binary(max_size=200).map(lambda raw: raw.decode("utf-8", "replace")),
        max_size=12,
    ).map("".join)
)
def test_any_output_has_a_cause(text: str) -> None:
    assert classify_failure(EndedChild(exit_code=1), text).message
    assert len(last_lines(text).encode()) <= 2048


@pytest.mark.parametrize("log", ["\x01" * 5000, "\ud800" * 5000, '"' * 9000, ""])
@pytest.mark.parametrize("progress", [{"x": "y" * 5000}, {"step": 10**4000}, {}])
def test_a_report_that_is_too_long_leaves_a_message_even_so(log: str, progress: dict[str, Any]) -> None:
    ended = Ended("failed", Judged(causes.UNKNOWN, "\x01" * 700))
    raw = termination_message(ended, log=log, progress=progress)
    assert len(raw) <= TERMINATION_BYTES
    assert json.loads(raw)["reason"] == "Unknown"


def test_a_surprise_while_looking_at_the_work_is_told_once_and_ends_nothing() -> None:
    said: list[str] = []

    def check(_now: float) -> str | None:
        raise UnicodeDecodeError("utf-8", b"x", 0, 1, "odd")

    context = cast("Context", SimpleNamespace(output=SimpleNamespace(say=said.append)))
    program = cast("Program", SimpleNamespace(check=check))
    supervisor = Supervisor(context, program, print_progress=lambda: None, on_stop=lambda: None)
    assert [supervisor._looked(now) for now in (1.0, 2.0, 3.0)] == [None, None, None]
    assert len(said) == 2
    assert "UnicodeDecodeError" in said[0]
