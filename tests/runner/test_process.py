"""The real zip file around a stand-in for ms-swift: outcomes, signals, output, HTTP."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from swiftop.runner.protocol import POD_NAME, POD_UID, Acceleration, Source
from tests.runner.harness import FAKE, OWNER, UNSHARE, Bench, Execution, alive, descendants, interpreters, wait_until

TWO: dict[str, Any] = {"nodes": 2, "master_addr": "localhost"}
KEY = "sk-0123456789-abcdef"


def test_a_run_to_its_last_step_and_never_again(pid1: Bench) -> None:
    code, message = pid1.fake("finish", max_steps=20).end()
    assert (code, message["outcome"], message["reason"], message["log"]) == (0, "finished", "MaxSteps", "")
    progress = message["progress"]
    assert (progress["step"], progress["maxSteps"], progress["phase"], progress["checkpointStep"]) == (20, 20, 4, 20)
    assert (pid1.record["outcome"], pid1.record["epoch"]) == ("finished", 1)

    lines = (pid1.output / "logging.jsonl").read_text()
    again = pid1.fake("fail")
    assert again.end()[0] == 0
    assert (pid1.output / "logging.jsonl").read_text() == lines
    assert "had finished before" in again.log


TOLD: dict[str, Any] = {
    "active": True,
    "parts": ["borders", "loader"],
    "skipped": [["attention", "Installed"]],
    "perDeviceBatchSize": 4,
    "gradientAccumulationSteps": 8,
    "gradientCheckpointing": False,
    "estimatedGiB": 53.8,
    "gpuGiB": 79.2,
}


ODD = {
    "numbers": (json.dumps({**TOLD, "parts": ["x"] * 50, "gpuGiB": 1e300}), {**TOLD, "parts": [], "gpuGiB": None}),
    "broken": ("{", None),
    "huge": (json.dumps({**TOLD, "other": "x" * 100_000}), None),
}
NEWEST = sys.executable
REPORTS = [(python, json.dumps(TOLD), TOLD) for python in interpreters().values()]


@pytest.mark.parametrize(
    ("python", "said", "believed"),
    [*REPORTS, *((NEWEST, *each) for each in ODD.values())],
    ids=[*interpreters(), *ODD],
)
def test_an_accelerated_training_gets_its_plugin_and_tells_of_it(
    bench: Bench, python: str, said: str, believed: dict[str, Any] | None
) -> None:
    bench.python = python
    words = ("--external_plugins", "mine.py", "--max_length", "9")
    wanted = Acceleration("Approximate", ("max_length", "packing"))
    run = bench.fake("accelerate", *words, max_steps=20, acceleration=wanted, environ={"FAKE_REPORT": said})
    code, message = run.end()
    assert (code, message["reason"]) == (0, "MaxSteps"), run.log
    assert "asked Approximate max_length packing" in run.log
    expected = believed and {name: value for name, value in believed.items() if value is not None}
    assert message["progress"].get("acceleration") == expected


def test_progress_lines_stand_alone_in_the_log(bench: Bench) -> None:
    run = bench.fake("evaluate")
    run.end()
    lines = [line for line in run.log.split("\n") if "swiftop-progress" in line]
    assert len(lines) >= 3
    assert all(line.startswith("swiftop-progress {") for line in lines)
    assert json.loads(lines[-1].partition(" ")[2])["step"] == 20


def test_early_stopping_is_finished(bench: Bench) -> None:
    code, message = bench.fake("early").end()
    assert (code, message["outcome"], message["reason"]) == (0, "finished", "EarlyStopped")


def test_exit_zero_without_an_end_of_training_is_no_success(bench: Bench) -> None:
    code, message = bench.fake("nothing").end()
    assert (code, message["outcome"], message["reason"]) == (20, "failed", "Unknown")


def test_sigterm_saves_and_the_next_execution_resumes(pid1: Bench) -> None:
    run = pid1.fake("graceful")
    assert run.wait_for_step(4)["phase"] == 1
    run.terminate()
    code, message = run.end()
    assert (code, message["outcome"], message["reason"]) == (75, "interrupted", "Interrupted")
    saved = message["progress"]["checkpointStep"]
    assert saved == message["progress"]["step"] == 4

    run = pid1.fake("finish")
    code, message = run.end()
    assert (code, message["reason"], message["progress"]["step"]) == (0, "MaxEpochs", 20)
    assert f"resuming from {pid1.inside('out')}/checkpoint-{saved}" in run.log
    assert "execution 1 ended interrupted" in run.log
    assert [e["outcome"] for e in pid1.record["executions"]] == ["interrupted", "finished"]
    steps = [json.loads(line).get("loss") for line in (pid1.output / "logging.jsonl").read_text().splitlines()]
    assert len([loss for loss in steps if loss is not None]) == 20


def test_dropped_rows_are_reported(bench: Bench) -> None:
    progress = bench.fake("drop").end()[1]["progress"]
    assert {name: value for name, value in progress.items() if name.startswith(("data", "validation"))} == {
        "dataRows": 40,
        "dataDropped": 30,
        "dataTooLong": 30,
        "dataTruncated": 0,
    }


def test_the_broken_row_of_a_local_file_is_named(bench: Bench) -> None:
    file = bench.local("rows.jsonl")
    file.write_text('{"messages": []}\n{"messages": [')
    command = [bench.python, FAKE, "format", "--dataset", bench.inside("rows.jsonl")]
    message = bench.start(command).end()[1]
    assert message["reason"] == "DatasetFormat"
    assert "rows.jsonl, row 2: it is not valid JSON" in message["message"]


def test_resume_never_starts_anew(bench: Bench) -> None:
    first = bench.fake("graceful", resume=False)
    first.wait_for_step(4)
    first.terminate()
    first.end()
    run = bench.fake("finish", resume=False)
    assert run.end()[0] == 0
    assert "resuming" not in run.log


def test_a_checkpoint_of_the_last_step_is_finished(bench: Bench) -> None:
    assert bench.fake("finish").end()[0] == 0
    (bench.output / "swiftop-run.json").unlink()
    code, message = bench.fake("fail").end()
    assert (code, message["outcome"], message["progress"]["step"]) == (0, "finished", 20)
    assert bench.record["outcome"] == "finished"


def test_workers_are_told_to_stop_and_torchrun_is_not(pid1: Bench) -> None:
    run = pid1.start([pid1.python, FAKE, "torch.distributed.run"], world_size=2, elastic=True)
    run.wait_for_step(4)
    run.terminate()
    code, message = run.end()
    assert (code, message["outcome"], message["progress"]["checkpointStep"]) == (75, "interrupted", 4)
    assert not (pid1.output / "launcher-was-told").exists()


def test_a_child_that_dies_of_a_foreign_sigterm_is_interrupted(pid1: Bench) -> None:
    run = pid1.fake("sleep")
    run.wait_for_log("swiftop-progress")
    run.terminate()
    code, message = run.end()
    assert (code, message["outcome"]) == (75, "interrupted")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("", "", (6, "failed", "HostOutOfMemory")),  # the kernel does not tell
        ("oom_kill 0", "", (75, "interrupted", "Interrupted")),
        ("oom_kill 1", "2", (6, "failed", "HostOutOfMemory")),
    ],
)
def test_a_killed_child_is_not_finished(pid1: Bench, before: str, after: str, expected: tuple[int, str, str]) -> None:
    script = 'mount -t tmpfs tmpfs /sys/fs/cgroup; [ -z "$KILLS" ] || echo "$KILLS" > /sys/fs/cgroup/memory.events'
    pid1.prefix = (*UNSHARE, "sh", "-c", f'{script}; exec "$@"', "sh")
    environ = {"KILLS": before, **({"FAKE_KILLS": after} if after else {})}
    code, message = pid1.fake("killed", environ=environ).end()
    assert (code, message["outcome"], message["reason"]) == expected


def test_a_failure_tells_its_true_exception_in_chinese(bench: Bench) -> None:
    code, message = bench.fake("fail", environ={"FAKE_TEXT": "第 3 行缺少字段"}).end()
    assert (code, message["outcome"], message["reason"]) == (20, "failed", "Unknown")
    assert message["message"] == "RuntimeError: 第 3 行缺少字段"
    assert message["log"].endswith("RuntimeError: 第 3 行缺少字段")
    assert "Train:" not in message["log"]


def test_a_known_failure_has_its_code_and_suggestion(bench: Bench) -> None:
    code, message = bench.fake("fail", environ={"FAKE_TEXT": "CUDA out of memory. Tried to allocate 2 GiB"}).end()
    assert (code, message["reason"]) == (5, "CUDAOutOfMemory")
    assert "zero3" in message["suggestion"]


def test_secrets_are_masked_everywhere(bench: Bench) -> None:
    run = bench.fake("leak", secret_env=("FAKE_KEY",), environ={"FAKE_KEY": KEY})
    _, message = run.end()
    assert "key=***" in run.log
    assert message["message"] == "ValueError: 坏密钥 ***"
    texts = [run.log, json.dumps(message), (bench.output / "swiftop-run.json").read_text()]
    assert not [text for text in texts if KEY in text or KEY[5:] in text]


def test_the_plan_is_not_handed_on(bench: Bench) -> None:
    run = bench.fake("env", "$(NODE_RANK)", nodes=2, environ={"JOB_COMPLETION_INDEX": "0", "PAI_TRAINING_JOB_ID": "1"})
    run.end()
    assert "env 0 [" in run.log
    assert "'FAKE_OUTPUT'" in run.log
    assert "SWIFTOP_PLAN" not in run.log
    assert "PAI_TRAINING_JOB_ID" not in run.log


def test_zombies_are_reaped_and_orphans_do_not_hold_the_end(pid1: Bench) -> None:
    run = pid1.fake("orphans")
    assert run.end(30)[0] == 0
    assert "zombies: 0" in run.log


def test_an_upload_without_end_is_cut_off_and_finished(bench: Bench) -> None:
    code, message = bench.fake("flush").end()
    assert (code, message["outcome"]) == (0, "finished")
    assert "upload did not end" in message["message"]


def test_a_stall_is_ended_and_an_evaluation_is_none(bench: Bench) -> None:
    code, message = bench.fake("stall", stall_seconds=2).end()
    assert (code, message["reason"]) == (9, "Stalled")
    assert bench.fake("evaluate", stall_seconds=2).end()[0] == 0


def test_a_preparation_that_hangs_is_ended_and_a_silent_download_is_none(bench: Bench) -> None:
    code, message = bench.fake("silent", stall_seconds=1.0, preparation_seconds=2.0).end()
    assert (code, message["reason"], "step" in message["progress"]) == (9, "Stalled", False)
    assert (bench.output / "downloaded").exists()


def test_an_odd_time_of_a_checkpoint_leaves_out_that_time_only(bench: Bench) -> None:
    run = bench.fake("odd_time")
    seen = wait_until(lambda: (data := run.progress()).get("checkpointStep") and data, what="the checkpoint")
    assert (seen["step"], seen["checkpointStep"], "checkpointTime" in seen) == (4, 4, False)
    run.terminate()
    assert run.end()[0] == 75


def test_an_execution_that_left_no_message_is_told_by_the_next(pid1: Bench) -> None:
    run = pid1.fake("graceful", environ={POD_UID: "pod-1", POD_NAME: "demo-1-x"})
    run.wait_for_step(4)
    assert "previous" not in run.progress()
    os.kill(run.runner_pid, signal.SIGKILL)
    run.process.wait(30)
    run = pid1.fake("graceful", environ={POD_UID: "pod-2"})
    (previous,) = run.wait_for_step(4)["previous"]
    lost = {"pod": "pod-1", "time": previous["time"], "reason": "Lost", "step": 4}
    assert previous == lost
    assert abs(previous["time"] - time.time()) < 60
    run.terminate()
    message = run.end()[1]
    assert message["progress"]["previous"] == [lost]
    again = pid1.fake("finish")
    before, previous = again.end()[1]["progress"]["previous"]
    expected = {"pod": "pod-2", "time": previous["time"], "reason": "Interrupted", "step": 4, "keptStep": 4}
    assert (before, previous) == (lost, expected)
    first, second, third = pid1.record["executions"]
    assert (first["podName"], first["outcome"], first["startStep"]) == ("demo-1-x", "interrupted", None)
    assert (second["startStep"], third["startStep"], third["keptStep"]) == (None, 4, 20)


def source_of(bench: Bench, other: Bench, **changes: Any) -> Source:
    """The checkpoint of another bench's run, whose tuner is full as the stand-in saves no adapter's config."""
    return replace(Source(other.inside("out"), "uid-1", "full"), **changes)


@pytest.fixture
def trained(tmp_path: Path, python: str) -> Iterator[Bench]:
    """Another run that was stopped at step 4."""
    made = Bench(tmp_path / "other", python=python)
    run = made.fake("graceful")
    run.wait_for_step(4)
    run.terminate()
    run.end()
    yield made
    made.close()


def test_a_start_from_another_runs_checkpoint(bench: Bench, trained: Bench) -> None:
    owner, source = replace(OWNER, uid="uid-2"), source_of(bench, trained, step=4)
    run = bench.fake("graceful", owner=owner, resume_from=source)
    seen = run.wait_for_step(8)
    assert "checkpointStep" not in seen  # the other run's checkpoint is not kept by this one
    run.terminate()
    assert run.end()[1]["progress"]["checkpointStep"] == 8
    assert f"resuming from {trained.output}/checkpoint-4" in run.log
    run = bench.fake("env", owner=owner, resume_from=source)
    run.end()
    assert f"--resume_from_checkpoint {bench.output}/checkpoint-8 [" in run.log  # its own goes first
    assert bench.record["executions"][0]["startStep"] == 4


def test_a_start_from_weights_alone(bench: Bench, trained: Bench) -> None:
    source = source_of(bench, trained, weights_only=True)
    run = bench.fake("env", owner=replace(OWNER, uid="uid-2"), resume_from=source)
    message = run.end()[1]
    flags = f"--resume_from_checkpoint {trained.output}/checkpoint-4 --resume_only_model true --ignore_data_skip true"
    assert flags in run.log
    assert "step" not in message["progress"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"uid": "uid-9"}, "CheckpointMissing"),
        ({"step": 5}, "CheckpointMissing"),
        ({"tuner": "lora"}, "CheckpointUnfit"),
    ],
)
def test_a_start_that_cannot_be_had(bench: Bench, trained: Bench, changes: dict[str, Any], reason: str) -> None:
    source = source_of(bench, trained, **changes)
    code, message = bench.fake("finish", owner=replace(OWNER, uid="uid-2"), resume_from=source).end()
    assert (code, message["outcome"], message["reason"]) == (3, "failed", reason)
    assert message["suggestion"]
    assert not (bench.output / "logging.jsonl").exists()


def test_slow_steps_of_ms_swift_3_7_are_no_stall(bench: Bench) -> None:
    run = bench.fake("slow", stall_seconds=1)
    seen = run.wait_for_step(10)
    assert round(seen["secondsPerStep"], 3) == 0.3
    assert seen["etaSeconds"] == round(0.3 * (20 - seen["step"]))
    code, message = run.end()
    assert (code, message["outcome"]) == (0, "finished")


def test_a_newer_execution_stops_the_older_one(bench: Bench) -> None:
    run = bench.fake("stall")
    run.wait_for_step(1)
    record = bench.record
    (bench.output / "swiftop-run.json").write_text(json.dumps({**record, "epoch": record["epoch"] + 1}))
    code, message = run.end()
    assert (code, message["outcome"]) == (75, "interrupted")
    assert bench.record["epoch"] == record["epoch"] + 1
    assert "outcome" not in bench.record["executions"][0]


def test_another_runs_directory_is_refused(bench: Bench) -> None:
    bench.fake("finish").end()
    code, message = bench.fake("finish", owner=replace(OWNER, uid="uid-2")).end()
    assert (code, message["reason"]) == (11, "OutputOccupied")


def test_the_other_node_takes_the_first_ones_checkpoint(bench: Bench) -> None:
    first = bench.fake("graceful")
    first.wait_for_step(4)
    first.terminate()
    first.end()
    changes: dict[str, Any] = {"attempt": 2, **TWO}
    waiting = bench.fake(
        "env", environ={"JOB_COMPLETION_INDEX": "1"}, termination_log=bench.inside("other-log"), **changes
    )
    zero = bench.fake("env", environ={"JOB_COMPLETION_INDEX": "0"}, **changes)
    assert waiting.process.wait(30) == 0  # this node cannot know of more than its own exit code
    zero.process.wait(30)
    for one in (waiting, zero):
        assert f"--resume_from_checkpoint {bench.inside('out')}/checkpoint-4" in one.log
    assert bench.record["epoch"] == 2


def two_nodes(bench: Bench) -> tuple[Execution, Execution]:
    """A run of two nodes on one output, its first node at step 8."""
    other = bench.fake("together", environ={"JOB_COMPLETION_INDEX": "1"}, termination_log=bench.inside("other"), **TWO)
    other.wait_for_log("waiting for node 0 to begin attempt 1")
    zero = bench.fake("together", environ={"JOB_COMPLETION_INDEX": "0"}, **TWO)
    zero.wait_for_step(8)
    wait_until(lambda: descendants(other.runner_pid), what="the other node's training")
    return zero, other


def test_a_stop_of_one_node_interrupts_the_run_on_all(bench: Bench) -> None:
    zero, other = two_nodes(bench)
    other.terminate()
    code, message = zero.end()
    assert (code, message["outcome"], message["progress"]["checkpointStep"]) == (75, "interrupted", 8), zero.log
    assert other.process.wait(30) == 75
    assert bench.record["outcome"] is None
    assert bench.record["executions"][0]["outcome"] == "interrupted"


def test_a_run_of_two_nodes_that_nobody_stopped_is_finished(bench: Bench) -> None:
    zero, other = two_nodes(bench)
    (bench.output / "all-reduced").touch()
    code, message = zero.end()
    assert (code, message["outcome"], message["reason"]) == (0, "finished", "EarlyStopped")
    assert other.process.wait(30) == 0


def test_a_stuck_reader_of_the_log_does_not_hold_up_a_stop(bench: Bench) -> None:
    run = bench.fake("flood", unread=True)
    run.wait_for_step(1)
    run.terminate()
    wait_until((bench.output / "told").exists, what="SIGTERM at the training")
    code, message = run.end(30)
    assert (code, message["outcome"]) == (75, "interrupted")


BROKEN = """
import os, sys
sys.path.insert(0, {zip!r})
from swiftop_runner import main, supervise
check = supervise.Supervisor._check
def broken(self, child):
    check(self, child)
    if self._program._log.lines:
        raise ZeroDivisionError("never foreseen, " + os.environ["FAKE_KEY"])
supervise.Supervisor._check = broken
sys.exit(main.main())
"""


def test_a_fault_of_the_runner_ends_the_training_and_is_told(bench: Bench) -> None:
    bench.local("broken.py").write_text(BROKEN.format(zip=bench.zip))
    bench.zip = bench.inside("broken.py")
    run = bench.fake("stall", secret_env=("FAKE_KEY",), environ={"FAKE_KEY": KEY})
    training = wait_until(lambda: descendants(run.runner_pid), what="the training")
    code, message = run.end()
    text = "the runner itself failed: ZeroDivisionError: never foreseen, ***"
    assert (code, message["outcome"], message["reason"], message["message"]) == (20, "failed", "Unknown", text)
    assert "Traceback" in run.log
    assert KEY not in run.log + json.dumps(message)
    wait_until(lambda: not any(map(alive, training)), what="the end of the training")
    assert bench.record["executions"][0]["outcome"] == "failed"


FULL = BROKEN.replace('ZeroDivisionError("never foreseen, " + os.environ["FAKE_KEY"])', 'OSError(28, "no room")')


def test_a_volume_that_is_full_when_the_runner_writes_is_told(bench: Bench) -> None:
    bench.local("full.py").write_text(FULL.format(zip=bench.zip))
    bench.zip = bench.inside("full.py")
    run = bench.fake("stall")
    training = wait_until(lambda: descendants(run.runner_pid), what="the training")
    code, message = run.end()
    assert (code, message["outcome"], message["reason"]) == (11, "failed", "DiskFull"), run.log
    wait_until(lambda: not any(map(alive, training)), what="the end of the training")


def test_a_damaged_record_starts_nothing(bench: Bench) -> None:
    bench.fake("finish").end()
    (bench.output / "swiftop-run.json").write_text('{"uid": "uid-1", "outc')
    lines = (bench.output / "logging.jsonl").read_text()
    code, message = bench.fake("finish").end()
    assert (code, message["outcome"], message["reason"]) == (11, "failed", "OutputUnreadable")
    assert (bench.output / "logging.jsonl").read_text() == lines


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"required_env": ("SWANLAB_API_KEY",)}, 3, "SecretMissing"),
        ({"swift_version": "4.6"}, 3, "VersionMismatch"),
        ({"gpus": 99}, 3, "GPUMissing"),
        ({"min_free_bytes": 1 << 60}, 11, "DiskFull"),
        ({"output_dir": "/proc/nowhere"}, 11, "VolumeNotWritable"),
        ({"command": ["/nowhere/python"]}, 20, "Unknown"),
    ],
)
def test_what_is_found_before_the_start(bench: Bench, changes: dict[str, Any], code: int, reason: str) -> None:
    ended, message = bench.start(**{"command": [bench.python, FAKE, "finish"], **changes}).end()
    assert (ended, message["outcome"], message["reason"]) == (code, "failed", reason)
    assert message["suggestion"]


def test_sigterm_before_the_start_is_an_interruption(bench: Bench) -> None:
    run = bench.fake("finish", swanlab_host="http://127.0.0.1:9")
    wait_until(run.progress, what="a runner that answers")
    run.terminate()
    code, message = run.end(10)
    assert (code, message["outcome"]) == (75, "interrupted")
    assert not (bench.output / "logging.jsonl").exists()


@contextmanager
def login(code: int, answer: dict[str, Any]) -> Iterator[tuple[str, list[str | None]]]:
    """SwanLab's login, and the keys that it was shown."""
    keys: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            keys.append(self.headers.get("authorization"))
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", keys
    server.shutdown()
    server.server_close()


def test_a_key_that_swanlab_refuses(bench: Bench) -> None:
    with login(401, {}) as (host, _):
        code, message = bench.fake("finish", swanlab_host=host, environ={"SWANLAB_API_KEY": KEY}).end()
    assert (code, message["reason"]) == (10, "TrackerAuthFailed")


def test_a_key_with_a_line_break_behind_it(bench: Bench) -> None:
    with login(200, {"userInfo": {"username": "alice"}}) as (host, keys):
        changes = {"swanlab_host": host, "secret_env": ("SWANLAB_API_KEY", "FAKE_KEY")}
        environ = {"SWANLAB_API_KEY": KEY + "\n", "FAKE_KEY": " other-secret\n"}
        run = bench.fake("key", environ=environ, **changes)
        code, message = run.end()
    assert (code, message["progress"]["trackerWorkspace"], keys) == (0, "alice", [KEY])
    assert "removed blanks or line breaks around the value of FAKE_KEY, SWANLAB_API_KEY" in run.log
    assert "lengths 20 12" in run.log
    assert '"trackerWorkspace": "alice"' in run.log
    assert KEY not in run.log


def test_metrics_and_memory(bench: Bench) -> None:
    run = bench.fake("graceful")
    run.wait_for_step(4)
    assert "swiftop_run_step 4" in (run.get("/metrics") or "")
    status = open(f"/proc/{run.runner_pid}/status").read()  # noqa: PTH123, SIM115
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    run.process.send_signal(signal.SIGTERM)
    run.end()
    assert peak < 30 * 1024, f"{peak} KiB"


@pytest.mark.parametrize("version", interpreters())
def test_every_python_of_this_machine_runs_it(tmp_path: Path, version: str) -> None:
    bench = Bench(tmp_path, prefix=UNSHARE, python=interpreters()[version])
    try:
        run = bench.fake("graceful")
        run.wait_for_step(4)
        run.terminate()
        assert run.end()[0] == 75
        assert bench.fake("finish").end()[0] == 0
    finally:
        bench.close()


def test_a_bad_plan_is_told(bench: Bench) -> None:
    run = bench.start([bench.python], version=7)
    assert run.process.wait(10) == 20
    assert "plan version 7 is not supported" in run.log
