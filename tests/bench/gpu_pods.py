"""A training pod without a cluster: what the operator would start, as a process, and what comes of it.

Command, plan and environment are read from the Job that the operator's own ``build`` makes. The kubelet's part is
played here: mounted folders are folders of this machine, Secrets are values, the container sees as many GPUs as it asks
for, and ports are such as are free: the pods of this machine share one network.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.batch.origin import SOURCE_DIR
from swiftop.runner import causes
from swiftop.runner.classify import last_lines
from swiftop.runner.ends import EXIT_INTERRUPTED, EndClass
from swiftop.runner.protocol import PLAN_VARIABLE, Plan
from swiftop.runner.train import checkpoints
from swiftop.swift import paths
from swiftop.workload.patch import strategic_merge
from swiftop.workload.pods import decoded
from tests.runner.harness import Bench, Execution, free_port
from tests.support.objects import children_of

SAMPLE = Path(__file__).parents[2] / "manifests" / "samples" / "sftrun-7b.yaml"
KEY = "key-of-the-bench"
MODELS, DATASETS, ADAPTERS = "models", "datasets", "adapters"  # claims
LOOK_SECONDS = 0.5
_STATE = re.compile(r"^rng_state|^optimizer|_optim_states\.pt$")

Object = dict[str, Any]
Figures = Iterator[tuple[str, Any]]  # by name, as they are found


@dataclass(frozen=True)
class Site:
    """Where things lie, where SwanLab answers, and what is asked for."""

    root: Path
    swanlab: str
    flash_attn: Path | None  # the stand-in's folder, None where the real package is installed
    visible: int = 1  # GPUs of this machine
    gpus: int = 1  # of the large model's runs
    steps: int = 12  # of the sample
    variants: tuple[str, ...] = ()  # empty: all
    until: float = math.inf  # monotonic time by which the scenario has to end

    @property
    def assets(self) -> Path:
        """Models, datasets and the stand-in."""
        return self.root / "assets"

    def left(self, seconds: float) -> float:
        """``seconds``, or the shorter time that the scenario still has."""
        return min(seconds, self.until - time.monotonic())


@dataclass(frozen=True)
class Pod:
    """One run's pod; it may be started again, as after an eviction."""

    directory: Path
    plan: Plan
    environ: dict[str, str]

    @property
    def output(self) -> Path:
        """The run's output directory."""
        return Path(self.plan.output_dir)

    def start(self) -> Execution:
        """Start the runner's zip file with the plan."""
        own = ("command", "port", "termination_log")  # as on this machine
        content = {item.name: getattr(self.plan, item.name) for item in fields(Plan) if item.name not in own}
        inside = ("env", "--chdir", str(self.directory / "tmp"))  # the pod's working directory; it becomes the runner
        return Bench(self.directory, prefix=inside).start(list(self.plan.command), environ=self.environ, **content)

    def steps(self) -> list[tuple[int, float]]:
        """Each logged step and the seconds from the start of the loop to its end."""
        lines = [json.loads(line) for line in (self.output / "logging.jsonl").read_text().splitlines()]
        found = []
        for line in lines:
            if "loss" in line:
                step = int(line["global_step/max_steps"].partition("/")[0])
                found.append((step, step * float(line["train_speed(s/it)"])))
        return found


@dataclass
class Ended:
    """How an execution ended. ``code`` is None when it had to be ended after its time."""

    code: int | None
    message: Object
    log: str
    seconds: float
    first_step: float | None = None  # seconds from the start
    stopping: float | None = None  # seconds from SIGTERM to the end
    runner_mib: float = 0

    @property
    def reason(self) -> str:
        """The cause that the runner found."""
        return str(self.message.get("reason", "no message: out of time"))

    @property
    def progress(self) -> Object:
        """The last progress."""
        return dict(self.message.get("progress", {}))


def make_pod(
    site: Site, name: str, *, model: str, dataset: str, model_type: str = "qwen2", flash_attn: bool = True, **spec: Any
) -> Pod:
    """The sample's pod with its data on claims, an own SwanLab, and ``spec`` merged in."""
    sample = yaml.safe_load(SAMPLE.read_text("utf-8"))
    sample["metadata"]["uid"] = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
    sample["spec"]["model"] = {"persistentVolumeClaim": {"claimName": MODELS, "path": model}, "type": model_type}
    sample["spec"]["datasets"] = [{"persistentVolumeClaim": {"claimName": DATASETS, "path": dataset}}]
    sample["spec"]["tracking"]["swanlab"]["host"] = site.swanlab
    sample["spec"]["runtime"] = {"image": "this-machine"}  # there is none
    run = SFTRun.from_object({**sample, "spec": strategic_merge(sample["spec"], spec)})
    return pod_of(site, name, children_of(run)[-1], flash_attn=flash_attn, gpus=run.spec.resources.gpus)


def pod_of(site: Site, name: str, job: Object, *, gpus: int, flash_attn: bool = True) -> Pod:
    """The pod of a Job, with the folders that are mounted in it moved to this machine."""
    directory = site.root / name
    directory.mkdir(parents=True)
    variables = _variables(job["spec"]["template"]["spec"]["containers"][0], mounts(site, directory))
    plan = decoded(variables.pop(PLAN_VARIABLE))
    assert plan is not None
    moved = _moved(json.loads(plan.to_json()), mounts(site, directory))
    surroundings = _surroundings(site if flash_attn else None, gpus=gpus)
    return Pod(directory, Plan.from_json(json.dumps(moved)), {**surroundings, **variables})


def mounts(site: Site, directory: Path) -> dict[str, Path]:
    """The pod's folders on this machine."""
    found = {
        f"{paths.CLAIM_MODELS_DIR}/{MODELS}": site.assets / "models",
        f"{paths.CLAIM_DATASETS_DIR}/{DATASETS}": site.assets / "datasets",
        f"{SOURCE_DIR}/{ADAPTERS}": site.assets / "adapters",
        f"{paths.CLAIM_MODELS_DIR}/{ADAPTERS}": site.assets / "adapters",
        paths.OUTPUT_DIR: directory / "output",
        paths.WORK_DIR: directory / "tmp",
    }
    (directory / "tmp").mkdir(exist_ok=True)
    return found


def _variables(container: Object, folders: dict[str, Path]) -> dict[str, str]:
    values = {env["name"]: env.get("value", KEY) for env in container["env"]}
    return {name: value if name == PLAN_VARIABLE else str(_moved(value, folders)) for name, value in values.items()}


def _moved(value: Any, folders: dict[str, Path]) -> Any:
    """``value`` with each path of the pod replaced by the folder here."""
    if isinstance(value, dict):
        return {name: _moved(item, folders) for name, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, folders) for item in value]
    if isinstance(value, str):
        name, equals, path = value.rpartition("=")  # an adapter is given as name=path
        for inside, here in folders.items():
            if f"{path}/".startswith(f"{inside}/"):
                return f"{name}{equals}{here}{path[len(inside) :]}"
    return value


def _surroundings(site: Site | None, *, gpus: int) -> dict[str, str]:
    """What image and node would bring: ``python`` is this one, with its packages and the stand-in."""
    search = [Path(part).resolve() for part in os.environ.get("PYTHONPATH", "").split(":") if part]
    if site is not None and site.flash_attn is not None:
        search.insert(0, site.flash_attn)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    node = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(gpus))), "PET_MASTER_PORT": str(free_port())}  # torchrun's
    return {**os.environ, "PATH": path, "PYTHONPATH": ":".join(map(str, search)), **node}


@dataclass
class _Watch:
    """What is seen of an execution while it runs."""

    stop_at: int | None
    started: float = field(default_factory=time.monotonic)
    first_step: float | None = None
    stopped: float | None = None
    runner_mib: float = 0

    def look(self, execution: Execution) -> None:
        """Poll the progress as the operator does, and stop the run at its step."""
        progress = execution.progress()
        now = time.monotonic()
        if progress.get("loss") is not None and self.first_step is None:
            self.first_step = now - self.started
        if self.stop_at and self.stopped is None and (progress.get("step") or 0) >= self.stop_at:
            execution.process.terminate()
            self.stopped = now
        self.runner_mib = max(self.runner_mib, peak_mib(execution.process.pid))


def follow(execution: Execution, *, seconds: float, stop_at: int | None = None) -> Ended:
    """Until the end, which is made after ``seconds``; with SIGTERM at step ``stop_at``."""
    watch = _Watch(stop_at)
    while execution.process.poll() is None and time.monotonic() - watch.started < seconds:
        watch.look(execution)
        time.sleep(LOOK_SECONDS)
    ended = time.monotonic()
    code = execution.process.poll()
    execution.bench.close()
    message = execution.bench.local("termination-log")
    return Ended(
        code=code,
        message=json.loads(message.read_bytes()) if message.exists() else {},
        log=execution.log,
        seconds=ended - watch.started,
        first_step=watch.first_step,
        stopping=ended - watch.stopped if watch.stopped else None,
        runner_mib=watch.runner_mib,
    )


def outcome(ended: Ended, cause: EndClass) -> Object:
    """How it ended, and with the last lines of the log where it should have ended by another cause."""
    good = (ended.code, ended.reason) == (cause.exit_code, cause.reason)
    return {
        "reason": ended.reason,
        "exit code": ended.code,
        "message": ended.message.get("message"),
        "suggestion": ended.message.get("suggestion"),
        "seconds": ended.seconds,
        "log": None if good else last_lines(ended.log),
        "as it should": good,
    }


def stop_and_resume(site: Site, pod: Pod, *, processes: int, seconds: float) -> Figures:
    """SIGTERM after the second step; then the same pod again, on what the first execution has kept."""
    first = follow(pod.start(), seconds=site.left(seconds), stop_at=2)
    kept = checkpoints.find(pod.output, world_size=processes, resumable=True)
    yield "first", outcome(first, causes.INTERRUPTED)
    yield "seconds from SIGTERM to the end", first.stopping
    yield "checkpoint", kept.step if kept else None
    if kept is None:
        yield "as it should", False
        return
    yield "state of the processes", sorted(path.name for path in Path(kept.path).rglob("*") if _STATE.search(path.name))
    second = follow(pod.start(), seconds=site.left(seconds))
    resumed = re.findall(r"swiftop: resuming from .*", second.log)
    yield "second", outcome(second, causes.MAX_STEPS)
    yield "resumed", resumed
    yield "seconds to its first step", second.first_step
    good = (first.code, second.reason) == (EXIT_INTERRUPTED, causes.MAX_STEPS.reason)
    yield "as it should", good and resumed[-1:] == [f"swiftop: resuming from {kept.path}"]


def peak_mib(pid: int) -> float:
    """Highest resident memory of a process so far; zero once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


@cache
def installed(distribution: str) -> str:
    """Version of an installed package, empty without it."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
