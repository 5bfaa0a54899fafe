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
from typing import Any

import torch
import transformers

from . import memory, together
from .report import LINEAR, MLP, Report, log

STEPS = 5  # optimizer steps whose losses and gradients are looked at
NAN = "NotANumber"


@dataclass
class Plan:
    """What the trainer runs with, and what it may need."""

    report: Report
    approximate: bool = False
    gib: float = 0.0
    training: memory.Training | None = None  # None: its memory is not known
    chose_checkpointing: bool = False


class Watch(transformers.TrainerCallback):  # type: ignore[misc]
    """One for each trainer."""

    def __init__(self, trainer: Any, plan: Plan) -> None:
        """Nothing is done before the training begins."""
        self._trainer = trainer
        self._plan = plan
        self._report = plan.report
        self._fused = False
        self._last_step = 0
        self._told = self._repeating = False  # the loss of this batch to other processes; the batch

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Adapters, liger and the checkpoint that is resumed are in place now."""
        self._last_step = state.global_step + STEPS
        if self._counts_on_memory and not args.deepspeed:  # its gradients are not where they can be kept
            self._watch_memory()
        why = self._fuse(model)
        if why:
            self._leave_out(model, why)
        elif self._fused:
            self._watch_losses()
        self._report.write()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """All processes have the same gradients here. In float16 the scaler leaves such a step out itself."""
        if not self._fused or state.global_step >= self._last_step or args.fp16:
            return
        norms = [parameter.grad.norm() for parameter in model.parameters() if parameter.grad is not None]
        if norms and not math.isfinite(float(torch.stack(norms).sum())):
            model.zero_grad(set_to_none=False)
            self._leave_out(model, NAN)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Once enough was seen nothing stands in between.

        A kernel that has failed was repaired, for its step alone where one process can go on without the others.
        """
        if self._fused and not together.several() and (why := _layers().unfuse_after_failure(model)):
            self._leave_out(model, why)
        elif self._fused and args.deepspeed and not args.fp16 and self._trainer.accelerator.optimizer_step_was_skipped:
            self._leave_out(model, NAN)  # DeepSpeed itself has not learned from a gradient that is none
        if state.global_step >= self._last_step:
            self._stop_watching()
            vars(self._trainer).pop("training_step", None)

    def _fuse(self, model: Any) -> str:
        """In all processes or in none; why in none, in a word."""
        fused, why = self._try(model)
        others = together.of_all((why, fused and (fused.fused, fused.parts)))
        why = why or next((each for each, _ in others if each), "")
        if fused is None or why:
            return why
        if any(found != others[0] for found in others):
            return "CheckFailed"
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
        try:
            fused = _layers().fuse(model, approximate=self._plan.approximate)
            compare = importlib.import_module(".canary", __package__).compare
            return fused, (fused.fused and compare(model)) or ""
        except Exception as error:
            log.warning("acceleration: layers could not be fused", exc_info=True)
            return None, _why(error)

    def _watch_losses(self) -> None:
        plain = self._trainer.compute_loss

        @functools.wraps(plain)
        def compute_loss(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            kept = copy.copy(inputs)  # the trainer's own takes things out
            found = plain(model, inputs, *args, **kwargs)
            if not self._fused or not model.training or (self._repeating and self._told):
                return found
            loss = (found[0] if isinstance(found, tuple) else found).detach()
            wrong = together.any_of(not math.isfinite(float(loss)), loss.device)
            self._told = True
            if not wrong:
                return found
            self._leave_out(self._trainer.model, NAN)
            return plain(model, kept, *args, **kwargs)

        self._trainer.compute_loss = compute_loss

    def _watch_memory(self) -> None:
        plain = self._trainer.training_step

        @functools.wraps(plain)
        def training_step(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            kept, gradients = copy.copy(inputs), _gradients(model)
            self._told = self._repeating = False
            try:
                return plain(model, inputs, *args, **kwargs)
            except torch.cuda.OutOfMemoryError:
                if not self._counts_on_memory or not self._alone:
                    raise
            for parameter, gradient in gradients:  # some of the batch's may have been added
                parameter.grad = gradient
            self._checkpoint(self._trainer.model, "OutOfMemory")
            torch.cuda.empty_cache()
            self._repeating = True
            if together.several():
                model.require_forward_param_sync = False  # DDP's: buffers have been exchanged for this batch
            return plain(model, kept, *args, **kwargs)

        self._trainer.training_step = training_step

    @property
    def _counts_on_memory(self) -> bool:
        """Whether activations are kept because it was decided here."""
        training = self._plan.training
        return training is not None and self._plan.chose_checkpointing and not training.checkpointing

    @property
    def _alone(self) -> bool:
        """Whether no other process waits for the gradients of this batch."""
        accelerator = self._trainer.accelerator
        return accelerator.num_processes == 1 or not accelerator.sync_gradients

    def _leave_out(self, model: Any, why: str) -> None:
        """The layers are plain from now on."""
        with contextlib.suppress(Exception):  # as when it was the import that failed
            _layers().unfuse(model)
        self._fused = False
        for part in (LINEAR, MLP, "eightbit") if self._plan.approximate else (LINEAR, MLP):
            self._report.skip(part, why)
        self._save_memory(model)
        self._stop_watching()
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

    def _stop_watching(self) -> None:
        vars(self._trainer).pop("compute_loss", None)


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
