"""Which checkpoints of an output directory are complete.

Saves are not atomic, and ms-swift resumes from half of one and says nothing: without optimizer, scheduler or random
state it silently restarts the learning-rate schedule. So a checkpoint counts when ``trainer_state.json``, the file
that is written last, is whole, and when the state of every process is there.

``trainer_state.json`` holds the log history and grows with the run. It is written with sorted keys, so the numbers
needed stand before ``log_history`` at its head and after it at its tail: only these two ends are read.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from ..evalloss import eval_loss
from ..record import opened
from ..report import number

HEAD = 16 * 1024
WHOLE = 256 * 1024  # a file up to this size is parsed whole
_NAME_BYTES = 4096  # of a file that holds a folder's name
INCOMPLETE_MARK = "checkpoint-is-incomplete.txt"  # written by transformers' just-in-time saver
_NAME = re.compile(r"^checkpoint-(\d{1,12})$")
_WEIGHTS = re.compile(r"model.*\.(safetensors|bin)$")
_KEYS = ("global_step", "max_steps", "best_global_step", "best_metric", "best_model_checkpoint")


@dataclass(frozen=True)
class Checkpoint:
    """One complete checkpoint."""

    step: int
    path: str
    time: float
    max_steps: Optional[int] = None
    best_step: Optional[int] = None
    best_metric: Optional[float] = None
    eval_loss: Optional[float] = None  # of the last evaluation up to this step
    best_eval_loss: Optional[float] = None


def find(output_dir: Path, *, world_size: int, resumable: bool) -> Optional[Checkpoint]:
    """The newest complete checkpoint, None without one."""
    for path in candidates(output_dir):
        found = read(path, world_size=world_size, resumable=resumable)
        if found is not None:
            return found
    return None


def candidates(output_dir: Path) -> list[Path]:
    """Checkpoint directories, the highest step first."""
    try:
        entries = [entry for entry in output_dir.iterdir() if _NAME.match(entry.name)]
        return sorted((e for e in entries if e.is_dir() and not e.is_symlink()), key=_step, reverse=True)
    except OSError:  # none yet, or one that a rotation deletes at this moment
        return []


def read(path: Path, *, world_size: int, resumable: bool) -> Optional[Checkpoint]:
    """The checkpoint at ``path`` if it is complete. ``resumable`` asks for optimizer and random state as well."""
    try:
        return _read(path, world_size=world_size, resumable=resumable)
    except OSError:  # a rotation deletes checkpoints, a network volume may fail for a moment
        return None


def _read(path: Path, *, world_size: int, resumable: bool) -> Optional[Checkpoint]:
    state, sizes = read_state(path / "trainer_state.json"), _sizes(path)
    step = _count(state.get("global_step")) if state is not None else None
    if state is None or step is None or INCOMPLETE_MARK in sizes:
        return None
    if any(size == 0 for name, size in sizes.items() if _WEIGHTS.search(name)):
        return None
    if resumable and not _has_process_state(path, {name for name, size in sizes.items() if size}, world_size):
        return None
    best = state.get("best_model_checkpoint")
    own = isinstance(best, str) and Path(best).parent.name == path.parent.name  # a resumed state may name another run's
    best_step = _NAME.match(Path(str(best)).name) if own else None
    metric = state.get("best_metric")
    return Checkpoint(
        step=step,
        path=str(path),
        time=(path / "trainer_state.json").stat().st_mtime,
        max_steps=_count(state.get("max_steps")),
        best_step=int(best_step.group(1)) if best_step else None,
        best_metric=number(metric) if best_step else None,
        eval_loss=eval_loss(path),
        best_eval_loss=eval_loss(path.with_name(best_step.group())) if best_step else None,
    )


def read_state(path: Path) -> Optional[dict[str, Any]]:
    """The numbers of a ``trainer_state.json``, None when the file is absent or cut off."""
    try:
        with opened(path) as file:
            size = file.seek(0, 2)
            file.seek(0)
            head = file.read(HEAD if size > WHOLE else WHOLE)
            file.seek(max(size - HEAD, 0))
            tail = file.read(HEAD)
    except OSError:
        return None
    if size <= WHOLE:
        try:
            state = json.loads(head)
        except (ValueError, RecursionError):
            return None
        return state if isinstance(state, dict) else None
    if not tail.rstrip().endswith(b"\n}"):
        return None
    return _top_level(tail.decode("utf-8", "replace")) | _top_level(head.decode("utf-8", "replace"))


def _top_level(text: str) -> dict[str, Any]:
    """Members of the outermost object in a piece of indented JSON: those two blanks from the margin."""
    found = {}
    for key in _KEYS:
        match = re.search(rf'^  "{key}": (.+?),?$', text, re.MULTILINE)
        if match:
            try:
                found[key] = json.loads(match.group(1))
            except (ValueError, RecursionError):
                continue
    return found


def _count(value: object) -> Optional[int]:
    return value if isinstance(value, int) and number(value) is not None else None


def _sizes(path: Path) -> dict[str, int]:
    """Bytes of each file; a directory counts as not empty."""
    return {entry.name: 1 if entry.is_dir() else entry.stat().st_size for entry in path.iterdir()}


def names(path: Path) -> list[str]:
    """Files of a checkpoint."""
    try:
        return [entry.name for entry in path.iterdir()]
    except OSError:
        return []


def _has_process_state(path: Path, names: set[str], world_size: int) -> bool:
    if world_size > 1 and not all(f"rng_state_{rank}.pth" in names for rank in range(world_size)):
        return False
    if world_size <= 1 and not names & {"rng_state.pth", "rng_state_0.pth"}:
        return False
    if "latest" in names:
        return _deepspeed_complete(path, world_size)
    optimizer = {"optimizer.pt", "optimizer.bin", "optimizer_0", "optimizer"}
    return "scheduler.pt" in names and bool(names & optimizer)


def _deepspeed_complete(path: Path, world_size: int) -> bool:
    """DeepSpeed names its folder in ``latest``; each process has written its part of the optimizer into it."""
    with opened(path / "latest") as file:
        name = file.read(_NAME_BYTES).decode("utf-8", "replace").strip()
    folder = path / name
    if folder == path or "\0" in name or not folder.is_dir():
        return False
    names = [name for name, size in _sizes(folder).items() if size]
    shards = [name for name in names if "zero_pp_rank_" in name and name.endswith("optim_states.pt")]
    if shards:
        return len(shards) >= world_size
    return any(name.endswith("model_states.pt") for name in names)


def saving(output_dir: Path, since: float) -> Optional[tuple[str, int, int]]:
    """A checkpoint that is being written: its name, how many files it has and their size. None when none is.

    Directories from before ``since`` are what a killed execution left, not a save.
    """
    for path in candidates(output_dir)[:1]:
        try:
            if (path / "trainer_state.json").exists() or path.stat().st_mtime < since:
                return None
            sizes = [entry.stat().st_size for entry in path.rglob("*")]
        except OSError:
            return None
        return path.name, len(sizes), sum(sizes)
    return None


def _step(path: Path) -> int:
    match = _NAME.match(path.name)
    return int(match.group(1)) if match else -1
