"""What is wrong with a run beyond the form of its fields, and what has no effect: against the flags of its ms-swift."""

from __future__ import annotations

from collections.abc import Iterator

from swiftop.api.v1alpha1.sft_args import FIELD_OF_FLAG
from swiftop.api.v1alpha1.sftrun import SFTRunSpec
from swiftop.errors import Problem
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
        *_files(spec),
        *check.extra_args(spec.extra_args, known),
        *_callbacks(spec, known),
        *_report_to(spec),
        *_adapters(spec, known),
        *_datasets(spec, known),
    ]


def warnings(spec: SFTRunSpec) -> list[Problem]:
    """What is allowed but has no effect, or not the expected one."""
    version = spec.runtime.swift_version or DEFAULT
    some = check.some_transformers(spec.extra_args, table(version)) if version in SUPPORTED else ()
    return [*_evaluation(spec), *_self_cognition(spec), *some]


def _evaluation(spec: SFTRunSpec) -> Iterator[Problem]:
    training = spec.training
    if spec.validation.enabled:
        if training.eval_strategy == "no":
            message = "no evaluation takes place, though spec.validation says on what"
            yield Problem("spec.training.evalStrategy", message, suggestion="remove it, or spec.validation")
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


def _tuner(spec: SFTRunSpec, known: FlagTable) -> Iterator[Problem]:
    if spec.tuner.type not in known.tuners:
        yield Problem(
            "spec.tuner.type",
            f"ms-swift {known.version} has no tuner {spec.tuner.type!r}",
            suggestion=check.nearest(spec.tuner.type, known.tuners) or f"use one of {', '.join(known.tuners)}",
        )


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


def _callbacks(spec: SFTRunSpec, known: FlagTable) -> Iterator[Problem]:
    """Names that neither the release nor a plugin registers."""
    plugins = any(arg.name in ("external_plugins", "custom_register_path") for arg in spec.extra_args)
    for index, arg in enumerate(spec.extra_args):
        if arg.name != "callbacks" or "callbacks" not in known.flags or plugins:
            continue
        for name in arg.words:
            if name not in known.callbacks:
                suggestion = check.nearest(name, known.callbacks) or "register it by external_plugins"
                message = f"ms-swift {known.version} has no callback {name!r}"
                yield Problem(f"spec.extraArgs[{index}].value", message, suggestion=suggestion)


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
    return datasets.problems(sources, hub=spec.model.hub or "modelscope", hub_field="model.hub", known=known)


def _report_to(spec: SFTRunSpec) -> Iterator[Problem]:
    """``none`` stands alone, or transformers looks for a tracker of that name."""
    tracked = spec.tracking.swanlab is not None or spec.tracking.tensorboard
    for index, arg in enumerate(spec.extra_args):
        if arg.name == "report_to" and "none" in arg.words and (len(arg.words) > 1 or tracked):
            message = "--report_to: none excludes all other trackers"
            yield Problem(f"spec.extraArgs[{index}]", message, suggestion="remove it, or the others")
