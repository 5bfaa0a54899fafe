"""What an export costs beside ``swift export`` itself: ``python -m tests.bench.export_cost [--pairs 5] [--layers 24]``.

A random model of 0.36 billion weights with a LoRA adapter is merged by the real ms-swift, and goes through each task in
a process of its own. Then whole exports under the runner are compared with ``swift export --merge_lora`` alone, without
and with the verification, in rounds whose order alternates, so that what else the machine does falls on all. Printed
are seconds, processor time and the kernel's peak of memory (which counts mapped pages of the weights' files), with
their ratios to the merge; of the tasks' time the processor's, since others use the machine too. All files are in
memory, so nothing waits for a disk.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY / "operator"))  # inside nothing else leads there

from swiftop.runner.bundle import bundle  # noqa: E402
from swiftop.runner.protocol import PLAN_VARIABLE, ExportSettings, Owner, Plan  # noqa: E402
from swiftop.runner.typed_json import to_json  # noqa: E402

ROOT = Path("/tmp/bench")
NAME = "Qwen2.5-0.5B-Instruct"


@dataclass(frozen=True)
class Cost:
    """Of one process."""

    name: str
    seconds: float
    processor: float  # seconds of one core
    mib: float


def measured(name: str, *command: str, environ: Mapping[str, str] = MappingProxyType({})) -> Cost:
    """Run a process to its end. Time is that of all its children too, memory that of the largest among them."""
    whole = {**os.environ, "PYTHONPATH": str(REPOSITORY / "operator"), "HF_HUB_OFFLINE": "1", **environ}
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, *command], env=whole, stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{name} ended with {process.returncode}")
    return Cost(name, time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def task(name: str, module: str, request: Mapping[str, Any]) -> Cost:
    """One task as PID 1 starts it."""
    directory = Path(tempfile.mkdtemp())
    (directory / "request").write_text(json.dumps(request))
    cost = measured(name, "-m", f"swiftop.runner.export.{module}", str(directory))
    print((directory / "result").read_text()[:600], file=sys.stderr)
    return cost


def make_models(layers: int) -> None:
    """Base and adapter, and the base once more as a checkpoint in float32."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2Config, Qwen2ForCausalLM

    sys.path.insert(0, str(REPOSITORY / "tests" / "fakes"))
    tiny = importlib.import_module("tiny_model")
    tiny.write_model(ROOT / NAME, tiny.conversations())  # for its tokenizer
    config = Qwen2Config(
        vocab_size=32000, hidden_size=1024, intermediate_size=2816, num_hidden_layers=layers, num_attention_heads=16,
        num_key_value_heads=8, max_position_embeddings=2048, tie_word_embeddings=False, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(config)
    model.save_pretrained(ROOT / "full")
    model = model.to(torch.bfloat16)
    model.save_pretrained(ROOT / NAME)
    tuned = get_peft_model(model, LoraConfig(r=8, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, value in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.02)
    tuned.save_pretrained(ROOT / "adapter")


def merge(output: str) -> tuple[str, ...]:
    """What ``swift export`` is called with."""
    words = ("--model", str(ROOT / NAME), "--adapters", str(ROOT / "adapter"), "--merge_lora", "true")
    return ("-m", "swift.cli.export", *words, "--output_dir", output)


def plain() -> Cost:
    """The merge alone."""
    output = ROOT / "plain"
    cost = measured("swift export --merge_lora", *merge(str(output)))
    shutil.rmtree(output)
    return cost


def under_runner(*, verify: bool) -> Cost:
    """The same as an export in a pod."""
    output = ROOT / "export"
    settings = ExportSettings(
        str(ROOT / "adapter"), str(ROOT / NAME), str(output / "model.partial"), dtype="bfloat16", verify=verify
    )
    plan = Plan(
        program="export",
        owner=Owner("ModelExport", "bench", "bench", "uid"),
        attempt=1,
        command=(sys.executable, *merge(settings.partial), "--torch_dtype", "bfloat16"),
        output_dir=str(output),
        settings=to_json(settings),
        termination_log=str(ROOT / "termination-log"),
    )
    name = "the runner, verified" if verify else "the runner, not verified"
    try:
        return measured(name, str(ROOT / "runner.pyz"), environ={PLAN_VARIABLE: plan.to_json()})
    finally:
        shutil.rmtree(output)


def rounds(count: int) -> list[list[Cost]]:
    """Each way to merge, once a round."""
    (ROOT / "runner.pyz").write_bytes(bundle())
    ways = (plain, lambda: under_runner(verify=False), lambda: under_runner(verify=True))
    found = []
    for number in range(count):
        order = (0, 1, 2) if number % 2 == 0 else (2, 1, 0)
        costs = {which: ways[which]() for which in order}
        found.append([costs[which] for which in range(len(ways))])
    return found


def costs() -> list[Cost]:
    """The merge, then each task."""
    base, adapter, merged, full = (str(ROOT / name) for name in (NAME, "adapter", "merged", "full"))
    against = {"artifact": merged, "dtype": "bfloat16", "base": base, "adapters": [adapter]}
    converted = {"checkpoint": full, "output": str(ROOT / "converted"), "dtype": "bfloat16"}
    return [
        measured("swift export --merge_lora", *merge(merged)),
        task("template", "template", {"artifact": merged, "modelType": "qwen2", "template": "qwen2_5", "bake": True}),
        task("finish", "finish", {"artifact": merged}),
        task("verify, forward pass", "verify", against),
        task("verify, chosen weights", "verify", {**against, "forwardLimitBytes": 0}),
        task("convert float32 to bfloat16", "convert", converted),
        task(
            "verify, converted",
            "verify",
            {"artifact": str(ROOT / "converted"), "dtype": "bfloat16", "checkpoint": full},
        ),
    ]


def inside(pairs: int, layers: int) -> None:
    """In the environment of ms-swift."""
    if os.fork() == 0:  # models are made in a process that gives its memory back
        make_models(layers)
        os._exit(0)
    _, status = os.wait()
    if status:
        raise RuntimeError("the models could not be made")
    print("RESULTS")
    tasks = [astuple(cost) for cost in costs()]
    print(json.dumps([tasks, [[astuple(cost) for cost in costs_] for costs_ in rounds(pairs)]]))


def main() -> None:
    """Run it there, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5, help="rounds of whole exports")
    parser.add_argument("--layers", type=int, default=24, help="of the model")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        inside(args.pairs, args.layers)
        return
    environment = importlib.import_module("tests.swift_versions.environments").environment("4.6")
    words = ("--inside", "--pairs", str(args.pairs), "--layers", str(args.layers))
    output = environment.run("tests/bench/export_cost.py", *words)
    tasks, whole = json.loads(output.rpartition("RESULTS\n")[2])
    found = [Cost(*row) for row in tasks]
    for cost in found:
        figures = f"{cost.seconds:6.1f} s {cost.processor:6.1f} s of a core {cost.mib:6.0f} MiB"
        ratios = f"{cost.processor / found[0].processor:.2f} × processor, {cost.mib / found[0].mib:.2f} × memory"
        print(f"{cost.name:30} {figures}  {ratios}")
    for way in zip(*([Cost(*row) for row in one] for one in whole), strict=True):
        print_ratios(way, [Cost(*one[0]) for one in whole])


def print_ratios(way: Sequence[Cost], merges: Sequence[Cost]) -> None:
    """One way to merge against the plain merge of the same round."""

    def ratio(name: str) -> str:
        found = sorted(getattr(one, name) / getattr(other, name) for one, other in zip(way, merges, strict=True))
        return f"{statistics.median(found):.2f} ({found[0]:.2f} to {found[-1]:.2f})"

    seconds, mib = (statistics.median(getattr(one, name) for one in way) for name in ("seconds", "mib"))
    ratios = f"{ratio('seconds')} × time, {ratio('processor')} × processor, {ratio('mib')} × memory"
    print(f"{way[0].name:30} {seconds:6.1f} s {mib:6.0f} MiB  of {len(way)} pairs {ratios}")


if __name__ == "__main__":
    main()
