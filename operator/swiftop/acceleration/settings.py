"""Settings of ms-swift that are worth choosing once model and GPU are known.

ms-swift makes the arguments of its trainer when it has read the model's configuration and before it loads the weights.
There what the spec leaves open is chosen: micro-batch and accumulation at the same product, whether activations are
recomputed, liger, how the loader reads ahead. What does not fit, or is not understood, stays as it is.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import memory, together
from .report import OTHER_PROCESS, SETTINGS, Report, log

ROWS, ACCUMULATION = "per_device_train_batch_size", "gradient_accumulation_steps"
CHECKPOINTING, LIGER = "gradient_checkpointing", "use_liger_kernel"
NAN_FILTER, WORKERS, PREFETCH = "logging_nan_inf_filter", "dataloader_num_workers", "dataloader_prefetch_factor"
MOST_PREFETCHED = 16  # batches for each worker, which lie in the pod's memory
SWIFT_ROWS = 16  # that ms-swift takes for a step where nobody says how many
FUSED_RANK = 64
_HALF = ("bfloat16", "float16")
_ALL_LAYERS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@dataclass(frozen=True)
class Circumstances:
    """What decides apart from the arguments."""

    fixed: Collection[str]  # flags that the spec gives
    config: Mapping[str, Any]  # of the model
    gib: float  # of GPU memory that may be planned with
    world_size: int = 1
    fusing: bool = True  # whether layers can be fused at all
    eightbit: bool = False
    liger: str = ""  # why it cannot be used, in a word
    several_gpus: bool = False  # in this one process, which spreads the layers over them


@dataclass
class Decision:
    """New values of arguments, and what is told of them."""

    rows: int
    accumulation: int
    checkpointing: bool
    values: dict[str, Any] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    training: memory.Training | None = None  # as it will run; None where its memory is not known
    estimated: float | None = None
    gib: float = 0.0  # that were planned with

    @property
    def order(self) -> tuple[float, int, bool]:
        """Of what several processes have chosen that of the smallest GPU fits all."""
        return self.gib, self.rows, not self.checkpointing


def decide(args: Any, around: Circumstances) -> Decision:
    """What to change of ms-swift's arguments."""
    rows = int(args.per_device_train_batch_size)
    unsaid = max(1, math.ceil(SWIFT_ROWS / rows / around.world_size))
    decision = Decision(rows, args.gradient_accumulation_steps or unsaid, bool(args.gradient_checkpointing))
    decision.gib = around.gib
    _choose_liger(args, around, decision)
    _choose_batch(args, around, decision)
    _choose_loader(args, around, decision)
    return decision


def _choose_liger(args: Any, around: Circumstances, decision: Decision) -> None:
    why = "GivenInSpec" if LIGER in around.fixed else around.liger or _spread(args, around)
    if why:
        decision.skipped["liger"] = why
    else:
        decision.values[LIGER] = True
        decision.used.append("liger")


def _choose_batch(args: Any, around: Circumstances, decision: Decision) -> None:
    """Micro-batch, accumulation and checkpointing together, since one memory holds them."""
    unsuited = _unsuited(args, around)
    shape = None if unsuited else memory.shape_of(around.config)
    if shape is None:
        decision.skipped.update(batch=unsuited or "UnknownModel", checkpointing=unsuited or "UnknownModel")
        return
    training = _training(args, shape, around, liger=bool(decision.values.get(LIGER, args.use_liger_kernel)))
    kept = _kept(args, around)
    choice = memory.choose(
        training,
        around.gib,
        accumulation=decision.accumulation,
        batch="batch" not in kept,
        checkpointing="checkpointing" not in kept,
    )
    if choice is None:
        kept = {**dict.fromkeys(("batch", "checkpointing"), "TooLittleMemory"), **kept}
    else:
        decision.rows, decision.accumulation = choice.rows, choice.accumulation
        decision.checkpointing = choice.checkpointing
        training = replace(training, rows=choice.rows, checkpointing=choice.checkpointing)
        if choice.checkpointing:
            kept.setdefault("checkpointing", "TooLittleMemory")
    decision.training, decision.estimated = training, memory.estimate(training)
    decision.skipped.update(kept)
    decision.used += [part for part in ("batch", "checkpointing") if part not in kept]
    _set_batch(args, decision, kept)


def _set_batch(args: Any, decision: Decision, kept: Mapping[str, str]) -> None:
    if "batch" not in kept:
        decision.values.update({ROWS: decision.rows, ACCUMULATION: decision.accumulation})
    if "checkpointing" not in kept:
        decision.values[CHECKPOINTING] = decision.checkpointing
        if getattr(args, "vit_gradient_checkpointing", None) is not None:  # it has followed the other already
            decision.values["vit_gradient_checkpointing"] = decision.checkpointing


def _kept(args: Any, around: Circumstances) -> dict[str, str]:
    """Which of the two stay as they are, and why."""
    kept = {}
    if {ROWS, ACCUMULATION} & set(around.fixed):
        kept["batch"] = "GivenInSpec"
    elif _padded(args):
        kept["batch"] = "Padded"  # larger micro-batches have more padding: what one gains the other takes
    elif args.deepspeed and not _follows(args.deepspeed):
        kept["batch"] = "DeepSpeedConfig"
    if CHECKPOINTING in around.fixed:
        kept["checkpointing"] = "GivenInSpec"
    return kept


def _choose_loader(args: Any, around: Circumstances, decision: Decision) -> None:
    """All micro-batches of a step read ahead, and no wait for the GPU to see whether its loss is a number."""
    workers = args.dataloader_num_workers
    workers = 1 if workers is None else workers  # ms-swift's own
    if NAN_FILTER not in around.fixed:
        decision.values[NAN_FILTER] = False
    if PREFETCH not in around.fixed and workers > 0:
        each = math.ceil(decision.accumulation / workers)
        decision.values[PREFETCH] = min(max(2, each), MOST_PREFETCHED)
    if {NAN_FILTER, PREFETCH} & decision.values.keys():
        decision.used.append("loader")
    else:
        decision.skipped["loader"] = "GivenInSpec"


def _unsuited(args: Any, around: Circumstances) -> str:
    """Why the memory of this training is not known well enough."""
    info = args.model_info
    reasons = (
        ("NotLora", _tuner(args) != "lora"),
        ("OtherTask", args.task_type != "causal_lm"),
        ("Quantized", bool(args.quant_method or args.quant_bits or info.quant_method or info.quant_bits)),
        ("NotHalfPrecision", str(info.torch_dtype).rpartition(".")[2] not in _HALF),
        ("SequenceParallel", getattr(args, "sequence_parallel_size", 1) > 1),
        ("ModulesToSave", bool(args.modules_to_save)),
        ("UnknownModel", bool(args.model_meta.is_multimodal)),
    )
    return _spread(args, around) or next((why for why, is_so in reasons if is_so), "")


def _tuner(args: Any) -> str:
    """Called otherwise in ms-swift 3."""
    return str(getattr(args, "tuner_type", None) or getattr(args, "train_type", ""))


def _stage(args: Any) -> int:
    """Of ZeRO; FSDP shards as much as its third."""
    if getattr(args, "fsdp", None):
        return 3
    config = args.deepspeed if isinstance(args.deepspeed, Mapping) else {}
    optimization = config.get("zero_optimization")
    stage = optimization.get("stage", 0) if isinstance(optimization, Mapping) else 0
    return stage if isinstance(stage, int) else 3


def _spread(args: Any, around: Circumstances) -> str:
    """Whether the model does not lie on this GPU as a whole, in a word."""
    return "Sharded" if _stage(args) == 3 else "SeveralGPUs" if around.several_gpus else ""


def _follows(config: Mapping[str, Any]) -> bool:
    """Whether DeepSpeed takes micro-batch and accumulation from the trainer."""
    named = ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "train_batch_size")
    return all(config.get(name, "auto") == "auto" for name in named)


def _padded(args: Any) -> bool:
    return not (args.packing or args.padding_free)


def configuration(model: str) -> dict[str, Any]:
    """Of the model in a folder: ms-swift has fetched it, and keeps no more of it by now than a few numbers."""
    found = json.loads(Path(model, "config.json").read_text("utf-8"))
    return found if isinstance(found, dict) else {}


def _training(args: Any, shape: memory.Shape, around: Circumstances, *, liger: bool) -> memory.Training:
    rank = int(args.lora_rank)
    targets = args.target_modules if isinstance(args.target_modules, (list, tuple)) else ()  # else a pattern
    everywhere = "all-linear" in targets or set(targets) >= _ALL_LAYERS
    fused = around.fusing and everywhere and rank <= FUSED_RANK and not getattr(args, "use_dora", False)
    packs = args.packing and getattr(args, "packing_length", None)
    return memory.Training(
        shape,
        rows=int(args.per_device_train_batch_size),
        length=int(packs or args.max_length),
        checkpointing=bool(args.gradient_checkpointing),
        liger=liger,
        fused=fused,
        eightbit=fused and around.eightbit,
        padded=_padded(args),
        rank=rank,
        dropout=args.lora_dropout > 0,
        stage=_stage(args),
        gpus=around.world_size,
    )


def liger_missing(model_type: object) -> str:
    """Why liger cannot be used for such a model, in a word."""
    if importlib.util.find_spec("liger_kernel") is None:
        return "NotInstalled"
    try:
        known = importlib.import_module("liger_kernel.transformers.monkey_patch").MODEL_TYPE_TO_APPLY_LIGER_FN
    except Exception as error:  # one that does not fit the image's transformers or Triton
        log.warning("acceleration: liger cannot be imported", exc_info=True)
        return type(error).__name__
    return "" if model_type in known else "UnknownModel"


def install(
    report: Report,
    circumstances: Callable[[Any], Circumstances],
    decided: Callable[[Decision], None],
    *,
    unsuited: bool = False,
) -> None:
    """Decide wherever ms-swift makes the arguments of a trainer.

    ``unsuited``: nothing can be chosen in this process, which others that can are told.
    """
    factory = importlib.import_module("swift.trainers").TrainerFactory
    plain = factory.get_training_args

    @functools.wraps(plain)
    def get_training_args(args: Any) -> Any:
        before, failure = vars(args).copy(), None
        decision: Decision | None = None
        try:
            chosen = None if unsuited else decide(args, circumstances(args))
            _set(args, chosen.values if chosen else {})
            made, decision = plain(args), chosen
        except Exception as error:  # of a release that calls something otherwise; what is wrong anyway is so again
            failure = error
            _set(args, before)
            made = plain(args)
        agreed = agree(decision)  # once there are arguments the processes can talk
        values = agreed.values if agreed else {}
        if decision is not None and values != decision.values:
            _set(args, {**{name: before[name] for name in decision.values}, **values})
            made = plain(args)
        if agreed is not None:
            tell(agreed, report)
            decided(agreed)
        elif not unsuited:
            _tell_failure(failure, report)
        return made

    factory.get_training_args = staticmethod(get_training_args)


def _set(args: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        setattr(args, name, value)


def agree(decision: Decision | None) -> Decision | None:
    """The same for all processes: GPUs of different sizes would choose differently, and wait for one another.

    None: one of them could not decide.
    """
    found = together.of_all(decision)
    decisions = [each for each in found if each is not None]
    return min(decisions, key=lambda each: each.order) if len(decisions) == len(found) else None


def _tell_failure(failure: Exception | None, report: Report) -> None:
    """Of this process or, where there is none, of another one."""
    for part in SETTINGS:
        if failure is None:
            report.skip(part, OTHER_PROCESS)
        else:
            report.fail(part, failure)
    report.write()


def tell(decision: Decision, report: Report) -> None:
    """The decision, in the report and in the log."""
    for part in decision.used:
        report.use(part)
    for part, why in decision.skipped.items():
        report.skip(part, why)
    report.rows, report.accumulation = decision.rows, decision.accumulation
    report.checkpointing, report.estimated = decision.checkpointing, decision.estimated
    needs = "" if decision.estimated is None else f"; about {decision.estimated:.1f} GiB of GPU memory"
    report.say(
        f"acceleration: micro-batch {decision.rows}, accumulation {decision.accumulation}, "
        f"checkpointing {'on' if decision.checkpointing else 'off'}{needs}"
    )
    report.write()
