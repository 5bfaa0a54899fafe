"""What is told of the acceleration: which parts act, which do not and why, and what was chosen.

Process 0 of each node writes it as one small JSON file, whole or not at all, and the runner beside it reads it. Each
part that is left out is one line in the log as well.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

LINEAR, MLP = "linears", "mlp"
SETTINGS = ("liger", "batch", "checkpointing", "loader")
PARTS = ("attention", "borders", LINEAR, MLP, *SETTINGS, "eightbit")
OTHER_PROCESS = "OtherProcess"  # the word for what another process of the training could not do
log = logging.getLogger("swiftop.acceleration")
_WORD = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")


@dataclass
class Report:
    """One for each process; ``path`` is None where nobody reads it."""

    path: Path | None = None
    parts: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    rows: int | None = None
    accumulation: int | None = None
    checkpointing: bool | None = None
    estimated: float | None = None
    gpu: float | None = None

    def use(self, part: str) -> None:
        """The part acts."""
        self.skipped.pop(part, None)
        if part not in self.parts:
            self.parts.append(part)

    def skip(self, part: str, why: str, detail: object = "") -> None:
        """The part does not act, or no longer does."""
        if part in self.parts:
            self.parts.remove(part)
        self.skipped[part] = why
        self.say(f"acceleration: {part} is left out: {why}{f' ({detail})' if detail else ''}")

    def fail(self, part: str, error: Exception) -> None:
        """The part met what nobody foresaw: the word is the error's name, and the log has the rest."""
        name = type(error).__name__
        self.skip(part, name if _WORD.fullmatch(name) else "Failed", error)
        log.info("acceleration: %s", part, exc_info=error)

    def say(self, text: str) -> None:
        """One line in the log, of one process."""
        if self.path is not None:
            log.info(text)

    def write(self) -> None:
        """Nothing of the training hangs on it: a disk that is full is met by others."""
        if self.path is None:
            return
        part = self.path.with_name(f".{self.path.name}.part")
        with contextlib.suppress(OSError):
            part.write_text(json.dumps(self._document()), encoding="utf-8")
            part.replace(self.path)

    def _document(self) -> dict[str, object]:
        known = {
            "active": bool(self.parts),
            "parts": sorted(self.parts, key=PARTS.index),
            "skipped": [[part, self.skipped[part]] for part in PARTS if part in self.skipped],
            "perDeviceBatchSize": self.rows,
            "gradientAccumulationSteps": self.accumulation,
            "gradientCheckpointing": self.checkpointing,
            "estimatedGiB": None if self.estimated is None else round(self.estimated, 1),
            "gpuGiB": None if self.gpu is None else round(self.gpu, 1),
        }
        return {name: value for name, value in known.items() if value is not None}


def begin_log(first: bool) -> None:
    """Lines of our own, whatever ms-swift does with its loggers; of other processes than the first only warnings."""
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("swiftop: %(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.INFO if first else logging.WARNING)
    log.propagate = False


def local_rank() -> int:
    """Of this process on its node, as torchrun tells it."""
    told = os.environ.get("LOCAL_RANK", "0")
    return int(told) if told.isdigit() else 0


def world_size() -> int:
    """Processes of this training on all nodes."""
    told = os.environ.get("WORLD_SIZE", "1")
    return max(1, int(told)) if told.isdigit() else 1
