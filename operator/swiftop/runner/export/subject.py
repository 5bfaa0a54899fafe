"""What is exported, looked at before anything is loaded: whose it is, and whether it is what ms-swift may be given.

It lies on a volume that others may write to. ms-swift follows the links in it and loads pickles, which are programs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

from .. import causes
from ..classify import Judged
from ..hub import causes as hub_causes
from ..protocol import ExportSettings
from ..record import Unreadable, uid_of
from . import folder, weights

_BASE = "base_model_name_or_path"


def check(settings: ExportSettings) -> Optional[Judged]:
    """What is wrong with it, None when the export may start."""
    source = Path(settings.source) if settings.source else None
    if source is not None and not source.is_dir():
        return Judged(causes.SOURCE_CHECKPOINT_MISSING, f"the folder {source} does not exist")
    if source is not None and settings.uid and (problem := _not_of(source, settings.uid)):
        return Judged(causes.SOURCE_CHECKPOINT_MISSING, problem)
    try:
        for path in (settings.source, settings.model):
            if path.startswith("/"):
                _check_links(Path(path))
        return _check_adapter(source, settings) if source is not None else None
    except (weights.Damaged, OSError) as error:
        return Judged(causes.WEIGHTS_MISSING, f"{settings.source or settings.model} cannot be exported: {error}")


def base_of(source: Path) -> str:
    """The model that an adapter says it belongs to; empty when it says none. Raises ``Damaged``."""
    return str(folder.read_json(source / folder.ADAPTER_CONFIG).get(_BASE) or "")


def _not_of(source: Path, uid: str) -> str:
    """Why this is no checkpoint of that run; empty when it is one."""
    if source.is_symlink():
        return f"{source} is a link, not a checkpoint of the run"
    try:
        found = uid_of(source.parent)
    except (Unreadable, OSError) as error:
        return str(error)
    whose = "no run" if found is None else f"the run of UID {found}"
    return "" if found == uid else f"{source.parent} holds {whose}, not {uid}"


def _check_links(path: Path) -> None:
    if not path.is_dir():
        return  # ms-swift says so
    with os.scandir(path) as entries:
        for name in sorted(entry.name for entry in entries if entry.is_symlink()):
            weights.within(path, name)


def _check_adapter(source: Path, settings: ExportSettings) -> Optional[Judged]:
    if not (source / folder.ADAPTER_CONFIG).is_file():
        return None
    stem = weights.ADAPTER
    if not any((source / f"{stem}.safetensors{more}").is_file() for more in ("", ".index.json")):
        return Judged(causes.WEIGHTS_MISSING, folder.why_without_weights(source))
    if settings.merge and not settings.model and not base_of(source):
        text = f"{folder.ADAPTER_CONFIG} of {source} names no base model: set source.base"
        return Judged(hub_causes.MODEL_NOT_FOUND, text)
    return None
