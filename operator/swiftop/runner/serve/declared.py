"""Adapters that a pod follows while it serves, as they stand in a file: written by the operator, read by the pod. Pure.

Anybody may write the file, who may write ConfigMaps in the namespace: whatever stands in it, reading it gives adapters
or says what is wrong.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Optional

from ..protocol import ServedAdapter
from ..typed_json import BadJSON, from_json, to_json

LARGEST = 1 << 20  # bytes: a ConfigMap has no more
MOST = 64  # the spec takes 16
LONGEST = 4096  # characters of a path
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,95}")  # as in the spec
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Limits of an adapter's rank that vLLM has kernels for."""


@dataclass(frozen=True)
class DeclaredAdapters:
    """The content of the file."""

    adapters: tuple[ServedAdapter, ...] = ()


class BadFile(ValueError):
    """What stands in the file declares no adapters."""


def rank_limit(rank: int) -> int:
    """The least limit of vLLM that takes this rank; the highest for one above all, which is refused by name."""
    return next((limit for limit in RANKS if limit >= rank), RANKS[-1])


def text_of(adapters: tuple[ServedAdapter, ...]) -> str:
    """The file."""
    return json.dumps(to_json(DeclaredAdapters(adapters)), ensure_ascii=False, indent=1)


def digest(content: bytes) -> str:
    """Which content it is, in a word of a report."""
    return hashlib.sha256(content).hexdigest()[:10]


def parse(content: bytes, *, model: str) -> tuple[ServedAdapter, ...]:
    """What the file declares beside the model, which has a name too; raises ``BadFile``."""
    if len(content) > LARGEST:
        raise BadFile(f"it is larger than {LARGEST >> 20} MiB")
    try:
        found = from_json(DeclaredAdapters, json.loads(content)).adapters
    except BadJSON as error:
        raise BadFile(f"it does not declare adapters: {error}"[:300]) from error
    except (ValueError, RecursionError) as error:
        raise BadFile(f"it is not valid JSON: {error}"[:300]) from error
    if len(found) > MOST:
        raise BadFile(f"it declares more than {MOST} adapters")
    names = [one.name for one in found]
    wrong = next(filter(None, (_wrong(one, model) for one in found)), None)
    if wrong is None and len(set(names)) < len(names):
        wrong = "it declares a name twice"
    if wrong is not None:
        raise BadFile(wrong)
    return found


def _wrong(adapter: ServedAdapter, model: str) -> Optional[str]:
    """What is wrong with one, as the spec would not have it."""
    if not _NAME.fullmatch(adapter.name) or adapter.name == model:
        return f"it declares the name {adapter.name[:96]!a}, which no adapter can have"
    if not 0 < len(adapter.path) <= LONGEST or not adapter.path.isprintable():
        return f"the path of {adapter.name} is not one"
    if adapter.rank is not None and adapter.rank < 1:
        return f"the rank of {adapter.name} is not one"
    return None
