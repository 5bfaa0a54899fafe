"""What a run says in several places that does not go together: ms-swift says so in the pod, with the GPUs taken."""

from __future__ import annotations

from collections.abc import Iterator

from swiftop.api.v1alpha1.sft_args import FIELD_OF_FLAG
from swiftop.api.v1alpha1.sftrun import SFTRunSpec
from swiftop.errors import Problem
from swiftop.swift import paths
from swiftop.swift.argv import Flags, with_extra
from swiftop.swift.releases import FlagTable

EVALUATED = ("eval_dataset", "cached_val_dataset")
"""Flags that name something to evaluate on, besides ``spec.validation``."""

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
_OFF = ("", "false", "f", "no", "n", "0", "0.0")


def problems(spec: SFTRunSpec, known: FlagTable, typed: Flags) -> Iterator[Problem]:
    """All of it; ``typed`` is what the fields set."""
    given = with_extra(typed, spec.extra_args, merged=())
    places = {arg.name: f"spec.extraArgs[{index}]" for index, arg in enumerate(spec.extra_args)}
    for flag, other, message, suggestion in _APART:
        if flag in places and _on(given, flag) and _on(given, other):
            field = f"spec.{FIELD_OF_FLAG[other]}" if other in FIELD_OF_FLAG else f"--{other}"
            yield Problem(places[flag], f"--{flag} {message} {field}", suggestion=suggestion)
    if "fsdp" in places and _on(given, "fsdp"):
        yield from _fsdp(spec, known, given, places["fsdp"])
    yield from _best(spec, given, places)
    yield from _split(spec, given, places)
    yield from _adapters(spec)
    if spec.tuner.quantization is not None and spec.tuner.quantization.method == "eetq" and not spec.resources.gpus:
        suggestion = "set resources.gpus, or use method: bnb"
        yield Problem("spec.tuner.quantization.method", "eetq needs a GPU", suggestion=suggestion)
    yield from _file_names(spec)


def evaluates(spec: SFTRunSpec) -> bool:
    """Whether there is something to evaluate on. Rows are split off ``spec.datasets`` alone, not off tokenized data."""
    splits = spec.validation.split_ratio is not None and bool(spec.datasets)
    return splits or bool(spec.validation.datasets) or any(arg.name in EVALUATED for arg in spec.extra_args)


def _fsdp(spec: SFTRunSpec, known: FlagTable, given: Flags, place: str) -> Iterator[Problem]:
    if spec.resources.processes < spec.resources.gpus:
        message = "FSDP drives one GPU per process"
        yield Problem(place, message, suggestion="remove resources.processesPerNode, or set it to resources.gpus")
    value = " ".join(given["fsdp"])
    preset, described = value == "fsdp2", value.startswith("{") or value.endswith(".json")
    if not known.release.fsdp_presets and (preset or described):
        message = f"ms-swift {known.version} knows no {value!r}"
        yield Problem(place, message, suggestion="use full_shard auto_wrap, with extraArgs fsdp_config")
    elif known.release.fsdp_presets and not (preset or described):
        message = f"ms-swift {known.version} takes {value!r} for the path of a file"
        yield Problem(place, message, suggestion="use fsdp2, or the path of a .json file below /swiftop/files/")
    if known.release.fsdp_presets and preset and spec.checkpoints.save_only_model:
        message = "fsdp2 saves the model in shards, which excludes spec.checkpoints.saveOnlyModel"
        yield Problem(place, message, suggestion="remove saveOnlyModel")


def _best(spec: SFTRunSpec, given: Flags, places: dict[str, str]) -> Iterator[Problem]:
    """What is best only an evaluation tells, and how often there is one does not follow from saveStrategy: best."""
    when = spec.training.eval_strategy
    if spec.checkpoints.save_strategy == "best":
        field = "spec.checkpoints.saveStrategy"
        if not evaluates(spec):
            message = "no evaluation would tell what is best, and no checkpoint would be written"
            yield Problem(field, message, suggestion="set spec.validation, or use steps or epoch")
        elif when in (None, "no"):
            message = "nothing says when to evaluate"
            yield Problem(field, message, suggestion="set training.evalStrategy to steps or epoch")
    elif "load_best_model_at_end" in places and _on(given, "load_best_model_at_end"):
        place, saved = places["load_best_model_at_end"], spec.checkpoints.save_strategy or "steps"
        if not evaluates(spec):
            message = "no evaluation would tell what is best"
            yield Problem(place, f"--load_best_model_at_end: {message}", suggestion="set spec.validation, or remove it")
        elif when not in (None, saved):
            message = f"--load_best_model_at_end wants evaluations as often as checkpoints, which are by {saved}"
            yield Problem(place, message, suggestion=f"set training.evalStrategy to {saved}, or remove it")


def _split(spec: SFTRunSpec, given: Flags, places: dict[str, str]) -> Iterator[Problem]:
    """A chat cannot be cut in pieces; rows of plain text can."""
    if given.get("truncation_strategy") == ("split",) and spec.training.use_chat_template is not False:
        message = "--truncation_strategy: split is for rows of plain text"
        suggestion = "set training.useChatTemplate: false, or use left, right or delete"
        yield Problem(places["truncation_strategy"], message, suggestion=suggestion)


def _adapters(spec: SFTRunSpec) -> Iterator[Problem]:
    """ms-swift goes on with one adapter, and with none where all weights are trained."""
    adapters = spec.model.adapters
    if adapters and spec.tuner.type == "full":
        message = "type: full trains the weights of the model, and leaves the adapter out"
        suggestion = "merge it by a ModelExport first, or use tuner.type: lora"
        yield Problem("spec.model.adapters", message, suggestion=suggestion)
    elif len(adapters) > 1:
        suggestion = "keep one, and merge the others by a ModelExport first"
        yield Problem("spec.model.adapters", "the training goes on with one adapter", suggestion=suggestion)


_PLUGINS = ("external_plugins", "custom_register_path")
_TOKENIZED = ("cached_dataset", "cached_val_dataset")


def _file_names(spec: SFTRunSpec) -> Iterator[Problem]:
    """A name without its folder is looked for where the process starts, and there is none of these files."""
    known, below = {file.basename for file in spec.files}, paths.file_path("")
    for index, arg in enumerate(spec.extra_args):
        for word in arg.words:
            name = word.removeprefix("./")
            if name in known or (arg.name in _PLUGINS and not word.startswith("/") and word):
                to_add = "" if name in known else ", and add it to spec.files"
                base = name.rpartition("/")[2]
                message = f"{word!r} is no path in the pod"
                yield Problem(f"spec.extraArgs[{index}]", message, suggestion=f"write {below}{base}{to_add}")
            elif word.startswith(below) and word.removeprefix(below) not in known:
                yield Problem(f"spec.extraArgs[{index}]", f"{word!r} is not among files", "add it to spec.files")
            elif arg.name in _TOKENIZED and not word.startswith("/"):
                message = f"{word!r} is no path in the pod"
                suggestion = f"write {paths.CLAIM_DATASETS_DIR}/<claimName>/<folder>"
                yield Problem(f"spec.extraArgs[{index}]", message, suggestion=suggestion)


def _on(flags: Flags, name: str) -> bool:
    return any(word.lower() not in _OFF for word in flags.get(name, ()))
