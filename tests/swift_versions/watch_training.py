"""Runs inside an environment: the acceleration's watch in the real trainer of transformers, on a model of one number.

Fused layers are a stand-in that does what the first word asks for: `sound`, `nan_loss`, `nan_gradient`, `inf_gradient`,
`kernel`, `canary`, `raises`, `partly`; `memory`: what there is does not do; `anew`: so it is, then the trainer begins
again, and the loss is no number. Output: after a line `RESULT` what was
reported, what became of the model, and each loss.
"""

from __future__ import annotations

import functools
import importlib
import json
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
import transformers

sys.path.append(str(Path(__file__).parents[2] / "operator"))
watch = importlib.import_module("swiftop.acceleration.watch")
memory = importlib.import_module("swiftop.acceleration.memory")
Report = importlib.import_module("swiftop.acceleration.report").Report
MODE = sys.argv[1]
STEPS = 8
SHAPE = memory.Shape(2, 64, 4, 2, 16, 128, 1024, 140_000)


class Poisoned(torch.autograd.Function):  # type: ignore[misc]
    """A number as it is, whose gradient is none."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *_: torch.Tensor) -> torch.Tensor:
        return torch.tensor(math.inf if MODE == "inf_gradient" else math.nan)


class Model(torch.nn.Module):  # type: ignore[misc]
    """loss = w · w; fused it goes wrong at the third micro-batch, in the way that was asked for."""

    failed = False  # a kernel, for good

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(2.0))
        self.fused, self.calls = False, 0
        self.checkpointing: list[str] = []

    def forward(self, x: torch.Tensor, **_: Any) -> dict[str, torch.Tensor]:
        self.calls += 1
        w = self.w
        if MODE in ("memory", "anew") and self.calls == 4 and not self.checkpointing:
            self.w.grad = torch.tensor(100.0)  # as of a backward pass that was broken off
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        if self.fused and self.calls == 3:
            if MODE == "nan_loss":
                return {"loss": w * math.nan}
            if MODE.endswith("_gradient"):
                w = Poisoned.apply(w)
            Model.failed = MODE == "kernel"
        return {"loss": w * w + 0 * x.sum()}

    def gradient_checkpointing_enable(self) -> None:
        self.checkpointing.append("enabled")

    def enable_input_require_grads(self) -> None:
        self.checkpointing.append("inputs")


@dataclass(frozen=True)
class Fused:
    """As of the layers."""

    fused: int
    total: int
    parts: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)


def fuse(model: Any, *, approximate: bool) -> Fused:
    """Of the stand-in."""
    if MODE == "raises":
        raise RuntimeError("no such layer")
    model.fused = True
    return Fused(1, 2, ("linears",), {"mlp": "CheckFailed"}) if MODE == "partly" else Fused(2, 2, ("linears", "mlp"))


def unfuse(model: Any) -> int:
    """Of the stand-in."""
    model.fused = False
    return 1


def failure() -> str:
    """Of the stand-in."""
    return "CompileFailed" if Model.failed else ""


def compare(model: Any) -> str | None:
    """Of the stand-in."""
    if MODE != "canary":
        return None
    model.fused = False
    return "CheckFailed"


def stand_in(name: str, **content: Any) -> None:
    module = ModuleType(f"swiftop.acceleration.{name}")
    vars(module).update(content)
    sys.modules[module.__name__] = module


def main() -> None:
    """Train a little."""
    stand_in("layers", fuse=fuse, unfuse=unfuse, failure=failure)
    stand_in("canary", compare=compare)
    report = Report(Path("/tmp/report.json"))
    training = memory.Training(SHAPE, rows=4, checkpointing=False, fused=True)
    between = (memory.estimate(training) + memory.estimate(watch.replace(training, fused=False))) / 2
    plan = watch.Plan(report, gib=between, training=training, chose_checkpointing=True)
    watch.install(plan)
    model = Model()
    arguments = transformers.TrainingArguments(
        "/tmp/out", max_steps=STEPS, learning_rate=0.01, logging_steps=1, report_to="none", use_cpu=True,
        per_device_train_batch_size=1, gradient_accumulation_steps=2, save_strategy="no", lr_scheduler_type="constant",
        disable_tqdm=True, logging_nan_inf_filter=False, weight_decay=0.0,
    )  # fmt: skip
    vars(arguments)["max_epochs"] = None  # ms-swift's own, which its callbacks ask for
    trainer = transformers.Trainer(model, arguments, train_dataset=[{"x": [1.0]}] * 64)
    own = trainer.compute_loss = functools.partial(transformers.Trainer.compute_loss, trainer)  # as a plugin's
    with importlib.import_module("swift.trainers.mixin").SwiftMixin._fix_grad_norm_nan():  # as in ms-swift's own
        trainer.train()
        if MODE == "anew":
            globals()["MODE"], model.calls = "nan_loss", 0
            trainer.train()
    found = SimpleNamespace(
        report=json.loads(Path("/tmp/report.json").read_text()),
        fused=model.fused,
        checkpointing=model.checkpointing,
        calls=model.calls,
        watched=trainer.compute_loss is not own or "training_step" in vars(trainer),
        losses=[round(line["loss"], 3) for line in trainer.state.log_history if "loss" in line],
    )
    print("RESULT")
    print(json.dumps(vars(found)))


if __name__ == "__main__":
    main()
