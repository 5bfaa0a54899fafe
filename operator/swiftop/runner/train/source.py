"""A checkpoint of another run as the start of this one: found, checked, and turned into ms-swift's flags.

With optimizer and schedule it is ``--resume_from_checkpoint``. With the weights alone it is that and
``--resume_only_model true --ignore_data_skip true``: ms-swift 3.7, 3.12 and 4.6 then load the weights before the
trainer exists (all weights in place of ``--model``, else as the adapter) and start at step 0 with a fresh schedule.
Without the third flag the step would go on from the other run's while the schedule starts anew. ``--adapters`` alone
will not do: a training by ms-swift 3.7 does not read it and would silently train a new adapter.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Optional, Union

from .. import record
from ..causes import SOURCE_CHECKPOINT_MISSING, SOURCE_CHECKPOINT_UNFIT
from ..classify import Judged
from ..protocol import Source
from . import checkpoints
from .checkpoints import Checkpoint

_LARGEST_JSON = 1024 * 1024
_MODEL_TYPE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_STATE_OF_RANK = re.compile(r"rng_state_(\d{1,6})\.pth$")


def find(source: Source, world_size: int, max_steps: Optional[int]) -> Union[Checkpoint, Judged]:
    """The checkpoint that is asked for, or why it cannot be the start."""
    directory = Path(source.directory)
    try:
        uid = record.uid_of(directory)
    except (record.Unreadable, OSError) as error:
        return _missing(str(error))
    if uid != source.uid:
        return _missing(f"{directory} holds {'no run' if uid is None else f'the run of UID {uid}'}, not {source.uid}")
    found = _read(source, directory, world_size)
    if isinstance(found, Judged):
        return found
    problem = _tuner_problem(source, Path(found.path))
    if not source.weights_only:
        problem = problem or _state_problem(Path(found.path), world_size, found.step, max_steps)
    return found if problem is None else Judged(SOURCE_CHECKPOINT_UNFIT, f"{found.path} {problem}")


def flags(source: Source, found: Checkpoint) -> tuple[str, ...]:
    """What to add to the command; of a flag that is given twice, ms-swift takes the last."""
    whole = ("--resume_from_checkpoint", found.path)
    if not source.weights_only:
        return whole
    only = (*whole, "--resume_only_model", "true", "--ignore_data_skip", "true")
    model_type = _json(Path(found.path) / "args.json").get("model_type")
    if source.tuner == "full" and isinstance(model_type, str) and _MODEL_TYPE.fullmatch(model_type):
        return (*only, "--model_type", model_type)  # it cannot be told by the name of a checkpoint's folder
    return only


def _read(source: Source, directory: Path, world_size: int) -> Union[Checkpoint, Judged]:
    resumable = not source.weights_only
    if source.step is None:
        newest = checkpoints.find(directory, world_size=world_size, resumable=resumable)
        if newest is not None:
            return newest
        whole = checkpoints.find(directory, world_size=world_size, resumable=False)
        path = Path(whole.path) if whole else directory
    else:
        path = directory / f"checkpoint-{source.step}"
        found = checkpoints.read(path, world_size=world_size, resumable=resumable)
        if found is not None:
            return found
        whole = checkpoints.read(path, world_size=world_size, resumable=False)
    if whole is None:
        return _missing(
            f"{path} {'has no complete checkpoint' if path == directory else 'is not a complete checkpoint'}"
        )
    text = f"{path} lacks optimizer, scheduler or random state of its {world_size} process(es)"
    return Judged(SOURCE_CHECKPOINT_UNFIT, text)


def _missing(text: str) -> Judged:
    return Judged(SOURCE_CHECKPOINT_MISSING, text)


def _state_problem(path: Path, world_size: int, step: int, max_steps: Optional[int]) -> Optional[str]:
    """Why optimizer and schedule cannot go on from there."""
    ranks = [int(match.group(1)) for match in map(_STATE_OF_RANK.search, checkpoints.names(path)) if match]
    saved = max(ranks, default=0) + 1
    if saved != world_size:
        return f"was saved by {saved} processes, this run has {world_size}"
    if max_steps is not None and step >= max_steps:
        return f"is of step {step}, this run ends at step {max_steps}"
    return None


def _tuner_problem(source: Source, path: Path) -> Optional[str]:
    """Why the weights do not fit model and tuner of this run."""
    adapter = (path / "adapter_config.json").is_file()
    if adapter != (source.tuner != "full"):
        return f"holds {'an adapter' if adapter else 'all weights'}, this run trains with tuner.type: {source.tuner}"
    if not adapter:
        return None
    config = _json(path / "adapter_config.json")
    kind, rank, base = config.get("peft_type"), config.get("r"), config.get("base_model_name_or_path")
    if source.tuner == "lora" and isinstance(kind, str) and kind != "LORA":
        return f"holds an adapter of type {kind[:40]}, this run trains with tuner.type: lora"
    if source.rank is not None and isinstance(rank, int) and rank != source.rank:
        return f"holds an adapter of rank {rank}, this run has tuner.rank: {source.rank}"
    theirs, ours = _model_name(base), _model_name(source.model)
    if theirs and ours and theirs != ours:
        return f"was trained on {theirs}, this run's model is {ours}"
    return None


def _model_name(model: object) -> str:
    """``owner/name`` of a model of a hub, by its id or its folder in a cache; empty for what has no such name."""
    if not isinstance(model, str):
        return ""
    cached = re.search(r"/models--([^/]+)--([^/]+)/snapshots/", model) or re.search(
        r"/(?:hub/)?models/([^/]+)/([^/]+)/?$" if "/modelscope/" in model else r"^([^/]+)/([^/]+)$", model
    )
    return f"{cached.group(1)}/{cached.group(2).replace('___', '.')}".lower() if cached else ""


def _json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_LARGEST_JSON))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
