"""Ready-made texts for the columns of ``kubectl get``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def rows_text(rows: Mapping[str, Any]) -> str:
    """Rows, as ``10000`` or ``10000 (3 bad)``."""
    if "total" not in rows:
        return ""
    bad = rows.get("bad") or 0
    return f"{rows['total']} ({bad} bad)" if bad else str(rows["total"])


def progress_text(progress: Mapping[str, Any]) -> str:
    """Step and how much of it is done, as ``Uploading 1.2/9.8 GiB (12%)``."""
    done, total = progress.get("bytesDone"), progress.get("bytesTotal")
    phase = str(progress.get("phase", ""))
    if not total or done is None or phase == "Finished":
        return phase
    power = 0
    while power < len(_UNITS) - 1 and total >= 1024 ** (power + 1):
        power += 1
    size = 1024**power
    return f"{phase} {done / size:.1f}/{total / size:.1f} {_UNITS[power]} ({min(100 * done // total, 100)}%)"
