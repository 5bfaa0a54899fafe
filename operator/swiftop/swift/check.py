"""What a version of ms-swift would refuse, found before a GPU is taken.

ms-swift itself takes ten seconds and more to say "remaining_argv", in a pod that may have waited for a day. What the
schema cannot know, because it depends on the version, is checked here against the version's own flag table.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator

from swiftop.api.v1alpha1.flags import EXTRA_ARG_RULES, FIELD_OF_FLAG
from swiftop.api.v1alpha1.sftrun import SFTRunSpec
from swiftop.api.v1alpha1.tracking import Tracking
from swiftop.api.v1alpha1.training import ExtraArg
from swiftop.errors import Invalid, Problem
from swiftop.reasons import Reason
from swiftop.swift.paths import RunIdentity
from swiftop.swift.releases import DEFAULT, SUPPORTED, Flag, FlagTable, table
from swiftop.swift.typed import typed_flags

_NOBODY = RunIdentity(name="run", uid="00000000")  # no check depends on who the run is
_SELF_COGNITION = ("swift/self-cognition", "modelscope/self-cognition")  # on ModelScope and on Hugging Face
_WORDS_FOR_BOOL = ("yes", "true", "t", "y", "1", "no", "false", "f", "n", "0")  # transformers.hf_argparser


def problems(spec: SFTRunSpec, version: str) -> list[Problem]:
    """Everything that this version would refuse, each with what to do instead."""
    try:
        known = table(version)
    except Invalid as error:
        return list(error.problems)
    return [*_typed(spec, known), *_attention(spec, known), *_files(spec), *_extra_args(spec, known)]


def warnings(spec: SFTRunSpec) -> list[Problem]:
    """What is allowed but has no effect, or not the expected one."""
    return [*_evaluation(spec), *_self_cognition(spec), *_transformers(spec)]


def _evaluation(spec: SFTRunSpec) -> Iterator[Problem]:
    training = spec.training
    if spec.validation.enabled:
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


def _transformers(spec: SFTRunSpec) -> Iterator[Problem]:
    """Flags of transformers that not every one of its releases has; which one it is, only the image knows."""
    version = spec.runtime.swift_version or DEFAULT
    flags = table(version).flags if version in SUPPORTED else {}
    for index, arg in enumerate(spec.extra_args):
        only = flags[arg.name].transformers if arg.name in flags else ()
        if only:
            message = f"ms-swift {version} knows --{arg.name} with transformers {' and '.join(only)} only"
            yield Problem(f"spec.extraArgs[{index}].name", message, suggestion="see which one the image has")


def _typed(spec: SFTRunSpec, known: FlagTable) -> Iterator[Problem]:
    """Values of typed fields that this version does not know: a new tuner, a new quantization, a new task."""
    if spec.tuner.type not in known.tuners:
        yield Problem(
            "spec.tuner.type",
            f"ms-swift {known.version} has no tuner {spec.tuner.type!r}",
            suggestion=_nearest(spec.tuner.type, known.tuners) or f"use one of {', '.join(known.tuners)}",
        )
    for name, values in typed_flags(spec, _NOBODY, known).items():
        flag, field = known.flags.get(name), f"spec.{FIELD_OF_FLAG.get(name, '')}".rstrip(".")
        if flag is None:
            yield Problem(field, f"ms-swift {known.version} has no flag --{name}", reason=Reason.UNKNOWN_FLAG)
            continue
        for value in values:
            if flag.choices and value not in flag.choices:
                message = f"ms-swift {known.version} does not take {value!r} for --{name}"
                yield Problem(field, message, suggestion=f"use one of {', '.join(flag.choices)}")


def _attention(spec: SFTRunSpec, known: FlagTable) -> Iterator[Problem]:
    attention = spec.training.attention
    if attention is not None and attention.startswith("flash") and attention not in known.packing_attention:
        yield Problem(
            "spec.training.attention",
            f"ms-swift {known.version} does not know {attention}",
            suggestion=f"use one of {', '.join(known.packing_attention)}",
        )


def _files(spec: SFTRunSpec) -> Iterator[Problem]:
    """ms-swift takes a system prompt that ends in .txt for a path, whatever is meant."""
    system = spec.training.system
    if system is not None and system.endswith(".txt") and system not in {source.basename for source in spec.files}:
        suggestion = "add the file to spec.files, or end the prompt in another way"
        yield Problem("spec.training.system", f"{system[-60:]!r} is not among files", suggestion=suggestion)


def _extra_args(spec: SFTRunSpec, known: FlagTable) -> Iterator[Problem]:
    plugins = any(arg.name in ("external_plugins", "custom_register_path") for arg in spec.extra_args)
    for index, arg in enumerate(spec.extra_args):
        path = f"spec.extraArgs[{index}]"
        broken = [rule for rule in EXTRA_ARG_RULES if not rule.holds(arg)]
        if broken:
            yield from (Problem(f"{path}.name", rule.text(arg)) for rule in broken)
        elif arg.name not in known.flags:
            yield Problem(
                f"{path}.name",
                f"ms-swift {known.version} has no flag --{arg.name}",
                suggestion=_instead_of(arg.name, known),
                reason=Reason.UNKNOWN_FLAG,
            )
        else:
            yield from _value(path, arg, known.flags[arg.name])
            if arg.name == "callbacks" and not plugins:
                yield from _callbacks(path, arg, known)
            if arg.name == "report_to":
                yield from _report_to(path, arg, spec.tracking)


def _instead_of(name: str, known: FlagTable) -> str:
    if name in known.base_of_alias:
        return f'write name: {known.base_of_alias[name]} with value: "false"'
    near = _nearest(name, tuple(known.flags))
    others = [version for version in SUPPORTED if version != known.version and name in table(version).flags]
    elsewhere = f"ms-swift {' and '.join(others)} has it" if others else ""
    return "; ".join(part for part in (near, elsewhere) if part)


def _nearest(word: str, words: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else ""


def _value(path: str, arg: ExtraArg, flag: Flag) -> Iterator[Problem]:
    """Form and type of a value; ms-swift would end with exit code 2 and a usage text."""
    if arg.json_text is not None:
        if flag.type != "str" or not _parses(json.loads, arg.json_text):
            yield Problem(f"{path}.json", f"--{flag.name} takes no JSON" if flag.type != "str" else "is no JSON")
        return
    if arg.values is not None and not flag.is_list:
        yield Problem(f"{path}.values", f"--{flag.name} takes one value", suggestion="use value")
        return
    member = "value" if arg.values is None else "values"
    for value in arg.values if arg.values is not None else (arg.value or "",):
        problem = _wrong(value, flag) or (
            "a value in a list cannot start with a dash" if arg.values and value.startswith("-") else ""
        )
        if problem:
            yield Problem(f"{path}.{member}", f"--{flag.name}: {problem}")


_PARSERS: dict[str, tuple[Callable[[str], object], str]] = {
    "int": (int, "a whole number"),
    "float": (float, "a number"),
}


def _wrong(value: str, flag: Flag) -> str:
    if flag.choices:
        return "" if value in flag.choices else f"{value!r} is not one of {', '.join(flag.choices)}"
    if flag.type == "bool":
        return "" if value.lower() in _WORDS_FOR_BOOL else f"{value!r} is neither true nor false"
    parser, words = _PARSERS.get(flag.type, (str, ""))
    return "" if _parses(parser, value) else f"{value!r} is not {words}"


def _parses(parser: Callable[[str], object], value: str) -> bool:
    try:
        parser(value)
    except ValueError:
        return False
    return True


def _report_to(path: str, arg: ExtraArg, tracking: Tracking) -> Iterator[Problem]:
    """``none`` stands alone, or transformers looks for a tracker of that name."""
    names = arg.values or (arg.value or "",)
    if "none" in names and (len(names) > 1 or tracking.swanlab is not None or tracking.tensorboard):
        yield Problem(path, "--report_to: none excludes all other trackers", suggestion="remove it, or the others")


def _callbacks(path: str, arg: ExtraArg, known: FlagTable) -> Iterator[Problem]:
    """Names that neither the release nor a plugin registers."""
    for name in arg.values or (arg.value or "",):
        if name not in known.callbacks:
            suggestion = _nearest(name, known.callbacks) or "register it by external_plugins"
            yield Problem(f"{path}.value", f"ms-swift {known.version} has no callback {name!r}", suggestion=suggestion)
