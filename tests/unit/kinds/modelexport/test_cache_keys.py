"""What an export loads from a hub has the same name in a shared cache as it has for a training."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop.swift.cache import cache_keys
from swiftop.workload.job import plan_of
from tests.unit.kinds.modelexport.test_children_of_export import OF_A_HUB, ON_A_CLAIM, children_of, export_of

CACHE = {"cache": {"persistentVolumeClaim": {"claimName": "cache", "path": "hub"}}}
IMAGE = {"runtime": {"image": "registry.example/trainer:4.6"}}
RUN = {"sftRunRef": {"name": "mh-sft-7b-lora"}}
OF_THE_RUN = {"model": ("Qwen/Qwen2.5-7B-Instruct",), "model_revision": ("v1",)}
VOLUME = {"output": {"volume": {"size": "5Gi"}}}


@pytest.mark.parametrize(
    ("spec", "loaded"),
    [
        ({"source": RUN, **VOLUME}, OF_THE_RUN),
        ({"source": RUN, **VOLUME, "merge": False}, {}),  # the adapter lies on a volume, its model is not read
        (ON_A_CLAIM, {}),
        (OF_A_HUB, {"model": ("me/tuned",), "adapters": ("me/adapter",), "use_hf": ("true",)}),
        ({**OF_A_HUB, "merge": False}, {"adapters": ("me/adapter",), "use_hf": ("true",)}),
        ({"source": {"id": "me/tuned"}, **VOLUME, "merge": False}, {"model": ("me/tuned",)}),
    ],
)
def test_keys(spec: dict[str, Any], loaded: dict[str, tuple[str, ...]]) -> None:
    plan = plan_of(children_of(export_of({**IMAGE, **spec, **CACHE}))[-1])
    assert plan is not None
    assert plan.cache_dir == "/swiftop/cache/hub"
    assert plan.cache_keys == cache_keys(loaded)
    assert bool(plan.cache_keys) == bool(loaded)


def test_without_a_shared_cache_nothing_is_locked() -> None:
    plan = plan_of(children_of(export_of(OF_A_HUB))[-1])
    assert plan is not None
    assert (plan.cache_dir, plan.cache_keys) == (None, ())
