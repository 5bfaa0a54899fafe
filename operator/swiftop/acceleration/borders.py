"""The borders of packed samples, found once for each batch.

transformers looks for them in every layer, in position ids that are the same object all the way, and waits for the GPU
each time. What it has found is kept here until other position ids come; lengths are kept as numbers, so that attention
does not wait either.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

MODULE = "transformers.modeling_flash_attention_utils"
PACKED, BORDERS = "_is_packed_sequence", "prepare_fa_kwargs_from_position_ids"


def install() -> str:
    """Keep what the two functions find; why not, in a word."""
    utils = importlib.import_module(MODULE)
    if not (hasattr(utils, PACKED) and hasattr(utils, BORDERS)):
        return "OlderRelease"
    setattr(utils, PACKED, remembered(getattr(utils, PACKED), bool))
    setattr(utils, BORDERS, remembered(getattr(utils, BORDERS), _numbers))
    return ""


def remembered(function: Callable[..., Any], plain: Callable[[Any], Any]) -> Callable[..., Any]:
    """``plain`` of the function's result, computed anew only for other position ids or other arguments."""
    last: dict[str, Any] = {}

    def call(position_ids: Any, *args: Any, **kwargs: Any) -> Any:
        state = (_version(position_ids), args, kwargs)
        if position_ids is None or last.get("ids") is not position_ids or last["state"] != state:
            last.update(ids=position_ids, state=state, found=plain(function(position_ids, *args, **kwargs)))
        return last["found"]

    return call


def _version(position_ids: Any) -> object:
    """Rises with each change in place. A tensor of inference mode has none, and is never taken as the same."""
    try:
        return getattr(position_ids, "_version", 0)
    except RuntimeError:
        return object()


def _numbers(found: tuple[Any, tuple[Any, Any]]) -> tuple[Any, tuple[int, ...]]:
    borders, lengths = found
    return borders, tuple(int(length) for length in lengths)
