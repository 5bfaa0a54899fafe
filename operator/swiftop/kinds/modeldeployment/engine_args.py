"""What is wrong with ``engineArgs``: flags that no server of this engine would take, or take and never read."""

from __future__ import annotations

from collections.abc import Iterator

from swiftop.api.v1alpha1.modeldeployment import FIELD_OF_FLAG, ModelDeploymentSpec
from swiftop.errors import Problem
from swiftop.kinds.modeldeployment import own_server
from swiftop.runner.protocol import NATIVE
from swiftop.swift import check
from swiftop.swift.releases import FlagTable

_PATH = "spec.engineArgs"
_PREFIXES = ("vllm_", "sglang_", "lmdeploy_")
_TORCH = "torch_"  # --torch_dtype is what engines call dtype


def problems(spec: ModelDeploymentSpec, known: FlagTable) -> Iterator[Problem]:
    """All mistakes, each with the flag or the field to use instead."""
    own = f"{spec.engine}_"
    prefixes = (own, *(prefix for prefix in _PREFIXES if prefix != own), _TORCH)
    yield from check.extra_args(spec.engine_args, known, _PATH, field_of=FIELD_OF_FLAG, prefixes=prefixes)
    for index, arg in enumerate(spec.engine_args):
        other = next((prefix[:-1] for prefix in prefixes[1:3] if arg.name.startswith(prefix)), "")
        here = f"{_PATH}[{index}].name"
        if arg.name not in known.flags or arg.name in FIELD_OF_FLAG:
            continue
        if other:
            text = f"--{arg.name} is a flag of {other}, and nobody reads it with engine {spec.engine}"
            yield Problem(here, text, suggestion="remove it")
        elif spec.server == NATIVE:
            yield from own_server.untranslatable(arg, spec.engine, f"{_PATH}[{index}]")


def of_swift_alone(spec: ModelDeploymentSpec) -> bool:
    """Whether there is a flag that the engine's own server does not have."""
    return any(problem for arg in spec.engine_args for problem in own_server.untranslatable(arg, spec.engine, _PATH))
