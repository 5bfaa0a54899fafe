"""Entry: what ms-swift imports before it looks at its model. Each part is installed by itself, or left out with a word.

``SWIFTOP_ACCELERATION`` says what is wanted, as JSON: ``mode``, Auto or Approximate; ``fixed``, the flags that the spec
gives; ``report``, where to tell what was done; ``entry``, the file by which ms-swift has come here. Without it nothing
happens.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .report import LINEAR, MLP, PARTS, SETTINGS, Report, begin_log, local_rank, log, world_size

VARIABLE = "SWIFTOP_ACCELERATION"
APPROXIMATE = "Approximate"
OLDEST = (3, 12)  # release of ms-swift


@dataclass(frozen=True)
class Wanted:
    """What the runner asks for."""

    mode: str
    fixed: frozenset[str]
    report: Path
    entry: str

    @staticmethod
    def read(text: str) -> Wanted:
        """Out of the variable; raises ValueError, KeyError or TypeError."""
        said = json.loads(text)
        fixed = frozenset(str(flag).replace("-", "_") for flag in said["fixed"])  # ms-swift takes either
        return Wanted(str(said["mode"]), fixed, Path(said["report"]), str(said["entry"]))


def install() -> None:
    """All parts that can be had here. Never raises: without them ms-swift trains as ever."""
    text = os.environ.get(VARIABLE)
    if not text or multiprocessing.parent_process() is not None:  # workers of a loader import plugins again
        return
    begin_log(local_rank() == 0)
    try:
        wanted = Wanted.read(text)
        report = Report(wanted.report if local_rank() == 0 else None)
        _module("traces").leave_none(wanted.entry)
        _install(wanted, report)
        report.write()
    except Exception:
        log.warning("acceleration: nothing is installed", exc_info=True)


def _install(wanted: Wanted, report: Report) -> None:
    why = _older() or str(_module("gpu").unsuited())
    if why:
        for part in PARTS:
            if part != "eightbit" or wanted.mode == APPROXIMATE:
                report.skip(part, why)
        if world_size() == 1 or _older():
            return
    else:
        _install_part(report, "attention", lambda: _module("attention").install(sys.argv))
        _install_part(report, "borders", lambda: _module("borders").install())
    try:
        _watch(wanted, report, why)
    except Exception as error:
        for part in (LINEAR, MLP, *SETTINGS):
            report.fail(part, error)


def _module(name: str) -> Any:
    return importlib.import_module(f".{name}", __package__)


def _older() -> str:
    """Why nothing at all is done with this release of ms-swift, in a word."""
    found = re.match(r"(\d+)\.(\d+)", str(importlib.import_module("swift").__version__))
    return "" if found is not None and tuple(map(int, found.groups())) >= OLDEST else "OlderRelease"


def _install_part(report: Report, part: str, step: Callable[[], str | None]) -> None:
    try:
        why = step()
    except Exception as error:
        report.fail(part, error)
        return
    if why:
        report.skip(part, why)
    else:
        report.use(part)


def _watch(wanted: Wanted, report: Report, why: str) -> None:
    """Settings first, then the trainer, which needs to know what they count on.

    ``why`` neither can be here, in a word: other processes may be on other GPUs, and ask this one.
    """
    gpu, memory, settings, watch = (_module(name) for name in ("gpu", "memory", "settings", "watch"))
    plan = watch.Plan(report, approximate=wanted.mode == APPROXIMATE, unsuited=why)

    def circumstances(args: Any) -> Any:
        report.gpu = gpu.total_gib()
        config = settings.configuration(args.model_dir)
        return settings.Circumstances(
            fixed=wanted.fixed,
            config=config,
            gib=gpu.free_gib() * memory.SHARE,
            world_size=world_size(),
            fusing=not _no_kernels(),
            eightbit=plan.approximate and not _module("hardware").why_no_eight_bits(args.torch_dtype),
            liger=settings.liger_missing(config.get("model_type")),
            several_gpus=importlib.import_module("swift.utils").is_mp(),
        )

    def decided(decision: Any) -> None:
        plan.training, plan.gib = decision.training, decision.gib
        plan.chose_checkpointing = settings.CHECKPOINTING in decision.values

    settings.install(report, circumstances, decided, unsuited=bool(why))
    watch.install(plan)


def _no_kernels() -> str | None:
    """Why layers cannot be fused, as far as it shows before there are any."""
    found: str | None = _module("hardware").why_no_kernels()
    return found
