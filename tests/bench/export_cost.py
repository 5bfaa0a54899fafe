"""What the tasks of an export cost beside ``swift export`` itself: ``python -m tests.bench.export_cost``.

A random model of 0.36 billion weights with a LoRA adapter is merged by the real ms-swift, and goes through each task in
a process of its own. Printed are seconds, processor time and the kernel's peak of memory (which counts mapped pages of
the weights' files), with their ratios to the merge; of the time the processor's, since others use the machine too. All
files are in memory, so nothing waits for a disk.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
ROOT = Path("/tmp/bench")
NAME = "Qwen2.5-0.5B-Instruct"


@dataclass(frozen=True)
class Cost:
    """Of one process."""

    name: str
    seconds: float
    processor: float  # seconds of one core
    mib: float


def measured(name: str, *command: str) -> Cost:
    """Run a process to its end."""
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY / "operator"), "HF_HUB_OFFLINE": "1"}
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", *command], env=environ, stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{name} ended with {process.returncode}")
    return Cost(name, time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def task(name: str, module: str, request: Mapping[str, Any]) -> Cost:
    """One task as PID 1 starts it."""
    directory = Path(tempfile.mkdtemp())
    (directory / "request").write_text(json.dumps(request))
    cost = measured(name, f"swiftop.runner.export.{module}", str(directory))
    print((directory / "result").read_text()[:600], file=sys.stderr)
    return cost


def make_models() -> None:
    """Base and adapter, and the base once more as a checkpoint in float32."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2Config, Qwen2ForCausalLM

    sys.path.insert(0, str(REPOSITORY / "tests" / "fakes"))
    tiny = importlib.import_module("tiny_model")
    tiny.write_model(ROOT / NAME, tiny.conversations())  # for its tokenizer
    config = Qwen2Config(
        vocab_size=32000, hidden_size=1024, intermediate_size=2816, num_hidden_layers=24, num_attention_heads=16,
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


def costs() -> list[Cost]:
    """The merge, then each task."""
    base, adapter, merged, full = (str(ROOT / name) for name in (NAME, "adapter", "merged", "full"))
    words = ("--model", base, "--adapters", adapter, "--merge_lora", "true", "--output_dir", merged)
    against = {"artifact": merged, "dtype": "bfloat16", "base": base, "adapters": [adapter]}
    converted = {"checkpoint": full, "output": str(ROOT / "converted"), "dtype": "bfloat16"}
    return [
        measured("swift export --merge_lora", "swift.cli.export", *words),
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


def inside() -> None:
    """In the environment of ms-swift."""
    if os.fork() == 0:  # models are made in a process that gives its memory back
        make_models()
        os._exit(0)
    _, status = os.wait()
    if status:
        raise RuntimeError("the models could not be made")
    print("RESULTS")
    print(json.dumps([astuple(cost) for cost in costs()]))


def main() -> None:
    """Run it there, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args().inside:
        inside()
        return
    environment = importlib.import_module("tests.swift_versions.environments").environment("4.6")
    output = environment.run("tests/bench/export_cost.py", "--inside")
    found = [Cost(*row) for row in json.loads(output.rpartition("RESULTS\n")[2])]
    for cost in found:
        figures = f"{cost.seconds:6.1f} s {cost.processor:6.1f} s of a core {cost.mib:6.0f} MiB"
        ratios = f"{cost.processor / found[0].processor:.2f} × processor, {cost.mib / found[0].mib:.2f} × memory"
        print(f"{cost.name:30} {figures}  {ratios}")


if __name__ == "__main__":
    main()
