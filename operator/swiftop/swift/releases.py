"""The ms-swift versions that swiftop renders for, and the flag table of each.

The tables are data, extracted from the releases by tools/extract_flags.py. What cannot be read from a parser (a flag
that checks its value only after parsing) stands here with its source.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from swiftop.errors import Invalid, Problem
from swiftop.reasons import Reason

SUPPORTED = ("3.7", "3.12", "4.6")
DEFAULT = "4.6"

_FLASH = ("flash_attn", "flash_attention_2", "flash_attention_3")
# ms-swift 3: swift/llm/argument/train_args.py, 4: swift/arguments/sft_args.py (_check_padding_free). Only the name is
# compared, so sdpa or a kernel of the Hugging Face hub is refused even where it would work.
_PACKING_ATTENTION = {"3.7": _FLASH, "3.12": _FLASH, "4.6": (*_FLASH, "flash_attention_4")}

FlagType = Literal["bool", "int", "float", "str", "json"]


@dataclass(frozen=True, slots=True)
class Flag:
    """One command-line flag of ``swift sft``."""

    name: str
    type: FlagType
    choices: tuple[str, ...] = ()
    is_list: bool = False
    aliases: tuple[str, ...] = ()
    transformers: tuple[str, ...] = ()  # the only ones with which the release has it; empty for all


@dataclass(frozen=True, slots=True)
class FlagTable:
    """What one ms-swift release accepts."""

    version: str
    release: str
    flags: Mapping[str, Flag]
    tuners: tuple[str, ...]
    callbacks: tuple[str, ...]
    packing_attention: tuple[str, ...]

    @property
    def tuner_flag(self) -> str:
        """``--train_type`` became ``--tuner_type`` in 4.0; neither release knows the other's word."""
        return "tuner_type" if "tuner_type" in self.flags else "train_type"

    @property
    def base_of_alias(self) -> dict[str, str]:
        """Flag behind each further spelling, such as ``no_add_version``."""
        return {alias: flag.name for flag in self.flags.values() for alias in flag.aliases}


def table(version: str) -> FlagTable:
    """Flag table of a supported version; raises ``Invalid`` for any other."""
    if version not in SUPPORTED:
        supported = ", ".join(SUPPORTED)
        problem = Problem(
            "spec.runtime.swiftVersion",
            f"ms-swift {version} is not supported",
            suggestion=f"use one of {supported}",
            reason=Reason.UNSUPPORTED_VERSION,
        )
        raise Invalid((problem,))
    return _load(version)


@cache
def _load(version: str) -> FlagTable:
    data = json.loads(files(__package__).joinpath("flags", f"{version}.json").read_text("utf-8"))
    return FlagTable(
        version=version,
        release=data["release"],
        flags={
            name: Flag(
                name=name,
                type=row["type"],
                choices=tuple(str(choice) for choice in row.get("choices", ()) if choice is not None),
                is_list=row.get("list", False),
                aliases=tuple(row.get("aliases", ())),
                transformers=tuple(row.get("transformers", ())),
            )
            for name, row in data["flags"].items()
        },
        tuners=tuple(data["tuners"]),
        callbacks=tuple(data["callbacks"]),
        packing_attention=_PACKING_ATTENTION[version],
    )
