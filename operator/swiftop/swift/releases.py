"""The ms-swift releases that swiftop renders for: one record each, with all that is known of it.

To add a release: one :class:`Release` here and one file ``flags/<version>.<program>.json`` for each program, extracted
from the release by tools/extract_flags.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from swiftop.errors import Invalid, Problem
from swiftop.reasons import Reason

Program = Literal["sft", "export", "deploy"]
FlagType = Literal["bool", "int", "float", "str", "json"]

_FLASH = ("flash_attn", "flash_attention_2", "flash_attention_3")
_MODELSCOPE = "modelscope-registry.us-west-1.cr.aliyuncs.com/modelscope-repo/modelscope"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One supported version of ms-swift: what its flag tables, parsers and packages cannot tell at run time."""

    version: str  # two numbers, as in spec.runtime.swiftVersion
    release: str  # the one on PyPI that the tables were read from
    python: str  # its Requires-Python; empty where it says none
    transformers: str  # the range that it requires; it names none of torch
    # Only the name is compared (_check_padding_free in sft_args.py, train_args.py of 3.x), so sdpa or a kernel of the
    # Hugging Face hub is refused even where it would work.
    packing_attention: tuple[str, ...]
    tuner_flag: Literal["train_type", "tuner_type"]  # no release knows the other's word
    transformers_engine: Literal["pt", "transformers"]  # its word for --infer_backend
    # Whether sft goes on training what --adapters names; 3.7 takes it for inference only and says nothing.
    trains_adapters: bool = True
    # Whether several loss scales may be joined by +, and without a strategy before them (get_loss_scale).
    chains_loss_scales: bool = False
    # Whether the prefix MS:: of a dataset counts beside --use_hf: load_dataset of 3.x takes it for "not said".
    mixes_hubs: bool = True
    # Whether --fsdp is fsdp2 or a JSON file; 3.7 leaves it to transformers and its own words (full_shard auto_wrap).
    fsdp_presets: bool = True
    accelerated: bool = True  # whether swiftop.acceleration knows its trainer
    programs: tuple[Program, ...] = ("sft", "export", "deploy")  # those that there is a flag table of
    # A public trainer image. ModelScope's own end before 4.6, whose image each platform builds from images/trainer: a
    # name that nobody publishes could be taken by anybody.
    image: str | None = None


RELEASES: Mapping[str, Release] = {
    release.version: release
    for release in (
        Release(
            version="3.7",
            release="3.7.2",
            python="",
            transformers=">=4.33,<4.56",
            packing_attention=_FLASH,
            tuner_flag="train_type",
            transformers_engine="pt",
            trains_adapters=False,
            fsdp_presets=False,
            accelerated=False,
            mixes_hubs=False,
            image=f"{_MODELSCOPE}:ubuntu22.04-cuda12.6.3-py311-torch2.7.1-vllm0.10.0-modelscope1.28.2-swift3.7.2",
        ),
        Release(
            version="3.12",
            release="3.12.6",
            python=">=3.8.0",
            transformers=">=4.33,<4.58",
            packing_attention=_FLASH,
            tuner_flag="train_type",
            transformers_engine="pt",
            mixes_hubs=False,
            image=f"{_MODELSCOPE}:ubuntu22.04-cuda12.8.1-py311-torch2.9.0-vllm0.13.0-modelscope1.33.0-swift3.12.5",
        ),
        Release(
            version="4.6",
            release="4.6.0",
            python=">=3.9.0",
            transformers=">=4.33,<5.20.0",
            packing_attention=(*_FLASH, "flash_attention_4"),
            tuner_flag="tuner_type",
            transformers_engine="transformers",
            chains_loss_scales=True,
        ),
    )
}
SUPPORTED = tuple(RELEASES)
DEFAULT = "4.6"


@dataclass(frozen=True, slots=True)
class FlagInfo:
    """What a release knows of one command-line flag."""

    name: str
    type: FlagType
    choices: tuple[str, ...] = ()
    is_list: bool = False
    aliases: tuple[str, ...] = ()
    transformers: tuple[str, ...] = ()  # the only ones with which the release has it; empty for all


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagTable:
    """What one program of one release accepts."""

    release: Release
    program: Program
    flags: Mapping[str, FlagInfo]
    # What the release knows by name, the same for all programs.
    tuners: tuple[str, ...]
    datasets: frozenset[str]  # ids that it prepares in a way of its own
    registries: Mapping[str, tuple[str, ...]]  # by the flag that names one of them
    strategies: tuple[str, ...]  # what may stand before a loss scale, joined by +, or alone

    @property
    def version(self) -> str:
        """As in ``spec.runtime.swiftVersion``."""
        return self.release.version

    @property
    def base_of_alias(self) -> dict[str, str]:
        """Flag behind each further spelling, such as ``no_add_version``."""
        return {alias: flag.name for flag in self.flags.values() for alias in flag.aliases}


def table(version: str, program: Program = "sft") -> FlagTable:
    """Flag table of a supported version; raises ``Invalid`` for any other."""
    if version not in RELEASES:
        problem = Problem(
            "spec.runtime.swiftVersion",
            f"ms-swift {version} is not supported",
            suggestion=f"use one of {', '.join(SUPPORTED)}",
            reason=Reason.UNSUPPORTED_VERSION,
        )
        raise Invalid((problem,))
    return _load(version, program)


def having(flag: str, program: Program = "sft") -> list[str]:
    """Versions whose ``program`` has a flag of this name."""
    return [v for v, release in RELEASES.items() if program in release.programs and flag in _load(v, program).flags]


@cache
def _load(version: str, program: Program) -> FlagTable:
    data = _read(version, program)
    known = data if program == "sft" else _read(version, "sft")
    return FlagTable(
        release=RELEASES[version],
        program=program,
        flags={
            name: FlagInfo(
                name=name,
                type=row["type"],
                choices=tuple(str(choice) for choice in row.get("choices", ()) if choice is not None),
                is_list=row.get("list", False),
                aliases=tuple(row.get("aliases", ())),
                transformers=tuple(row.get("transformers", ())),
            )
            for name, row in data["flags"].items()
        },
        tuners=tuple(known["tuners"]),
        datasets=frozenset(known["datasets"]),
        registries={flag: tuple(words) for flag, words in known["registries"].items()},
        strategies=tuple(known["strategies"]),
    )


def _read(version: str, program: Program) -> Mapping[str, Any]:
    text = files(__package__).joinpath("flags", f"{version}.{program}.json").read_text("utf-8")
    found: Mapping[str, Any] = json.loads(text)
    return found
