"""What happens inside a trainer: layers are fused when all else is in place, compared, and watched for some steps.

A batch whose loss is no number with fused layers is computed again without them, before anything is learned from it; a
gradient that is none is not learned from. From then on the training is plain, in all processes of it (``together``).
A batch that does not fit the memory with settings that were chosen here is computed again with checkpointing, which a
run without acceleration would have had.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import transformers

from . import memory, together
from .gradients import Gradients
from .report import LINEAR, MLP, OTHER_PROCESS, Report, log

STEPS = 5  # optimizer steps whose losses and gradients are looked at
NAN = "NotANumber"
_TROUBLES = ("", NAN, "CompileFailed")  # numbered, so that processes can tell one another


@dataclass
class Plan:
    """What the trainer runs with, and what it may need."""

    report: Report
    approximate: bool = False
    unsuited: str = ""  # why nothing can be fused in this process, in a word
    gib: float = 0.0
    training: memory.Training | None = None  # None: its memory is not known
    chose_checkpointing: bool = False


class Told(NamedTuple):
    """What one process says to the others of its layers."""

    why: str  # in a word, why none can stay fused in it
    fused: int
    parts: tuple[str, ...]
    word: str  # why not all are


class Watch(transformers.TrainerCallback):  # type: ignore[misc]
    """One for each trainer."""

    def __init__(self, trainer: Any, plan: Plan) -> None:
        """Nothing is done before the training begins."""
        self._trainer = trainer
        self._plan = plan
        self._report = plan.report
        self._fused = False
        self._last_step = 0
        self._gradients = Gradients()
        self._loss_told = False  # of this batch, to the other processes
        self._repeating = False  # this batch, for which the memory was not enough
        self._exhausted = False  # whether it was not enough in this process
        self._replaced: dict[str, tuple[Any, Any]] = {}  # methods of the trainer: what stands there, and what did

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Adapters, liger and the checkpoint that is resumed are in place now. A smaller batch begins anew."""
        self._stop_watching()
        self._loss_told = self._repeating = self._exhausted = False
        with contextlib.suppress(Exception):
            _layers().unfuse(model)
        self._last_step = state.global_step + STEPS
        if self._counts_on_memory and not args.deepspeed:  # its gradients are not where they can be kept
            self._watch_memory()
        why = self._fuse(model)
        if why:
            self._leave_out(model, why)
        elif self._fused:
            self._watch_losses()
            if args.deepspeed and not args.fp16:
                self._gradients.watch(model)
        self._report.write()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """All processes have the same gradients here, but with DeepSpeed none; in float16 the scaler skips such a step.

        ms-swift takes them all away where their norm is no number (4.6 and 3.12, trainers/mixin.py).
        """
        if not self._fused or state.global_step >= self._last_step or args.deepspeed or args.fp16:
            return
        norms = [parameter.grad.norm() for parameter in model.parameters() if parameter.grad is not None]
        if not norms or not math.isfinite(float(torch.stack(norms).sum())):
            model.zero_grad(set_to_none=False)
            self._leave_out(model, NAN)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """A kernel that has failed was repaired for its step alone.

        Once enough was seen nothing is left in between but the number that several processes exchange here.
        """
        if self._fused:
            trouble = _layers().failure() or (NAN if self._gradients.wrong() else "")
            if why := _TROUBLES[together.most(_TROUBLES.index(trouble), args.device)]:
                self._leave_out(model, why)
        exhausted = "training_step" in self._replaced and together.most(self._exhausted, args.device)
        if exhausted and self._counts_on_memory:  # as it does still where the memory was enough
            self._checkpoint(model, "OutOfMemory")
        if state.global_step >= self._last_step:
            self._stop_watching()

    def _fuse(self, model: Any) -> str:
        """In all processes or in none; why in none, in a word."""
        fused, why = self._try(model)
        mine = Told(why, 0, (), "")
        if fused is not None:
            mine = Told(why, fused.fused, fused.parts, next(iter(fused.skipped.values()), ""))
        told = together.of_all(mine)
        why = why or next((each.why for each in told if each.why), "")
        if why or fused is None:
            return why
        if len({(each.fused, each.parts) for each in told}) > 1:
            log.warning("acceleration: processes have fused different layers: %s", told)
            return min(told, key=lambda each: each.fused).word or OTHER_PROCESS
        for part in fused.parts:
            self._report.use(part)
        for part, word in fused.skipped.items():
            self._report.skip(part, word)
        self._fused = fused.fused > 0
        if fused.fused < fused.total:
            self._save_memory(model)
        return ""

    def _try(self, model: Any) -> tuple[Any, str]:
        """What this process has fused; why that cannot stay."""
        if self._plan.unsuited:
            return None, self._plan.unsuited
        try:
            fused = _layers().fuse(model, approximate=self._plan.approximate)
            compare = importlib.import_module(".canary", __package__).compare
            why = compare(model) if fused.fused else None
        except Exception as error:
            log.warning("acceleration: layers could not be fused", exc_info=True)
            return None, _why(error)
        return fused, why or ""

    def _watch_losses(self) -> None:
        plain = self._trainer.compute_loss

        @functools.wraps(plain)
        def compute_loss(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            kept = copy.copy(inputs)  # the trainer's own takes things out
            found = plain(model, inputs, *args, **kwargs)
            if not self._fused or not model.training or (self._repeating and self._loss_told):
                return found
            loss = (found[0] if isinstance(found, tuple) else found).detach()
            wrong = together.most(not math.isfinite(float(loss)), loss.device)
            self._loss_told = True
            if not wrong:
                return found
            self._leave_out(self._trainer.model, NAN)
            return plain(model, kept, *args, **kwargs)

        self._replace("compute_loss", compute_loss)

    def _watch_memory(self) -> None:
        plain = self._trainer.training_step

        @functools.wraps(plain)
        def training_step(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            kept, gradients = copy.copy(inputs), _gradients(model)
            self._loss_told = self._repeating = False
            try:
                return plain(model, inputs, *args, **kwargs)
            except torch.cuda.OutOfMemoryError:
                if not self._counts_on_memory or not self._alone(model):
                    raise
            for parameter, gradient in gradients:  # some of the batch's may have been added
                parameter.grad = gradient
            self._checkpoint(self._trainer.model, "OutOfMemory")
            torch.cuda.empty_cache()
            self._repeating = self._exhausted = True
            if together.several():
                model.require_forward_param_sync = False  # DDP's: buffers have been exchanged for this batch
            return plain(model, kept, *args, **kwargs)

        self._replace("training_step", training_step)

    @property
    def _counts_on_memory(self) -> bool:
        """Whether activations are kept because it was decided here."""
        training = self._plan.training
        return training is not None and self._plan.chose_checkpointing and not training.checkpointing

    def _alone(self, model: Any) -> bool:
        """Whether no other process waits for the gradients of this batch."""
        accelerator = self._trainer.accelerator
        waits = accelerator.sync_gradients or getattr(model, "require_backward_grad_sync", True)  # DDP's
        return accelerator.num_processes == 1 or not waits

    def _leave_out(self, model: Any, why: str) -> None:
        """The layers are plain from now on."""
        with contextlib.suppress(Exception):  # as when it was the import that failed
            _layers().unfuse(model)
        self._fused = False
        for part in (LINEAR, MLP, "eightbit") if self._plan.approximate else (LINEAR, MLP):
            self._report.skip(part, why)
        self._save_memory(model)
        self._stop_watching_losses()
        self._report.write()

    def _save_memory(self, model: Any) -> None:
        """Recompute activations after all, where the choice not to counted on fused layers."""
        training = self._plan.training
        if training is None or not self._counts_on_memory:
            return
        self._plan.training = replace(training, fused=False, eightbit=False)
        self._report.estimated = memory.estimate(self._plan.training)
        if self._report.estimated > self._plan.gib:
            self._checkpoint(model, "TooLittleMemory")

    def _checkpoint(self, model: Any, why: str) -> None:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
        self._report.checkpointing = True
        if self._plan.training is not None:
            self._plan.training = replace(self._plan.training, checkpointing=True)
            self._report.estimated = memory.estimate(self._plan.training)
        self._report.skip("checkpointing", why)
        self._report.write()

    def _stop_watching_losses(self) -> None:
        self._put_back("compute_loss")
        self._gradients.stop()

    def _stop_watching(self) -> None:
        self._stop_watching_losses()
        self._put_back("training_step")

    def _replace(self, name: str, method: Any) -> None:
        self._replaced[name] = method, vars(self._trainer).get(name)
        setattr(self._trainer, name, method)

    def _put_back(self, name: str) -> None:
        """What stood in the trainer itself, as a plugin's; else its class has it."""
        method, before = self._replaced.pop(name, (None, None))
        if method is None or vars(self._trainer).get(name) is not method:
            return
        if before is None:
            delattr(self._trainer, name)
        else:
            setattr(self._trainer, name, before)


def _gradients(model: Any) -> list[tuple[Any, Any]]:
    """Those of all trained parameters, as they are now."""
    trained = (parameter for parameter in model.parameters() if parameter.requires_grad)
    return [(each, None if each.grad is None else each.grad.clone()) for each in trained]


def _layers() -> Any:
    return importlib.import_module(".layers", __package__)


def _why(error: Exception) -> str:
    return "OutOfMemory" if isinstance(error, torch.cuda.OutOfMemoryError) else type(error).__name__


def install(plan: Plan) -> None:
    """In every trainer."""
    begin = transformers.Trainer.__init__

    @functools.wraps(begin)
    def begun(self: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        self.add_callback(Watch(self, plan))

    transformers.Trainer.__init__ = begun
