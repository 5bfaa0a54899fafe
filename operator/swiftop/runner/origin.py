"""Where a model lies: a folder as given, or the download that ms-swift has made of a hub's model."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

_MODULES = ("swift.utils.hub_utils", "swift.llm.model.utils")  # of ms-swift 4 and 3


def folder_of(model: str, request: Mapping[str, Any], *, revision: str = "") -> Path:
    """The folder of ``model``; by its id from the request's ``hub``, out of the cache when it is there already.

    Raises ``ImportError`` for a release of ms-swift that downloads in another way, and what its client raises.
    """
    path = Path(model)
    if path.is_absolute() or path.is_dir():
        return path
    download = _downloader()
    return Path(download(model, revision or None, use_hf=request.get("hub") == "huggingface"))


def _downloader() -> Callable[..., str]:
    for name in _MODULES:
        try:
            found: Callable[..., str] = importlib.import_module(name).safe_snapshot_download
        except (ImportError, AttributeError):
            continue
        return found
    raise ImportError("this release of ms-swift has no safe_snapshot_download")
