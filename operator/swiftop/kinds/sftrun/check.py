"""What is wrong with a run beyond the form of its fields, and what has no effect: against the flags of its ms-swift."""

from __future__ import annotations

import re
from collections.abc import Iterator

from swiftop.api.v1alpha1.elsewhere import FIELD_OF_NAME
from swiftop.api.v1alpha1.sft_args import FIELD_OF_FLAG
from swiftop.api.v1alpha1.sftrun import SFTRunSpec
from swiftop.errors import Problem
from swiftop.kinds.sftrun import acceleration, memory, together
from swiftop.swift import check, datasets
from swiftop.swift.argv import Flags
from swiftop.swift.releases import DEFAULT, RELEASES, SUPPORTED, FlagTable, table

_SELF_COGNITION = ("swift/self-cognition", "modelscope/self-cognition")  # on ModelScope and on Hugging Face


def problems(spec: SFTRunSpec, *, known: FlagTable, typed: Flags) -> list[Problem]:
    """Everything that this version would refuse, each with what to do instead; ``typed`` is what the fields set."""
    return [
        *_tuner(spec, known),
        *check.rendered(typed, known, field_of=FIELD_OF_FLAG),
        *_attention(spec, known),
        *_modules(spec),
        *together.problems(spec, known, typed),
        *_files(spec),
        *check.extra_args(spec.extra_args, known, field_of=FIELD_OF_NAME),
        *check.registered(typed, spec.extra_args, known, field_of=FIELD_OF_FLAG),
        *_report_to(spec),
        *_adapters(spec, known),
        *_owners(spec),
        *_datasets(spec, known),
    ]


def warnings(spec: SFTRunSpec) -> list[Problem]:
    """What is allowed but has no effect, or not the expected one."""
    version = spec.runtime.swift_version or DEFAULT
    some = check.some_transformers(spec.extra_args, table(version)) if version in SUPPORTED else ()
    return [
        *_evaluation(spec),
        *_self_cognition(spec),
        *_of_adapters(spec),
        *_saving(spec),
        *_acceleration(spec),
        *memory.warnings(spec),
        *some,
    ]


def _saving(spec: SFTRunSpec) -> Iterator[Problem]:
    when, path = spec.checkpoints.save_strategy, "spec.checkpoints.saveStrategy"
    if when == "no":
        yield Problem(path, "no checkpoint is written, and the training leaves nothing", suggestion="remove it")
        if together.evaluates(spec) and spec.training.eval_strategy is None:
            message = "evaluation follows it, so none takes place"
            yield Problem(path, message, suggestion="set training.evalStrategy to steps or epoch")
    elif when not in (None, "steps") and spec.checkpoints.save_steps is not None:
        message = f"checkpoints are written by saveStrategy: {when}, so it has no effect"
        yield Problem("spec.checkpoints.saveSteps", message, suggestion="remove it, or saveStrategy")
    evaluated = spec.training.eval_strategy or when
    if evaluated == "epoch" and spec.training.eval_steps is not None and together.evaluates(spec):
        message = "evaluation takes place after each epoch, so it has no effect"
        yield Problem("spec.training.evalSteps", message, suggestion="remove it, or set evalStrategy: steps")


def _acceleration(spec: SFTRunSpec) -> Iterator[Problem]:
    if spec.training.acceleration in (None, "Off") or acceleration.mode(spec) != "Off":
        return
    if not spec.resources.gpus:
        message = "nothing is accelerated without GPUs, so it has no effect"
    elif not spec.accelerable:
        message = "only tuner.type: lora is accelerated, so it has no effect"
    else:
        message = f"ms-swift {spec.runtime.swift_version} is not accelerated, so it has no effect"
    yield Problem("spec.training.acceleration", message, suggestion="remove it")


def _of_adapters(spec: SFTRunSpec) -> Iterator[Problem]:
    """Fields that only an adapter has, where all weights are trained."""
    tuner = spec.tuner
    lora = {"rank": tuner.rank, "alpha": tuner.alpha, "dropout": tuner.dropout, "targetModules": tuner.target_modules}
    given = [name for name, value in lora.items() if value not in (None, ())]
    if tuner.type == "full" and given:
        message = (
            f"type: full trains all weights, so {', '.join(given)} {'has' if len(given) == 1 else 'have'} no effect"
        )
        yield Problem("spec.tuner", message, suggestion="use type: lora, or remove what adapters have")


def _evaluation(spec: SFTRunSpec) -> Iterator[Problem]:
    training = spec.training
    if spec.validation.split_ratio is not None and not together.evaluates(spec):
        message = "rows are split off spec.datasets, not off tokenized data: no evaluation takes place"
        yield Problem("spec.validation.splitRatio", message, suggestion="use extraArgs cached_val_dataset")
        return
    if spec.validation.enabled:
        if training.eval_strategy == "no":
            message = "no evaluation takes place, though spec.validation says on what"
            yield Problem("spec.training.evalStrategy", message, suggestion="remove it, or spec.validation")
        return
    if any(arg.name in together.EVALUATED for arg in spec.extra_args):
        return
    for name, value in (("evalSteps", training.eval_steps), ("evalStrategy", training.eval_strategy)):
        if value not in (None, "no"):
            message = "there is nothing to evaluate on, so no evaluation takes place"
            yield Problem(f"spec.training.{name}", message, suggestion="set spec.validation")


def _self_cognition(spec: SFTRunSpec) -> Iterator[Problem]:
    """Name and author fill the placeholders of this one dataset; without them the model learns the placeholders."""
    there = any(source.id in _SELF_COGNITION for source in spec.datasets)
    if there and spec.training.self_cognition is None:
        message = "name and author stand in it as {{NAME}} and {{AUTHOR}}, and the model would learn them so"
        yield Problem("spec.datasets", message, suggestion="set training.selfCognition")
    if spec.training.self_cognition is not None and not there:
        message = f"only the dataset {_SELF_COGNITION[0]} makes use of it"
        yield Problem("spec.training.selfCognition", message, suggestion="add it to spec.datasets")


_RELATIVES = {
    "qlora": "use type: lora with quantization: {method: bnb, bits: 4}",
    "dora": 'use type: lora with extraArgs: [{name: use_dora, value: "true"}]',
    "rslora": 'use type: lora with extraArgs: [{name: use_rslora, value: "true"}]',
    "pissa": "use type: lora with extraArgs: [{name: init_weights, value: pissa}]",
    "freeze": "use type: full with extraArgs freeze_parameters or trainable_parameters",
}
"""Methods that ms-swift has under the name of another one."""


def _tuner(spec: SFTRunSpec, known: FlagTable) -> Iterator[Problem]:
    wanted = spec.tuner.type
    if wanted not in known.tuners:
        meant = _RELATIVES.get(wanted.lower()) or check.nearest(wanted, known.tuners)
        message = f"ms-swift {known.version} has no tuner {wanted!r}"
        yield Problem("spec.tuner.type", message, suggestion=meant or f"use one of {', '.join(known.tuners)}")


# The words that mean many modules at once are written with a dash; with an underscore they are a module's name.
_MANY_MODULES = {f"all_{which}": f"all-{which}" for which in ("linear", "embedding", "router")}
_ALL_LINEAR = ("all", "auto", "default")  # elsewhere, and in ms-swift before 3.0


def _modules(spec: SFTRunSpec) -> Iterator[Problem]:
    for index, name in enumerate(spec.tuner.target_modules):
        lower = name.lower()
        meant = "all-linear" if lower in _ALL_LINEAR else _MANY_MODULES.get(lower.replace("-", "_"), "")
        if meant not in ("", name):
            suggestion = f"did you mean {meant}?"
        elif "," in name:
            suggestion = f"write [{', '.join(filter(None, name.split(',')))}]"
        elif _PATTERN.search(name):
            suggestion = "use extraArgs target_regex for a pattern"
        else:
            continue
        yield Problem(f"spec.tuner.targetModules[{index}]", f"no model has a module {name!r}", suggestion=suggestion)


_PATTERN = re.compile(r"[\^$*+?|()\[\]\\]")


def _attention(spec: SFTRunSpec, known: FlagTable) -> Iterator[Problem]:
    attention = spec.training.attention
    if attention is not None and attention.startswith("flash") and attention not in known.release.packing_attention:
        yield Problem(
            "spec.training.attention",
            f"ms-swift {known.version} does not know {attention}",
            suggestion=f"use one of {', '.join(known.release.packing_attention)}",
        )


def _files(spec: SFTRunSpec) -> Iterator[Problem]:
    """ms-swift takes a system prompt that ends in .txt for a path, whatever is meant."""
    system = spec.training.system
    if system is not None and system.endswith(".txt") and system not in {source.basename for source in spec.files}:
        suggestion = "add the file to spec.files, or end the prompt in another way"
        yield Problem("spec.training.system", f"{system[-60:]!r} is not among files", suggestion=suggestion)


def _adapters(spec: SFTRunSpec, known: FlagTable) -> Iterator[Problem]:
    """A release that takes --adapters for inference only would train a fresh adapter without a word of it."""
    if spec.model.adapters and not known.release.trains_adapters:
        able = ", ".join(version for version, release in RELEASES.items() if release.trains_adapters)
        message = f"ms-swift {known.version} does not go on training an adapter"
        yield Problem("spec.model.adapters", message, suggestion=f"set runtime.swiftVersion to one of {able}")


def _datasets(spec: SFTRunSpec, known: FlagTable) -> Iterator[Problem]:
    sources = [
        *datasets.placed("spec.datasets", spec.datasets),
        *datasets.placed("spec.validation.datasets", spec.validation.datasets),
    ]
    yield from datasets.problems(sources, hub=spec.model.hub or "modelscope", hub_field="model.hub", known=known)
    for path, several in (("spec.datasets", spec.datasets), ("spec.validation.datasets", spec.validation.datasets)):
        for index, source in enumerate(several):
            claim = source.persistent_volume_claim
            if claim is not None and "*" in claim.path:
                here = f"{path}[{index}].persistentVolumeClaim.path"
                message = "ms-swift takes * for a letter of the file's name"
                yield Problem(here, message, suggestion="name a folder of such files, or each file as a dataset")


def _owners(spec: SFTRunSpec) -> Iterator[Problem]:
    ids = {"spec.model.id": spec.model.id}
    ids |= {f"spec.model.adapters[{index}].id": adapter.id for index, adapter in enumerate(spec.model.adapters)}
    return check.owned(ids, spec.model.hub, hub_field="model.hub")


def _report_to(spec: SFTRunSpec) -> Iterator[Problem]:
    """``none`` stands alone, or transformers looks for a tracker of that name."""
    tracked = spec.tracking.swanlab is not None or spec.tracking.tensorboard
    for index, arg in enumerate(spec.extra_args):
        if arg.name == "report_to" and "none" in arg.words and (len(arg.words) > 1 or tracked):
            message = "--report_to: none excludes all other trackers"
            yield Problem(f"spec.extraArgs[{index}]", message, suggestion="remove it, or the others")
