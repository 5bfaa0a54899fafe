"""The evaluation loss that a checkpoint tells of itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Optional

from .record import opened
from .report import number

STATE = "trainer_state.json"
_END = 256 * 1024  # has the last hundreds of lines of the history
_LOSS = re.compile(r'"eval_loss": ([-+0-9.eE]{1,32})')  # in a line of the history, and nowhere else


def eval_loss(checkpoint: Path) -> Optional[float]:
    """Loss of the last evaluation up to this checkpoint; None when there was none."""
    try:
        with opened(checkpoint / STATE) as file:
            file.seek(max(file.seek(0, 2) - _END, 0))
            found = _LOSS.findall(file.read(_END).decode("utf-8", "replace"))
        return number(float(found[-1])) if found else None
    except (OSError, ValueError):
        return None
