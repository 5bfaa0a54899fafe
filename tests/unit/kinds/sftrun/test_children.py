"""All children of a run, compared whole. After a change that is meant: UPDATE_GOLDEN=1 pytest, and read the diff."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import yaml

from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.workload.defaults import defaults_of
from tests.support.objects import ON_CPU, PLATFORM, SHARED_VOLUMES, TWO_NODES, children_of, run_of, sample

GOLDEN = Path(__file__).parent / "children"
DEFAULTS = {
    "metadata": {"name": "swiftop-defaults", "namespace": "swiftop-system"},
    "data": {
        "image": "registry.example/trainer:4.6",
        "env": "{HF_ENDPOINT: https://hf-mirror.example, OMP_PROC_BIND: 'true'}",
        "cache": "{persistentVolumeClaim: {claimName: hub-cache}}",
        "placement": "{nodeSelector: {pool: training}}",
        "credentials": "{secretName: shared}",
        "storageClassName": "standard",
    },
}
SEVEN_B = sample("sftrun-7b")
AS_MS_SWIFT_IS = SEVEN_B.spec.model_copy(
    update={"training": SEVEN_B.spec.training.model_copy(update={"acceleration": "Off"})}
)
CASES: dict[str, tuple[SFTRun, Defaults]] = {
    "on-cpu": (run_of(ON_CPU), Defaults()),
    "sample-7b": (SEVEN_B, Defaults(image="registry.example/trainer:4.6")),
    "sample-7b-off": (
        SEVEN_B.model_copy(update={"spec": AS_MS_SWIFT_IS}),
        Defaults(image="registry.example/trainer:4.6"),
    ),
    "sample-7b-fast": (sample("sftrun-7b-fast"), Defaults(image="registry.example/trainer:4.6")),
    "sample-7b-with-defaults": (SEVEN_B, defaults_of(DEFAULTS)),
    "shared-volumes": (run_of(SHARED_VOLUMES), Defaults()),
    "platform": (run_of(PLATFORM), Defaults()),
    "two-nodes": (run_of(TWO_NODES), Defaults()),
}


@pytest.mark.parametrize("name", CASES)
def test_children(name: str) -> None:
    run, defaults = CASES[name]
    children = children_of(run, defaults)
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(yaml.safe_dump_all(children, sort_keys=False, width=120, allow_unicode=True), "utf-8")
    assert children == list(yaml.safe_load_all(path.read_text("utf-8")))


@pytest.mark.parametrize("name", CASES)
def test_same_input_same_bytes_and_the_input_stays_as_it_is(name: str) -> None:
    run, defaults = CASES[name]
    before = copy.deepcopy(run.model_dump())
    first, second = (yaml.safe_dump_all(children_of(run, defaults), sort_keys=False) for _ in range(2))
    assert first == second
    assert run.model_dump() == before
