"""The runner around real ms-swift, as PID 1: a finished run, an interrupted one, and each way in which it fails."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from swiftop.runner.protocol import Acceleration, Source
from tests.runner.harness import OWNER, Bench, Execution, free_port, wait_until
from tests.runner.trainer import DATA, FAKES, MODEL, WORK, lines, sft, trainer

KEY = "canary-5f1c-0d2e-77aa"
SWANLAB: dict[str, Any] = {
    "report_to": "swanlab",
    "swanlab_project": "demo",
    "swanlab_exp_name": "run",
    "swanlab_mode": "cloud",
}
CORES = 2  # trainings at a time, each on one thread


@pytest.fixture
def real(tmp_path: Path, assets: Path) -> Iterator[Bench]:
    """The runner as PID 1 in the trainer image."""
    made = trainer(tmp_path / "work", assets)
    yield made
    made.close()


@contextmanager
def swanlab() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A SwanLab server for the real client."""
    port, digest = free_port(), hashlib.sha256(KEY.encode()).hexdigest()
    command = [sys.executable, str(FAKES / "swanlab_server.py"), "--port", str(port), "--key-sha256", digest]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}", server
    finally:
        server.kill()
        server.wait()


def tracked(host: str, **changes: Any) -> dict[str, Any]:
    """What the operator adds to a plan for SwanLab."""
    environ = {"SWANLAB_API_KEY": KEY, "SWANLAB_API_HOST": host, "SWANLAB_RUN_ID": "uid1", "SWANLAB_RESUME": "allow"}
    return {"swanlab_host": host, "secret_env": ("SWANLAB_API_KEY",), "environ": environ, **changes}


def test_a_tracked_run_to_its_last_step(real: Bench) -> None:
    command = sft(**SWANLAB, split_dataset_ratio="0.1", eval_steps=3)
    with swanlab() as (host, _):
        run = real.start(command, max_steps=6, swift_version="4.6", **tracked(host, required_env=("SWANLAB_API_KEY",)))
        code, message = run.end(120)
    assert (code, message["outcome"], message["reason"]) == (0, "finished", "MaxSteps"), run.log[-3000:]
    progress = message["progress"]
    assert (progress["step"], progress["maxSteps"], progress["phase"], progress["checkpointStep"]) == (6, 6, 4, 6)
    assert all(progress[name] > 0 for name in ("loss", "evalLoss", "gradNorm", "secondsPerStep", "epoch"))
    assert progress["bestStep"] in (3, 6)
    assert progress["trackerWorkspace"] == "alice"
    assert "View run" in run.log
    assert real.record["outcome"] == "finished"
    everything = [*real.output.rglob("*"), real.local("termination-log"), run.log_file]
    assert not [path for path in everything if path.is_file() and KEY.encode() in path.read_bytes()]


def test_where_there_is_no_gpu_an_accelerated_run_is_the_same(real: Bench) -> None:
    logged = {}
    for name, wanted in (("plain", None), ("accelerated", Acceleration("Auto", ("max_length",)))):
        output = f"{WORK}/{name}"
        run = real.start(sft(output_dir=output, max_steps=3), output_dir=output, max_steps=3, acceleration=wanted)
        code, message = run.end(120)
        assert (code, message["reason"]) == (0, "MaxSteps"), run.log[-3000:]
        found = map(json.loads, (real.local(name) / "logging.jsonl").read_text().splitlines())
        logged[name] = [(line["loss"], line["grad_norm"]) for line in found if "loss" in line]
    assert len(logged["plain"]) == 3
    assert logged["accelerated"] == logged["plain"]
    parts = ["attention", "borders", "linears", "mlp", "liger", "batch", "checkpointing", "loader"]
    assert message["progress"]["acceleration"] == {
        "active": False,
        "parts": [],
        "skipped": [[part, "NotOnCuda"] for part in parts],
    }
    assert "swiftop: acceleration: mlp is left out: NotOnCuda" in run.log
    arguments = json.loads((real.local("accelerated") / "checkpoint-3" / "args.json").read_text())
    assert arguments["external_plugins"] == []  # whoever merges it imports what stands here
    assert (real.local("accelerated") / ".triton").is_dir()


def interrupt(run: Execution, step: int) -> dict[str, Any]:
    """Stop a training once it has reached a step; the termination message."""
    run.wait_for_step(step, seconds=120)
    run.terminate()
    code, message = run.end()
    assert (code, message["outcome"], message["reason"]) == (75, "interrupted", "Interrupted"), run.log[-3000:]
    return message


def test_sigterm_saves_and_the_next_execution_goes_on_from_there(real: Bench) -> None:
    command = sft(max_steps=40, save_steps=1000, gradient_accumulation_steps=4)
    saved = interrupt(real.start(command, max_steps=40), 2)["progress"]["checkpointStep"]
    assert 2 <= saved < 40

    run = real.start(command, max_steps=40)
    code, message = run.end(120)
    assert (code, message["reason"], message["progress"]["step"]) == (0, "MaxSteps", 40), run.log[-3000:]
    assert f"resuming from {WORK}/out/checkpoint-{saved}" in run.log
    logged = [line for line in lines(real) if "loss" in line]
    assert [line["global_step/max_steps"] for line in logged] == [f"{step}/40" for step in range(1, 41)]
    rates = [line["learning_rate"] for line in logged]
    assert rates[saved] < rates[saved - 1]  # the schedule went on and did not start again


def test_a_run_starts_from_a_checkpoint_of_another(real: Bench) -> None:
    assert real.start(sft(), max_steps=6).end(120)[0] == 0
    source = Source(f"{WORK}/out", OWNER.uid, "lora", step=3, model=MODEL)
    for name, weights_only, first in (("whole", False, 4), ("weights", True, 1)):
        run = real.start(
            sft(max_steps=8, output_dir=f"{WORK}/{name}"),
            owner=replace(OWNER, uid=name),
            output_dir=f"{WORK}/{name}",
            max_steps=8,
            resume_from=replace(source, weights_only=weights_only),
        )
        code, message = run.end(120)
        assert (code, message["reason"]) == (0, "MaxSteps"), run.log[-3000:]
        text = (real.local(name) / "logging.jsonl").read_text()
        logged = [line for line in map(json.loads, text.splitlines()) if "loss" in line]
        assert [line["global_step/max_steps"] for line in logged] == [f"{step}/8" for step in range(first, 9)]
        assert logged[0]["loss"] < lines(real)[0]["loss"]  # it does not begin with untrained weights


def test_two_workers_save_when_torchrun_is_left_alone(real: Bench) -> None:
    # Debian's torch has no libuv, which the launcher's own TCP store insists on: a file does as well on one node
    meet = ("--rdzv_backend", "c10d", "--rdzv_endpoint", "/tmp/meet", "--rdzv_conf", "store_type=file")
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node", "2", *meet)
    command = sft(launcher=launcher, max_steps=400, save_steps=1000, ddp_backend="gloo")
    saved = interrupt(real.start(command, max_steps=400, world_size=2, elastic=True), 2)["progress"]["checkpointStep"]
    names = {path.name for path in (real.output / f"checkpoint-{saved}").iterdir()}
    assert {"rng_state_0.pth", "rng_state_1.pth", "optimizer.pt", "trainer_state.json"} <= names


def test_a_tracker_lost_at_the_end_does_not_hold_the_gpu(real: Bench) -> None:
    with swanlab() as (host, server):
        run = real.start(sft(**SWANLAB, max_steps=30), max_steps=30, finish_timeout=3, **tracked(host))
        run.wait_for_step(1, seconds=120)
        server.send_signal(signal.SIGKILL)
        code, message = run.end(120)
    assert (code, message["outcome"], message["reason"]) == (0, "finished", "MaxSteps"), run.log[-3000:]
    assert "upload did not end" in message["message"]
    assert message["progress"]["checkpointStep"] == 30


@contextmanager
def one_login() -> Iterator[str]:
    """A SwanLab that accepts the runner's login and is gone for ms-swift."""

    class Accept(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Accept)

    def serve() -> None:
        server.handle_request()
        server.server_close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    wait_until(lambda: not thread.is_alive(), what="one login")


def lose_tracker(bench: Bench) -> Execution:
    with one_login() as host:
        run = bench.start(sft(**SWANLAB), **tracked(host))
        run.end(150)
    return run


def plain(**changes: Any) -> Callable[[Bench], Execution]:
    return lambda bench: bench.start(sft(**changes))


FAILURES: dict[str, tuple[Callable[[Bench], Execution], int, str]] = {
    "tracker lost": (lose_tracker, 10, "TrackerUnreachable"),
    "dataset missing": (plain(dataset="/data/none.jsonl"), 4, "DatasetNotFound"),
    "rows of unknown format": (plain(dataset=f"{DATA}/unknown-format.jsonl"), 4, "DatasetFormat"),
    "dataset empty": (plain(dataset=f"{DATA}/empty.jsonl"), 4, "DatasetEmpty"),
    "rows too long": (plain(max_length=4), 4, "DatasetEmpty"),
    "model missing": (plain(model="/models/none"), 3, "ModelNotFound"),
    "unknown flag": (plain(foo_bar=1), 3, "InvalidArguments"),
    "no such choice": (plain(swanlab_mode="offline"), 3, "InvalidArguments"),
    "packing without flash": (plain(packing="true"), 3, "FlashAttentionMissing"),
    "no bf16": (plain(bf16="true", torch_dtype=None, use_cpu=None), 3, "PrecisionUnsupported"),
    "model type unclear": (plain(model=f"{WORK}/copy"), 3, "ModelNotFound"),
}


@pytest.fixture(scope="module")
def failures(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[dict[str, Any]]]]:
    """All failures, a training per core at a time: starting Python and torch is most of each."""

    def fail(name: str) -> dict[str, Any]:
        bench = trainer(tmp_path_factory.mktemp("fail") / "work", assets)
        link = bench.local("copy")
        link.symlink_to(MODEL)
        try:
            run = FAILURES[name][0](bench)
            code, message = run.end(150)
            return {**message, "code": code, "whole log": run.log}
        finally:
            bench.close()

    with ThreadPoolExecutor(CORES) as pool:
        yield {name: pool.submit(fail, name) for name in FAILURES}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_has_its_own_cause(failures: dict[str, Future[dict[str, Any]]], name: str) -> None:
    _, code, reason = FAILURES[name]
    message = failures[name].result(180)
    assert (message["code"], message["outcome"], message["reason"]) == (code, "failed", reason), message["whole log"][
        -3000:
    ]
    assert message["suggestion"]
    assert message["log"]
    assert len(json.dumps(message["log"], ensure_ascii=False)) > 100
