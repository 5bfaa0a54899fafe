"""What is wrong with a run beyond the form of its fields, and what has no effect: against the flags of its ms-swift."""

from __future__ import annotations

from collections.abc import Iterator

from swiftop.api.v1alpha1.elsewhere import FIELD_OF_NAME
from swiftop.api.v1alpha1.sft_args import FIELD_OF_FLAG
from swiftop.api.v1alpha1.sftrun import SFTRunSpec
from swiftop.errors import Problem
from swiftop.swift import check, datasets
from swiftop.swift.argv import Flags, with_extra
from swiftop.swift.releases import DEFAULT, RELEASES, SUPPORTED, FlagTable, table

_EVALUATED = ("eval_dataset", "cached_val_dataset")
_SELF_COGNITION = ("swift/self-cognition", "modelscope/self-cognition")  # on ModelScope and on Hugging Face


def problems(spec: SFTRunSpec, *, known: FlagTable, typed: Flags) -> list[Problem]:
    """Everything that this version would refuse, each with what to do instead; ``typed`` is what the fields set."""
    return [
        *_tuner(spec, known),
        *check.rendered(typed, known, field_of=FIELD_OF_FLAG),
        *_attention(spec, known),
        *_modules(spec),
        *_together(spec, typed),
        *_files(spec),
        *check.extra_args(spec.extra_args, known, field_of=FIELD_OF_NAME),
        *check.registered(typed, spec.extra_args, known, field_of=FIELD_OF_FLAG),
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
    if any(arg.name in _EVALUATED for arg in spec.extra_args):
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


# The words that mean many modules at once are written with a dash; with an underscore they are a module's name.
_MANY_MODULES = {f"all_{which}": f"all-{which}" for which in ("linear", "embedding", "router")}


def _modules(spec: SFTRunSpec) -> Iterator[Problem]:
    for index, name in enumerate(spec.tuner.target_modules):
        if name in _MANY_MODULES:
            message = f"no model has a module {name!r}"
            suggestion = f"did you mean {_MANY_MODULES[name]}?"
            yield Problem(f"spec.tuner.targetModules[{index}]", message, suggestion=suggestion)


def _together(spec: SFTRunSpec, typed: Flags) -> Iterator[Problem]:
    """Flags of the user's own that do not go with others: ms-swift says so in the pod, with the GPUs taken."""
    given = with_extra(typed, spec.extra_args, merged=())
    places = {arg.name: f"spec.extraArgs[{index}]" for index, arg in enumerate(spec.extra_args)}
    for flag, other, message, suggestion in _APART:
        if flag in places and _on(given, flag) and _on(given, other):
            field = f"spec.{FIELD_OF_FLAG[other]}" if other in FIELD_OF_FLAG else f"--{other}"
            yield Problem(places[flag], f"--{flag} {message} {field}", suggestion=suggestion)
    if "fsdp" in places and _on(given, "fsdp") and spec.resources.processes < spec.resources.gpus:
        message = "FSDP drives one GPU per process"
        suggestion = "remove resources.processesPerNode, or set it to resources.gpus"
        yield Problem(places["fsdp"], message, suggestion=suggestion)


_APART = (
    ("fsdp", "deepspeed", "does what DeepSpeed does, and excludes", "remove one of them"),
    ("lazy_tokenize", "packing", "tokenizes while it trains, and packing has to know all lengths before: it excludes",
     "remove one of them"),
    ("lazy_tokenize", "streaming", "is what a stream does anyway, and excludes", "remove it"),
    ("cached_dataset", "streaming", "is read as a whole, and excludes", "remove training.streaming"),
    ("cached_val_dataset", "streaming", "is read as a whole, and excludes", "remove training.streaming"),
    ("warmup_steps", "warmup_ratio", "says the same in another way, and excludes", "remove one of them"),
)  # fmt: skip
"""Flag, what it excludes, why, and what to do."""


def _on(flags: Flags, name: str) -> bool:
    return any(word.lower() not in _OFF for word in flags.get(name, ()))


_OFF = ("", "false", "f", "no", "n", "0", "0.0")


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
    return datasets.problems(sources, hub=spec.model.hub or "modelscope", hub_field="model.hub", known=known)


def _report_to(spec: SFTRunSpec) -> Iterator[Problem]:
    """``none`` stands alone, or transformers looks for a tracker of that name."""
    tracked = spec.tracking.swanlab is not None or spec.tracking.tensorboard
    for index, arg in enumerate(spec.extra_args):
        if arg.name == "report_to" and "none" in arg.words and (len(arg.words) > 1 or tracked):
            message = "--report_to: none excludes all other trackers"
            yield Problem(f"spec.extraArgs[{index}]", message, suggestion="remove it, or the others")
