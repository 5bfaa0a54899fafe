"""A set of flags against the flag table of a release: what this ms-swift would refuse, found before a GPU is taken.

ms-swift itself takes ten seconds and more to say "remaining_argv", in a pod that may have waited for a day. What the
schema cannot know, because it depends on the version, is checked here against the version's own flag table.
"""

from __future__ import annotations

import difflib
import heapq
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

from swiftop.api.fields import snake
from swiftop.api.v1alpha1.flags import ExtraArg
from swiftop.errors import Problem
from swiftop.reasons import Reason
from swiftop.swift.releases import FlagInfo, FlagTable, having

_LIKELY = 32  # words with the most pairs of letters in common, which alone are compared at length
_SOUGHT = 3  # unknown flags of one spec, or words of one flag, whose likeness is sought: each takes a millisecond
_AT_A_GLANCE = 12  # names that a suggestion lists
_FEW = 3
_WORDS_FOR_BOOL = ("yes", "true", "t", "y", "1", "no", "false", "f", "n", "0")  # transformers.hf_argparser


def rendered(
    flags: Mapping[str, tuple[str, ...]], known: FlagTable, *, field_of: Mapping[str, str]
) -> Iterator[Problem]:
    """Flags of typed fields, or values of them, that the version does not know; ``field_of`` says whom to blame."""
    for name, values in flags.items():
        flag, field = known.flags.get(name), f"spec.{field_of.get(name, '')}".rstrip(".")
        if flag is None:
            yield Problem(field, f"ms-swift {known.version} has no flag --{name}", reason=Reason.UNKNOWN_FLAG)
            continue
        for value in values:
            if flag.choices and value not in flag.choices:
                message = f"ms-swift {known.version} does not take {value!r} for --{name}"
                yield Problem(field, message, suggestion=f"use one of {', '.join(flag.choices)}")


def owned(ids: Mapping[str, str | None], hub: str | None, *, hub_field: str) -> Iterator[Problem]:
    """Ids of models and adapters, by their fields: Hugging Face knows a few without an owner, ModelScope none."""
    for path, name in ids.items() if hub != "huggingface" else ():
        if name is not None and "/" not in name:
            suggestion = f"write owner/name, as in Qwen/Qwen2.5-7B-Instruct; for Hugging Face set {hub_field}"
            yield Problem(path, f"{name!r} has no owner, and on ModelScope every model has one", suggestion)


_PLUGINS = ("external_plugins", "custom_register_path")  # flags that run Python files of the user's
_NOUNS = {
    "agent_template": "agent template",
    "callbacks": "callback",
    "eval_metric": "metric",
    "loss_scale": "loss scale",
    "loss_type": "loss",
    "lr_scheduler_type": "scheduler",
    "metric": "metric",
    "model_type": "model type",
    "optimizer": "optimizer",
    "template": "template",
}


def registered(
    flags: Mapping[str, tuple[str, ...]],
    args: Sequence[ExtraArg],
    known: FlagTable,
    *,
    field_of: Mapping[str, str],
    path: str = "spec.extraArgs",
) -> Iterator[Problem]:
    """Names that the release has registered nothing under, in flags of fields and in the user's own.

    Its parser takes any word; most of them are looked up when the model is loaded and the data tokenized. A plugin may
    register others: with one, nothing is known.
    """
    if any(arg.name in _PLUGINS for arg in args):
        return
    for name, words in flags.items():
        yield from _registered(f"spec.{field_of.get(name, '')}".rstrip("."), name, words, known)
    for index, arg in enumerate(args):
        yield from _registered(f"{path}[{index}].{_member(arg)}", arg.name, arg.words, known)


def _registered(path: str, flag: str, words: Sequence[str], known: FlagTable) -> Iterator[Problem]:
    names = known.registries.get(flag)
    if names is None or flag not in known.flags:
        return
    read = [_parts_of_loss_scale(word, known) if flag == "loss_scale" else [(word, names)] for word in words]
    unknown = [(part, allowed) for parts in read for part, allowed in parts if part not in allowed]
    for number, (part, allowed) in enumerate(unknown):
        message = f"ms-swift {known.version} has no {_NOUNS[flag]} {part!r}"
        meant = _meant(part, allowed) if number < _SOUGHT else ""
        yield Problem(path, message, suggestion=meant or _one_of(allowed))


def _meant(word: str, names: tuple[str, ...]) -> str:
    """The name that was probably meant: of a later member of a family the family, qwen2 for qwen2_5, not qwen3_5."""
    family = max((name for name in names if len(name) > _FEW and word.startswith(name)), key=len, default="")
    return nearest(word, names, 0.88) or (f"did you mean {family}?" if family else "") or nearest(word, names)


def _one_of(names: tuple[str, ...]) -> str:
    few = f"use one of {', '.join(names)}, or " if len(names) <= _AT_A_GLANCE else ""
    return f"{few}register it by external_plugins"


def _parts_of_loss_scale(word: str, known: FlagTable) -> list[tuple[str, tuple[str, ...]]]:
    """Strategy and scales of ``last_round+hermes``, each with what may stand there."""
    names, strategies = known.registries["loss_scale"], known.strategies
    first, *rest = word.split("+") if strategies else [word]
    if not rest or known.release.chains_loss_scales:
        return [(first, (*strategies, *names)), *((part, names) for part in rest)]
    return [(first, strategies), ("+".join(rest), names)]


def extra_args(
    args: Sequence[ExtraArg],
    known: FlagTable,
    path: str = "spec.extraArgs",
    *,
    field_of: Mapping[str, str] | None = None,
    prefixes: Sequence[str] = (),
) -> Iterator[Problem]:
    """Flags of the user's own that the version does not know, and values that are not of the flag's type.

    ``field_of`` has the fields that stand for a flag, ``prefixes`` what may be missing before a name: that of the
    engine first, the others can only tell the field.
    """
    unknown = 0
    for index, arg in enumerate(args):
        here = f"{path}[{index}]"
        if broken := [rule for rule in arg.RULES if not rule.holds(arg)]:
            yield from (Problem(f"{here}.{rule.field}" if rule.field else here, rule.text(arg)) for rule in broken)
        elif (flag := known.flags.get(arg.name)) is not None:
            yield from _value(here, arg, flag)
        else:
            unknown += 1
            suggestion = _field_of(arg.name, field_of or {}, prefixes)
            if not suggestion and unknown <= _SOUGHT:
                suggestion = _instead_of(arg.name, known, prefixes)
            message = f"ms-swift {known.version} has no flag --{arg.name}"
            yield Problem(f"{here}.name", message, suggestion=suggestion, reason=Reason.UNKNOWN_FLAG)


def some_transformers(args: Sequence[ExtraArg], known: FlagTable, path: str = "spec.extraArgs") -> Iterator[Problem]:
    """Flags that not every release of transformers has; which one it is, only the image knows."""
    for index, arg in enumerate(args):
        flag = known.flags.get(arg.name)
        if flag is not None and flag.transformers:
            only = " and ".join(flag.transformers)
            message = f"ms-swift {known.version} knows --{arg.name} with transformers {only} only"
            yield Problem(f"{path}[{index}].name", message, suggestion="see which one the image has")


def nearest(word: str, words: tuple[str, ...], cutoff: float = 0.6) -> str:
    """The word that was probably meant, as a suggestion; empty when none is near."""
    same = [known for known in words if _bare(known) == _bare(word)]
    pairs = frozenset(pairwise(word))
    likely = heapq.nlargest(_LIKELY, words, key=lambda known: len(pairs & _pairs(known)))
    close = same or difflib.get_close_matches(word, likely, n=1, cutoff=cutoff)
    return f"did you mean {close[0]}?" if close else ""


def _bare(word: str) -> str:
    """``infoNCE`` and ``qwen25`` are written as ``infonce`` and ``qwen2_5``."""
    return re.sub(r"[-_.]", "", word).lower()


@lru_cache(4096)
def _pairs(known: str) -> frozenset[tuple[str, str]]:
    return frozenset(pairwise(known))


def _field_of(name: str, field_of: Mapping[str, str], prefixes: Sequence[str]) -> str:
    """The field that sets what a flag of this name would set, as engines and other releases call it."""
    spelled = snake(name)
    found = next((field_of[full] for prefix in ("", *prefixes) if (full := prefix + spelled) in field_of), "")
    return f"use spec.{found}" if found else ""


def _instead_of(name: str, known: FlagTable, prefixes: Sequence[str]) -> str:
    if name in known.base_of_alias:
        return f'write name: {known.base_of_alias[name]} with value: "false"'
    spelled = snake(name)
    full = next((prefix + spelled for prefix in ("", *prefixes[:1]) if prefix + spelled in known.flags), "")
    others = tuple(prefix for prefix in prefixes[1:] if not spelled.startswith(prefix))
    ours = tuple(flag for flag in known.flags if not (others and flag.startswith(others)))
    near = f"did you mean {full}?" if full else nearest(spelled, ours, 0.7)
    versions = having(name, known.program)
    elsewhere = f"ms-swift {' and '.join(versions)} {'have' if len(versions) > 1 else 'has'} it" if versions else ""
    return "; ".join(part for part in (near, elsewhere) if part)


def _value(path: str, arg: ExtraArg, flag: FlagInfo) -> Iterator[Problem]:
    """Form and type of a value; ms-swift would end with exit code 2 and a usage text."""
    if arg.json_text is not None:
        if flag.type != "str":
            yield Problem(f"{path}.json", f"--{flag.name} takes no JSON")
        elif not _parses(json.loads, arg.json_text):
            yield Problem(f"{path}.json", "is not valid JSON")
        return
    if arg.values is not None and not flag.is_list:
        yield Problem(f"{path}.values", f"--{flag.name} takes one value", suggestion="use value")
        return
    for value in arg.words:
        problem = _wrong(value, flag) or (
            "a value in a list cannot start with a dash" if arg.values and value.startswith("-") else ""
        )
        if problem:
            yield Problem(f"{path}.{_member(arg)}", f"--{flag.name}: {problem}")


def _member(arg: ExtraArg) -> str:
    return "value" if arg.values is None else "values"


_PARSERS: dict[str, tuple[Callable[[str], object], str]] = {
    "int": (int, "a whole number"),
    "float": (float, "a number"),
}


def _wrong(value: str, flag: FlagInfo) -> str:
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
