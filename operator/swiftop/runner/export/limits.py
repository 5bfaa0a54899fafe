"""What a container may take of its machine: memory, processors."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

_ROOT = Path("/")


def memory(root: Path = _ROOT) -> Optional[int]:
    """Bytes until the limit of the container or the machine, whichever comes first; None when neither is known."""
    limits = [_machine(root), *(_left(root / "sys/fs/cgroup", *names) for names in _CGROUPS)]
    return min((limit for limit in limits if limit is not None), default=None)


_CGROUPS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)


def processors(root: Path = _ROOT) -> Optional[int]:
    """Whole processors that the container may use; None without a limit. Libraries see those of the machine, and more
    threads than processors wait for each other for most of the time.
    """
    quota, _, period = _text(root / "sys/fs/cgroup/cpu.max").partition(" ")
    if not quota:
        quota = _text(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us").strip()
        period = _text(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us")
    return max(1, int(quota) // int(period)) if quota.isdigit() and period.strip().isdigit() else None


def _machine(root: Path) -> Optional[int]:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _left(folder: Path, limit: str, usage: str, stat: str) -> Optional[int]:
    """Cached pages of files are given up for it."""
    highest, used = _text(folder / limit).strip(), _text(folder / usage).strip()
    if not highest.isdigit() or not used.isdigit():
        return None
    counts = dict(line.split(None, 1) for line in _text(folder / stat).splitlines() if " " in line)
    cached = int(counts.get("inactive_file") or 0) + int(counts.get("active_file") or 0)
    return max(0, int(highest) - int(used) + cached)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
