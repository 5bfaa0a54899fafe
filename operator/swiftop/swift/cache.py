"""Names of what is loaded from a hub, by which the pods that share a cache lock it (runner/cachelock.py)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

_LOADED = ("model", "dataset", "val_dataset", "adapters")  # flags that may name a thing of a hub
_SCOPE = ("use_hf", "model_revision")  # the same name may be another thing
_REVISION = re.compile("@[^:]*")  # of a dataset, as in me/data@v1:subset


def cache_keys(flags: Mapping[str, tuple[str, ...]], *, part: str = "") -> tuple[str, ...]:
    """A short name for each thing that is loaded from a hub, sorted: all pods lock in the same order.

    Two revisions of one dataset have the same: the hubs' clients keep them in one folder. ``part`` is for whoever loads
    some files alone: the whole is not there then.
    """
    scope = "|".join(f"--{name}={','.join(flags.get(name, ()))}" for name in _SCOPE)
    sources = {_REVISION.sub("", value.partition("#")[0]) for name in _LOADED for value in flags.get(name, ())}
    remote = sorted(source for source in sources if source and not source.startswith(("/", ".")))
    texts = (f"{source}|{scope}" + (f"|{part}" if part else "") for source in remote)
    return tuple(hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts)
