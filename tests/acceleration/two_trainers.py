"""Runs inside an environment with DeepSpeed: the watch in the real trainer, with two processes that talk by gloo.

Each case is trained by DistributedDataParallel (``ddp``) or by DeepSpeed (``zero2``, in ms-swift's own configuration),
and in one of the two processes something goes wrong. torch's operations stand for the kernels, which have their own
tests. Output, after a line ``RESULTS``: a JSON object with what each case gave, by name.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "operator"), str(ROOT)]
os.environ["DS_ACCELERATOR"] = "cpu"  # read when DeepSpeed is imported
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no pool of processes

import faulthandler  # noqa: E402
import importlib  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import math  # noqa: E402
import socket  # noqa: E402
import time  # noqa: E402
import traceback  # noqa: E402
from collections.abc import Callable  # noqa: E402
from types import SimpleNamespace  # noqa: E402
from typing import Any  # noqa: E402

import accelerate.state  # noqa: E402
import swift  # noqa: E402
import torch  # noqa: E402
import torch._inductor.compile_fx  # noqa: E402  # DeepSpeed imports it late, and each fork would
import torch.utils.cpp_extension  # noqa: E402
import transformers  # noqa: E402
from swift.trainers.mixin import SwiftMixin  # noqa: E402

from swiftop.acceleration import canary, guard, hardware, layers, memory, repair, watch  # noqa: E402
from swiftop.acceleration.report import Report  # noqa: E402
from tests.acceleration import tiny  # noqa: E402

STEPS, ACCUMULATION = 3, 2
SIZES = {"hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 48}
SHAPE = memory.Shape(1, 32, 2, 1, 16, 48, 256, 30_000)
SECONDS = 60  # that a process may take, for the other may have ended
KERNELS = ("project", "swiglu_project", "project_backward", "swiglu_backward")
Object = dict[str, Any]


class Poisoned(torch.autograd.Function):  # type: ignore[misc]
    """A tensor as it is, whose gradient is none."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0] * math.nan


class Trouble:
    """What goes wrong in the second of the two processes, and when."""

    def __init__(self, trainer: Any, rank: int, event: str) -> None:
        self.trainer, self.rank, self.event = trainer, rank, event
        self.calls = self.broken = 0

    def now(self, micro_batch: int) -> bool:
        """In the second step, at this of its micro-batches: gradients are exchanged in the last."""
        last = self.trainer.accelerator.sync_gradients
        return self.rank == 1 and self.trainer.state.global_step == 1 and last is (micro_batch == ACCUMULATION)

    def install(self) -> None:
        """Where it shows as it would in a real one."""
        call, fuse = layers.Group.__call__, layers.fuse

        def called(group: Any, x: torch.Tensor) -> Any:
            found = call(group, x)
            self.calls += 1
            if self.event == "nan loss" and self.now(ACCUMULATION):
                return _each(found, lambda y: y * math.nan)
            if self.event == "nan gradient" and self.now(ACCUMULATION):
                return _each(found, Poisoned.apply)
            return found

        def fused(model: Any, **options: Any) -> Any:
            if self.rank == 1 and self.event == "raises":
                raise RuntimeError("no such layer")
            done = fuse(model, **options)
            if self.rank == 1 and self.event == "partly":
                layers.forwards(model)[0].remove()
                return layers.Fused(done.fused - 1, done.total, done.parts)
            return done

        put(layers.Group, "__call__", called)
        put(layers, "fuse", fused)
        put(guard, "kernels", lambda: SimpleNamespace(**{name: self._kernel(name) for name in KERNELS}))
        if self.rank == 1 and self.event == "canary":
            put(canary, "compare", lambda model: "CheckFailed")

    def _kernel(self, name: str) -> Callable[..., Any]:
        def kernel(*args: Any, **kwargs: Any) -> Any:
            if self.event == "kernel" and self.now(ACCUMULATION):
                raise RuntimeError("out of resource: shared memory")
            return getattr(repair, name)(*args, **kwargs)

        return kernel

    def exhaust(self, model: Any) -> None:
        """No memory in the forward pass, or in the backward pass, of the second step's first micro-batch; once."""
        name = {"memory, forward": "register_forward_pre_hook", "memory, backward": "register_full_backward_hook"}

        def raises(*_: Any) -> None:
            if self.now(1) and not self.broken:
                self.broken = 1
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")

        if self.event in name:
            getattr(model.get_base_model().model.layers[0].post_attention_layernorm, name[self.event])(raises)


def put(owner: Any, name: str, instead: Any) -> None:
    """In place of what is there."""
    setattr(owner, name, instead)


def _each(found: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    return change(found) if isinstance(found, torch.Tensor) else tuple(change(each) for each in found)


def _configuration(engine: str) -> Object | None:
    if engine == "ddp":
        return None
    file = Path(swift.__file__).with_name("config") / "zero2.json"
    config: Object = json.loads(file.read_text())
    return config | {"zero_allow_untested_optimizer": True}


def _arguments(engine: str) -> Any:
    """SGD: what is learned is proportional to the gradients."""
    found = transformers.TrainingArguments(
        "/tmp/out", max_steps=STEPS, learning_rate=2.0, logging_steps=1, report_to="none", use_cpu=engine == "ddp",
        per_device_train_batch_size=1, gradient_accumulation_steps=ACCUMULATION, save_strategy="no", bf16=True,
        lr_scheduler_type="constant", disable_tqdm=True, logging_nan_inf_filter=False, weight_decay=0.0, optim="sgd",
        ddp_backend="gloo", deepspeed=_configuration(engine), max_grad_norm=1e9,
    )  # fmt: skip
    vars(found)["max_epochs"] = None  # ms-swift's own, which its callbacks ask for
    return found


def train(rank: int, engine: str, event: str) -> Object:
    """One of two processes."""
    model = tiny.model(layers=1, config=SIZES, dtype=torch.bfloat16)
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    for each in trained.values():
        each.data = each.data.float()
    before = {name: each.detach().clone() for name, each in trained.items()}
    rows = [{name: tiny.tokens(seed, length=40)[0] for name in ("input_ids", "labels")} for seed in range(5, 17)]
    report = Report(Path(f"/tmp/report-{rank}.json"))
    training = memory.Training(SHAPE, rows=1, length=40, checkpointing=False, fused=True)
    if event != "plain":
        unsuited = "OlderThanAmpere" if rank == 1 and event == "unsuited" else ""
        watch.install(watch.Plan(report, gib=1.0, training=training, chose_checkpointing=True, unsuited=unsuited))
    trainer = transformers.Trainer(model, _arguments(engine), train_dataset=rows)
    trouble = Trouble(trainer, rank, event)
    trouble.install()
    trouble.exhaust(model)
    with SwiftMixin._fix_grad_norm_nan():  # as ms-swift's own trainers train
        trainer.train()
    return {
        "learned": {name: (each.detach().float() - before[name]).flatten().tolist() for name, each in trained.items()},
        "losses": [line["loss"] for line in trainer.state.log_history if "loss" in line],
        "fused": bool(layers.forwards(model)),
        "calls": trouble.calls,
        "skipped": report.skipped,
        "checkpointing": report.checkpointing,
        "types": sorted({str(each.dtype) for each in trained.values()}),
    }


def _process(rank: int, port: int, engine: str, event: str) -> int:
    """A fork; it says what it found in a file of its rank."""
    child = os.fork()
    if child:
        return child
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo", USE_LIBUV="0", ACCELERATE_TORCH_DEVICE="cpu",
    )  # fmt: skip
    if engine == "zero2":  # accelerate takes no DeepSpeed where it finds no GPU
        kind = accelerate.state.DistributedType.MULTI_GPU
        put(accelerate.state.PartialState, "_prepare_backend", lambda *_: ("gloo", kind))
    faulthandler.dump_traceback_later(SECONDS, exit=True)  # one that waits for the other for ever
    try:
        _result(rank).write_text(json.dumps(train(rank, engine, event)))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)


def _result(rank: int) -> Path:
    return Path(f"/tmp/result-{rank}.json")


def both(engine: str, event: str) -> list[Object]:
    """Of the two; empty for one that did not end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for child in [_process(rank, port, engine, event) for rank in range(2)]:
        os.waitpid(child, 0)
    found = [json.loads(_result(rank).read_text()) if _result(rank).exists() else {} for rank in range(2)]
    for rank in range(2):
        _result(rank).unlink(missing_ok=True)
    return found


def distance(found: Object, wanted: Object) -> float:
    """Relative difference of all that was learned."""
    new, old = (torch.tensor([x for name in sorted(each) for x in each[name]]) for each in (found, wanted))
    return float((new - old).norm() / old.norm())


def main() -> None:
    """All cases that the words name, as ``zero2/nan loss``, each beside the plain training of its engine."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    torch.set_num_threads(1)
    put(hardware, "on_gpu", lambda tensor: tensor is not None)
    put(hardware, "why_no_kernels", lambda: None)
    put(transformers.training_args, "is_torch_bf16_gpu_available", lambda: True)
    put(importlib.import_module("deepspeed.comm.torch"), "build_shm_op", lambda: None)  # would be compiled
    checkpoint = torch.utils.checkpoint.checkpoint

    def without_reentrance(*args: Any, **kwargs: Any) -> Any:
        """As ms-swift has it for DDP, in trainers/mixin.py."""
        return checkpoint(*args, **{**kwargs, "use_reentrant": False})

    put(transformers.modeling_utils, "checkpoint", without_reentrance)
    plain: dict[str, Object] = {}
    results = {}
    for case in sys.argv[1:]:
        engine, event = case.split("/")
        began = time.monotonic()
        if engine not in plain:
            plain[engine] = both(engine, "plain")[0]
        found = both(engine, event)
        results[case] = [
            each and each | {"learned": distance(each["learned"], plain[engine]["learned"])} for each in found
        ]
        print(f"{case}: {time.monotonic() - began:.1f} s", file=sys.stderr)
    print("RESULTS")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
