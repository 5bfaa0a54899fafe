"""Progress from real lines of logging.jsonl, however they arrive."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftop.runner import dropped
from swiftop.runner.train.log import (
    EVALUATING,
    FINISHED,
    LINE_LIMIT,
    PREPARING,
    TRAINING,
    LineReader,
    Report,
    TrainingLog,
    end_last_line,
    last_step,
    parse_line,
    written_since,
)

TRAIN = (
    '{"loss": 6.87437153, "grad_norm": 0.97462171, "learning_rate": 0.0001809, "token_acc": 0.05882353, "epoch": 0.04, '
    '"global_step/max_steps": "4/20", "elapsed_time": "7s", "remaining_time": "30s", "train_speed(s/it)": 1.848531}\n'
)
EVAL = (
    '{"eval_loss": 6.92732811, "eval_runtime": 0.464, "eval_samples_per_second": 17.243, "epoch": 0.11111111, '
    '"global_step/max_steps": "5/20", "elapsed_time": "2s", "remaining_time": "2s", "train_speed(s/it)": 0.5192}\n'
)
END = (
    '{"train_runtime": 29.8379, "train_samples_per_second": 1.341, "train_loss": 6.89514439, "epoch": 0.2, '
    '"global_step/max_steps": "20/20", "elapsed_time": "29s", "train_speed(s/it)": 1.4, "memory(GiB)": 31.5}\n'
)
SUMMARY = json.dumps(
    {
        "train_dataset": "102.115000±34.552739, min=45.000000, max=174.000000, size=200",
        "last_model_checkpoint": "/out/checkpoint-20",
        "best_model_checkpoint": None,
        "best_metric": None,
        "global_step": 20,
        "log_history": [{"loss": 1.0, "step": n} for n in range(20000)],
        "memory": 0,
    }
)


def follow(path: Path) -> TrainingLog:
    return TrainingLog(LineReader(path))


def test_a_whole_training(tmp_path: Path) -> None:
    log = tmp_path / "logging.jsonl"
    training_log = follow(log)
    assert not training_log.poll()
    assert training_log.report.phase == PREPARING

    log.write_text(TRAIN)
    assert training_log.poll()
    seen = training_log.report
    assert (seen.phase, seen.step, seen.max_steps, seen.loss) == (TRAINING, 4, 20, 6.87437153)
    assert (seen.seconds_per_step, seen.eta_seconds, seen.learning_rate) == (1.848531, 30, 0.0001809)

    training_log.saw_evaluation()
    assert training_log.report.phase == EVALUATING
    with log.open("a") as file:
        file.write(EVAL)
    training_log.poll()
    assert (seen.phase, seen.eval_loss, seen.step) == (TRAINING, 6.92732811, 5)

    with log.open("a") as file:
        file.write(END + SUMMARY + "\n")
    training_log.poll()
    assert training_log.loop_ended
    assert training_log.summary_seen
    assert (seen.phase, seen.step, seen.memory_gib, seen.eta_seconds) == (FINISHED, 20, 31.5, 0)
    assert not training_log.poll()


def line_3_7(step: int, elapsed: float) -> str:
    """A line of ms-swift 3.7.2 (swift/trainers/mixin.py and callback.py)."""
    line = {
        "loss": 1.3, "grad_norm": 0.97, "learning_rate": 0.0001, "memory(GiB)": 21.5,
        "train_speed(iter/s)": round(step / elapsed, 6), "epoch": 0.1, "global_step/max_steps": f"{step}/100",
        "percentage": f"{step}.00%", "elapsed_time": f"{elapsed:.0f}s", "remaining_time": "1h 39m 0s",
    }  # fmt: skip
    return json.dumps(line) + "\n"


EVAL_3_7 = '{"eval_loss": 1.2, "eval_runtime": 9.5, "epoch": 0.1, "global_step/max_steps": "10/100"}\n'


def test_the_speed_of_ms_swift_3_7(tmp_path: Path) -> None:
    log = tmp_path / "logging.jsonl"
    training_log = follow(log)
    speeds = []
    for text in (line_3_7(1, 90), line_3_7(5, 330), line_3_7(10, 630), EVAL_3_7):
        with log.open("a") as file:
            file.write(text)
        training_log.poll()
        speeds.append(training_log.report.seconds_per_step and round(training_log.report.seconds_per_step, 2))
    assert speeds == [90, 60, 60, 60]  # the first step's time has the setup in it
    assert (training_log.report.memory_gib, training_log.evaluations) == (21.5, 1)
    assert round(training_log.report.eta_seconds or 0, -1) == 5400


def test_a_resumed_3_7_does_not_count_the_steps_before(tmp_path: Path) -> None:
    log = tmp_path / "logging.jsonl"
    training_log = follow(log)
    training_log.report.step = 50
    log.write_text(line_3_7(55, 330))
    training_log.poll()
    assert round(training_log.report.seconds_per_step or 0) == 66
    with log.open("a") as file:
        file.write(line_3_7(60, 630))
    training_log.poll()
    assert round(training_log.report.seconds_per_step or 0) == 60


def test_a_log_without_speed_is_timed(tmp_path: Path) -> None:
    log, now = tmp_path / "logging.jsonl", [100.0]
    training_log = TrainingLog(LineReader(log), clock=lambda: now[0])
    for step, time, speed in ((1, 100.0, None), (5, 104.0, 1.0), (10, 127.0, 3.0)):
        now[0] = time
        with log.open("a") as file:
            file.write(json.dumps({"loss": 1.0, "global_step/max_steps": f"{step}/20"}) + "\n")
        training_log.poll()
        assert training_log.report.seconds_per_step == speed
    assert training_log.report.eta_seconds == 30


def test_only_new_lines_count_on_a_resume(tmp_path: Path) -> None:
    log = tmp_path / "logging.jsonl"
    log.write_text(TRAIN + END + '{"loss": 1.0, "cut')
    training_log = follow(log)
    training_log.skip(end_last_line(log, repair=True))
    assert not training_log.poll()
    with log.open("a") as file:
        file.write(TRAIN)
    training_log.poll()
    assert (training_log.lines, training_log.loop_ended, training_log.report.step) == (1, False, 4)


def test_another_node_mends_nothing(tmp_path: Path) -> None:
    log = tmp_path / "logging.jsonl"
    log.write_text("{half")
    assert end_last_line(log, repair=False) == 5
    assert log.read_text() == "{half"
    assert end_last_line(tmp_path / "none", repair=True) == 0


def test_a_replaced_file_is_read_from_its_start(tmp_path: Path) -> None:
    log = tmp_path / "logging.jsonl"
    log.write_text(TRAIN + TRAIN)
    training_log = follow(log)
    training_log.poll()
    log.write_text(EVAL)
    training_log.poll()
    assert training_log.report.step == 5


def test_numbers_that_json_does_not_know_are_left_out(tmp_path: Path) -> None:
    log = tmp_path / "logging.jsonl"
    log.write_text('{"loss": NaN, "grad_norm": Infinity, "global_step/max_steps": "1/2"}\n' * 3 + "not json\n[1]\n")
    training_log = follow(log)
    training_log.poll()
    assert (training_log.report.loss, training_log.report.grad_norm, training_log.nan_lines) == (None, None, 3)
    json.dumps(training_log.report.to_json(), allow_nan=False)
    with log.open("a") as file:
        file.write(TRAIN)
    training_log.poll()
    assert training_log.nan_lines == 0


def test_a_huge_line_costs_little_memory(tmp_path: Path) -> None:
    log = tmp_path / "logging.jsonl"
    log.write_text(SUMMARY + "\n" + TRAIN)
    assert len(SUMMARY) > 5 * LINE_LIMIT
    lines = LineReader(log).read()
    assert [len(line) <= LINE_LIMIT for line in lines] == [True, True]
    assert (parse_line(lines[0]) or {})["global_step"] == 20


@given(cuts=st.lists(st.integers(1, 200), max_size=12))
def test_lines_may_come_in_pieces(tmp_path_factory: object, cuts: list[int]) -> None:
    path = Path(tmp_path_factory.mktemp("p")) / "log"  # type: ignore[attr-defined]
    reader, lines = LineReader(path), []
    rest = (TRAIN + EVAL + END).encode()
    for cut in [*cuts, len(rest)]:
        with path.open("ab") as file:
            file.write(rest[:cut])
        rest = rest[cut:]
        lines += reader.read()
    assert b"\n".join(lines) + b"\n" == (TRAIN + EVAL + END).encode()


def test_a_value_out_of_range_is_left_out_and_ends_nothing(tmp_path: Path) -> None:
    log = tmp_path / "logging.jsonl"
    step = '"global_step/max_steps": "1/999999999999"'
    log.write_text(
        f'{{"loss": 1e300, "epoch": 0.5, "train_speed(s/it)": 1e300, {step}}}\n'
        f'{{"loss": 1.5, "train_speed(iter/s)": 1e-320, {step}}}\n'
        f'{{"loss": 1.5, "memory(GiB)": {"9" * 400}, "global_step/max_steps": "{"9" * 5000}/9"}}\n'
        f'{{"loss": 1.5, "grad_norm": {"9" * 5000}}}\n'
    )
    training_log = follow(log)
    training_log.poll()
    seen = training_log.report
    assert (seen.step, seen.loss, seen.epoch, seen.seconds_per_step, seen.eta_seconds) == (1, 1.5, 0.5, None, None)
    assert training_log.nan_lines == 0


def test_the_last_step_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "logging.jsonl"
    assert last_step(log) is None
    log.write_text("x" * LINE_LIMIT + "\n" + TRAIN + EVAL + '{"loss": 1')
    assert last_step(log) == 5
    log.write_text("nothing")
    assert last_step(log) is None


def test_files_that_are_written(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "part").write_bytes(b"x")
    os.utime(tmp_path / "a" / "b" / "part", (1000, 1000))
    assert written_since([tmp_path / "none", tmp_path], 1000)
    assert not written_since([tmp_path / "none", tmp_path], 1001)


@pytest.mark.parametrize(("strategy", "truncated"), [("delete", 0), ("right", None)])
def test_dropped_rows_are_in_the_report(strategy: str, truncated: int | None) -> None:
    said = (
        f"truncation_strategy={strategy},\nDataset filtered, origin length: 9, filtered dataset length: 7\n"
        "train_dataset: Dataset({\n    num_rows: 7\n})\nval_dataset: Dataset({\n    num_rows: 2\n})"
    )
    report = Report()
    report.take_rows(dropped.read(said))
    found = {name: value for name, value in report.to_json().items() if "data" in name.lower() and name != "updated"}
    found.update({name: value for name, value in report.to_json().items() if name.startswith("validation")})
    assert found == {
        "dataRows": 9,
        "dataDropped": 2,
        "dataTooLong": 2,
        "dataTruncated": truncated,
        "validationRows": 2,
        "validationDropped": 0,
    }
