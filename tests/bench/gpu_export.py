"""Exports of a 7B model on a real GPU: ``python -m tests.bench.gpu_export [--only NAME …] [--directory DIR]``.

Needs one NVIDIA H100 (fp8 needs compute capability 8.9), 50 GB of disk, and in this Python ms-swift 4.6 with its torch;
no cluster and no network. The samples are rendered as the operator renders them and run by the runner's zip file on a
random model of Qwen2.5-7B's shape and a LoRA adapter. Of the samples only the source changes: a folder in place of a
run's checkpoint.

- ``merge``: manifests/samples/modelexport.yaml, merged to float16 on the CPU, without a GPU, and verified;
- ``quantize``: manifests/samples/modelexport-quantized.yaml, merged to bfloat16, verified, quantized to fp8 on the GPU
  and verified again.

Of each step: seconds, memory of its processes (in all, and without files that are only mapped), and of the GPU.
``--tiny`` takes the tests' model, and without a GPU bitsandbytes in place of fp8. What is found is printed and written
into ``figures.json`` at once. Exits 1 when one of them does not end as it should.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from swiftop import names
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.modelexport import ModelExport
from swiftop.kinds.modelexport.kind import KIND
from swiftop.model.kind import World
from swiftop.model.verdict import Create
from swiftop.runner import causes
from swiftop.runner.classify import last_lines
from tests.bench.gpu_assets import LARGE, TINY_BF16
from tests.bench.gpu_pods import ADAPTERS, MODELS, SAMPLE, Figures, Object, Pod, Site, installed, pod_of
from tests.runner.harness import Execution, descendants

SAMPLES = SAMPLE.parent
PACKAGES = ("ms-swift", "torch", "transformers", "peft", "safetensors", "bitsandbytes", "triton")
LOOK_SECONDS = 0.25
GIB = 1 << 30
MODULES = re.compile(r"(?:swiftop_runner|swift\.cli)\.([\w.]+)")


def make_export(site: Site, name: str, sample: str, *, model: str, **spec: Any) -> Pod:
    """The sample's pod with model and adapter on claims."""
    found = yaml.safe_load((SAMPLES / f"{sample}.yaml").read_text("utf-8"))
    base = {"persistentVolumeClaim": {"claimName": MODELS, "path": model}, "type": "qwen2"}
    source = {"persistentVolumeClaim": {"claimName": ADAPTERS, "path": model}, "base": base}
    meta = {"name": found["metadata"]["name"], "namespace": "bench", "uid": "0f3a1c9e-0000-4000-8000-000000000001"}
    wanted = {**found["spec"], "source": source, "runtime": {"image": "this-machine"}, **spec}
    export = ModelExport.from_object(
        {"apiVersion": names.API_VERSION, "kind": "ModelExport", "metadata": meta, "spec": wanted}
    )
    world = World(defaults=Defaults(), runner_config_map="none")
    job = KIND.build(KIND.prepare(export, world), Create(1))[-1]
    return pod_of(site, name, job, gpus=export.spec.resources.gpus)


@dataclass
class Step:
    """One process of the runner, as seen from outside."""

    seconds: float = 0
    resident: int = 0  # bytes, at most
    own: int = 0  # without what is mapped from files
    gpu: float = 0  # MiB of the whole GPU

    def told(self) -> str:
        text = f"{self.seconds:.1f} s, {self.resident / GIB:.1f} GiB ({self.own / GIB:.1f} without mapped files)"
        return text + (f", GPU {self.gpu / 1024:.1f} GiB" if self.gpu > 1024 else "")


@dataclass
class Watch:
    """What is seen of an execution while it runs."""

    graphics: bool
    steps: dict[str, Step] = field(default_factory=dict)
    runner: int = 0
    last: float = field(default_factory=time.monotonic)

    def look(self, execution: Execution) -> None:
        """Processes below the runner, by the module that they run."""
        now, pids = time.monotonic(), descendants(execution.process.pid)
        self.runner = max(self.runner, _memory(execution.process.pid)[0])
        if pids:
            name = _name(pids[0], self.steps)
            step = self.steps.setdefault(name, Step())
            step.seconds += now - self.last
            sizes = [_memory(pid) for pid in pids]
            step.resident = max(step.resident, sum(resident for resident, _ in sizes))
            step.own = max(step.own, sum(own for _, own in sizes))
            step.gpu = max(step.gpu, _gpu_mib() if self.graphics else 0)
        self.last = now


def _name(pid: int, known: dict[str, Step]) -> str:
    """merge, quantize, or the runner's own task; of a second look at a quantized model the same name with a number."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return next(reversed(known), "starting")
    found = MODULES.search(" ".join(words))
    if found is None:
        return next(reversed(known), "starting")
    if found[1] == "export":
        return "swift export, quantize" if "--quant_method" in words else "swift export, merge"
    suffix = " (quantized)" if any(name.endswith("quantize") for name in known) else ""
    return found[1] + suffix


def _memory(pid: int) -> tuple[int, int]:
    """Resident bytes of a process, and how many of these are no file's."""
    try:
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except OSError:
        return 0, 0
    return tuple(int(lines.get(name, "0 kB").split()[0]) * 1024 for name in ("VmRSS", "RssAnon"))  # type: ignore[return-value]


def _gpu_mib() -> float:
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    told = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split()
    return max(map(float, told), default=0)


def follow(site: Site, pod: Pod) -> Figures:
    """An export to its end, which is made when the time is over."""
    execution, watch, begun = pod.start(), Watch(shutil.which("nvidia-smi") is not None), time.monotonic()
    while execution.process.poll() is None and site.left(math.inf) > 0:
        watch.look(execution)
        time.sleep(LOOK_SECONDS)
    code, seconds = execution.process.poll(), time.monotonic() - begun
    execution.bench.close()
    log = execution.bench.local("termination-log")
    message = json.loads(log.read_bytes()) if log.exists() else {}
    good = (code, message.get("reason")) == (0, causes.COMPLETED.reason)
    yield "reason", message.get("reason", "no message: out of time")
    yield "message", message.get("message")
    yield "seconds", seconds
    yield "steps", {name: step.told() for name, step in watch.steps.items()}
    yield "runner, MiB", watch.runner / (1 << 20)
    progress = message.get("progress") or {}
    yield "report", {name: value for name, value in progress.items() if name not in ("updated", "phase")}
    yield "log", None if good else last_lines(execution.log)
    yield "as it should", good and progress.get("verified") == 1


def merge(site: Site, *, model: str) -> Figures:
    """To float16, with as many GPUs as the sample asks for: none."""
    pod = make_export(site, "merge", "modelexport", model=model)
    yield from follow(site, pod)
    shutil.rmtree(pod.output, ignore_errors=True)  # room for the next


def quantize(site: Site, *, model: str) -> Figures:
    """To fp8."""
    without: Object = {"quantization": {"method": "bnb", "bits": 4}, "resources": {"gpus": 0}}
    pod = make_export(site, "quantize", "modelexport-quantized", model=model, **({} if site.visible else without))
    yield from follow(site, pod)
    config = pod.output / "model" / "config.json"
    if config.is_file():
        yield "quantization_config", json.loads(config.read_text()).get("quantization_config")


SCENARIOS = {"merge": merge, "quantize": quantize}


def run(site: Site, chosen: list[str], model: str) -> Object:
    """One scenario after another; figures are on disk as soon as they are there."""
    figures: Object = {"machine": {name: installed(name) for name in PACKAGES}}
    print(json.dumps(figures["machine"]), flush=True)
    for name in chosen:
        print(f"== {name}", flush=True)
        figures[name] = {}
        try:
            for key, value in SCENARIOS[name](site, model=model):
                figures[name][key] = value
                _print(key, value)
                (site.root / "figures.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False))
        except Exception:  # the other may still tell something
            figures[name] |= {"error": traceback.format_exc(), "as it should": False}
            _print("error", figures[name]["error"])
    return figures


def _print(key: str, value: Any, indent: str = "  ") -> None:
    if isinstance(value, dict):
        print(f"{indent}{key}", flush=True)
        for name, item in value.items():
            _print(name, item, f"{indent}  ")
    elif value not in (None, "", []):
        print(f"{indent}{key}: " + (f"{value:.1f}" if isinstance(value, float) else str(value)), flush=True)


def main() -> None:
    """Make the models, run the scenarios and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--tiny", action="store_true", help="the tests' model, on any machine")
    parser.add_argument("--seconds", type=float, default=math.inf, help="for everything")
    parser.add_argument("--directory", type=Path, help="an empty folder to work in, which stays")
    options = parser.parse_args()
    until = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as scratch:
        root = (options.directory or Path(scratch)).resolve()
        command = [sys.executable, "-m", "tests.bench.gpu_assets", "--out", str(root / "assets")]
        begun = time.monotonic()
        subprocess.run([*command, *(["--tiny"] if options.tiny else [])], check=True)
        print(f"models made in {time.monotonic() - begun:.1f} s", flush=True)
        site = Site(root, "", None, visible=int(shutil.which("nvidia-smi") is not None))
        figures = run(replace(site, until=until), options.only, TINY_BF16 if options.tiny else LARGE)
    sys.exit(not all(figures[name]["as it should"] for name in options.only))


if __name__ == "__main__":
    main()
