"""The kernels, each with what takes its place from the moment that one of them fails.

A kernel fails before it has written anything (it does not compile, or asks for more than the GPU has), so the same call
is repeated with torch's operations and its result is right. Whoever drives the training looks at ``failure`` after the
step, and puts the plain layers back.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch

from . import repair

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger("swiftop.acceleration")
_failures: list[str] = []


@functools.cache
def kernels() -> Any:
    """The one module that needs Triton, when it is needed."""
    return importlib.import_module(".kernels", __package__)


def failure() -> str | None:
    """What the first kernel that failed said, if one has."""
    return _failures[0] if _failures else None


def forget() -> None:
    """Trust the kernels again, as where one that failed was never used for training."""
    _failures.clear()


def _guarded(name: str, instead: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(instead)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if not _failures:
            try:
                found: T = getattr(kernels(), name)(*args, **kwargs)
            except torch.cuda.OutOfMemoryError:
                raise  # what takes the kernel's place needs more
            except Exception as error:
                _failures.append(f"{name}: {type(error).__name__}: {error}"[:500])
                log.warning("a kernel failed and torch's operations take its place: %s", failure(), exc_info=True)
            else:
                return found
        return instead(*args, **kwargs)

    return call


project = _guarded("project", repair.project)
swiglu_project = _guarded("swiglu_project", repair.swiglu_project)
project_backward = _guarded("project_backward", repair.project_backward)
swiglu_backward = _guarded("swiglu_backward", repair.swiglu_backward)
to_eight_bits = _guarded("to_eight_bits", repair.to_eight_bits)
