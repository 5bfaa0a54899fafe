"""A stand-in for ms-swift: writes the same files and ends in the way that its first argument asks for.

Only what the runner sees of ms-swift is imitated: ``logging.jsonl``, ``args.json``, checkpoints, output and exit code.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

OUTPUT = Path(os.environ["FAKE_OUTPUT"])
TOTAL = 20
asked = False


def log(line: dict[str, object], step: int) -> None:
    common = {"epoch": step / 10, "global_step/max_steps": f"{step}/{TOTAL}", "train_speed(s/it)": 0.01}
    with (OUTPUT / "logging.jsonl").open("a") as file:
        file.write(json.dumps({**line, **common}) + "\n")


def train(step: int) -> None:
    log({"loss": 2.0 - step / TOTAL, "grad_norm": 1.0, "learning_rate": 1e-4}, step)
    sys.stderr.write(f"\rTrain:  {step * 5}%|##   | {step}/{TOTAL} [00:01<00:01]")
    sys.stderr.flush()


def save(step: int, ranks: int = 1) -> None:
    path = OUTPUT / f"checkpoint-{step}"
    path.mkdir()
    states = ["rng_state.pth"] if ranks == 1 else [f"rng_state_{rank}.pth" for rank in range(ranks)]
    for name in ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", *states):
        (path / name).write_bytes(b"x")
    state: dict[str, Any] = {
        "best_metric": None,
        "best_model_checkpoint": None,
        "global_step": step,
        "log_history": [],
        "max_steps": TOTAL,
    }
    (path / "trainer_state.json").write_text(json.dumps(state, indent=2, sort_keys=True))


def end(step: int, *, well: bool = True) -> None:
    if well:
        log({"train_runtime": 1.0, "train_loss": 1.0}, step)
    summary = {"last_model_checkpoint": str(OUTPUT / f"checkpoint-{step}"), "global_step": step, "log_history": []}
    with (OUTPUT / "logging.jsonl").open("a") as file:
        file.write(json.dumps(summary) + "\n")


def forever() -> None:
    while True:
        time.sleep(60)


def first_step() -> int:
    if "--resume_from_checkpoint" in sys.argv:
        return int(sys.argv[sys.argv.index("--resume_from_checkpoint") + 1].rpartition("-")[2])
    return 0


def finish(last: int = TOTAL) -> None:
    (OUTPUT / "args.json").write_text("{}")
    for step in range(first_step() + 1, last + 1):
        train(step)
    save(last)
    end(last)


def graceful(ranks: int = 1) -> None:
    """Save at the next step end once SIGTERM has come, as ``--callbacks graceful_exit`` does."""

    def note(*_: object) -> None:
        global asked  # noqa: PLW0603
        asked = True

    signal.signal(signal.SIGTERM, note)
    step = first_step()
    while not asked and step < TOTAL - 5:
        step += 1
        train(step)
        deadline = time.monotonic() + (60 if step >= first_step() + 4 else 0)
        while not asked and time.monotonic() < deadline:
            time.sleep(0.02)
    save(step, ranks)
    end(step)


def together() -> None:
    """One of two nodes: both end at the same step when one is told to, as graceful_exit's all-reduce has it."""
    first, told = os.environ["JOB_COMPLETION_INDEX"] == "0", OUTPUT / "all-reduced"
    signal.signal(signal.SIGTERM, lambda *_: told.touch())
    for step in range(1, 9) if first else ():
        train(step)
    while not told.exists():
        time.sleep(0.05)
    if first:
        save(8)
        end(8)


def flood() -> None:
    """Say more than anybody reads, until told to stop."""

    def end(*_: object) -> None:
        (OUTPUT / "told").touch()
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    train(1)
    while True:
        os.write(1, b"x" * 4096)


def leak() -> None:
    """Print the key in pieces, as a whole, in base64 and in a traceback."""
    key = os.environ["FAKE_KEY"]
    for piece in ("key=" + key[:5], key[5:11], key[11:] + "\n"):
        os.write(1, piece.encode())
        time.sleep(0.05)
    raise ValueError(f"坏密钥 {key}")


def key() -> None:
    print("lengths", len(os.environ["SWANLAB_API_KEY"]), len(os.environ["FAKE_KEY"]))
    finish()


def orphans() -> None:
    """Leave a zombie to PID 1, and a process behind that keeps the output open."""
    subprocess.Popen(["sh", "-c", "(sleep 0.2; exit 3) & (trap '' TERM; sleep 1000) & exit 0"])
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and zombies():
        time.sleep(0.1)
    time.sleep(0.5)
    train(1)
    print("zombies:", zombies())
    finish()


def zombies() -> int:
    count = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            count += fields[0] == "Z" and int(fields[1]) == 1
    return count


def torchrun() -> None:
    """A launcher that would note a SIGTERM, and two workers of which the first saves."""
    signal.signal(signal.SIGTERM, lambda *_: (OUTPUT / "launcher-was-told").touch())
    workers = [subprocess.Popen([sys.executable, __file__, mode]) for mode in ("worker", "helper")]
    codes = [worker.wait() for worker in workers]
    raise SystemExit(max(codes))


def helper() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    forever()


def killed() -> None:
    """Die of SIGKILL; FAKE_KILLS is the kernel's count of memory kills afterwards."""
    train(1)
    if "FAKE_KILLS" in os.environ:
        Path("/sys/fs/cgroup/memory.events").write_text(f"oom 0\noom_kill {os.environ['FAKE_KILLS']}\n")
    os.kill(os.getpid(), signal.SIGKILL)


def flush() -> None:
    finish()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    forever()


def silent() -> None:
    """Write a file of the output now and then, as a download does, and nothing else for some seconds; then hang."""
    for part in range(8):
        (OUTPUT / "part").write_text(str(part))
        time.sleep(0.5)
    (OUTPUT / "downloaded").touch()
    forever()


def odd_time() -> None:
    """Save a checkpoint from before 1970."""
    train(4)
    save(4)
    os.utime(OUTPUT / "checkpoint-4" / "trainer_state.json", (-5, -5))
    forever()


def stall() -> None:
    train(1)
    forever()


def slow() -> None:
    """ms-swift 3.7, with its default of five steps between two lines: the speed is in steps per second."""
    for step in (1, 5, 10, 15, 20):
        time.sleep(1.5)
        line = {"loss": 1.0, "train_speed(iter/s)": 3.333, "global_step/max_steps": f"{step}/{TOTAL}"}
        with (OUTPUT / "logging.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
    save(TOTAL)
    end(TOTAL)


def evaluate() -> None:
    """A long evaluation: nothing in the log, but its bar moves."""
    train(1)
    for n in range(12):
        sys.stderr.write(f"\rVal:  {n}%|#  | {n}/12 [00:01<00:01]")
        sys.stderr.flush()
        time.sleep(0.5)
    finish()


def fail() -> None:
    train(1)
    end(1, well=False)
    raise RuntimeError(os.environ.get("FAKE_TEXT", "boom"))


def drop() -> None:
    """Rows that are too long, in the words of ms-swift 4.6."""
    print("truncation_strategy=delete,")
    print("[INFO:swift] Dataset filtered, origin length: 40, filtered dataset length: 10")
    print("[INFO:swift] train_dataset: Dataset({\n    features: ['messages'],\n    num_rows: 10\n})")
    print("[INFO:swift] val_dataset: None", flush=True)
    finish()


def format() -> None:
    """A reader that does not say which row."""
    raise RuntimeError("datasets.exceptions.DatasetGenerationError: An error occurred while generating the dataset")


def accelerate() -> None:
    """Tell of the acceleration as its plugin does, in the words of FAKE_REPORT."""
    said = json.loads(os.environ["SWIFTOP_ACCELERATION"])
    report, plugins = Path(said["report"]), sys.argv[sys.argv.index("--external_plugins") + 1 :]
    report.write_text(os.environ["FAKE_REPORT"])
    entry, package = report.parent / "entry", report.parent / "swiftop_acceleration"
    assert plugins == ["mine.py", str(entry / "swiftop_entry.py"), "--max_length", "9"], plugins
    assert sorted(path.name for path in entry.iterdir()) == ["swiftop_entry.py"]
    assert {"__init__.py", "memory.py", "plugin.py"} <= {path.name for path in package.iterdir()}
    assert os.environ["TRITON_CACHE_DIR"] == str(OUTPUT / ".triton"), os.environ
    print("asked", said["mode"], *said["fixed"])
    finish()


MODES = {
    "finish": finish,
    "silent": silent,
    "odd_time": odd_time,
    "early": lambda: finish(TOTAL // 2),
    "graceful": graceful,
    "worker": lambda: graceful(2),
    "nothing": lambda: None,
    "sleep": forever,
    "env": lambda: print(*sys.argv, sorted(os.environ)),
    **{
        f.__name__: f
        for f in (
            together,
            accelerate,
            silent,
            odd_time,
            flood,
            key,
            leak,
            orphans,
            torchrun,
            helper,
            killed,
            flush,
            stall,
            slow,
            evaluate,
            fail,
            drop,
            format,
        )
    },
}

if __name__ == "__main__":
    if "torch.distributed.run" in sys.argv:
        torchrun()
    else:
        MODES[sys.argv[1]]()
