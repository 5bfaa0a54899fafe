"""Adapters that the pods follow: what of them makes a revision, and what the pods are told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swiftop import names
from swiftop.model.kind import Object
from tests.unit.kinds.modeldeployment.deployments import RUN, TRAINED, children_of, minimal

LIVE: dict[str, Any] = {"engine": "vllm", "server": "Native", "resources": {"gpus": 1}}
MINE = {"name": "mine", "sftRunRef": {"name": "mh-sft-7b-lora"}}


def on_claim(name: str, claim: str = "adapters", **members: Any) -> Object:
    return {"name": name, "persistentVolumeClaim": {"claimName": claim, "path": name}, **members}


def made(*adapters: Object, references: Any = None, **spec: Any) -> tuple[Object, list[Object]]:
    """The Deployment, and what its pods are told."""
    more = {} if references is None else {"references": references}
    *others, deployment = children_of(minimal(**{**LIVE, **spec}, adapters=list(adapters)), **more)
    maps = [child for child in others if child["kind"] == "ConfigMap"]
    digest = deployment["metadata"]["annotations"][names.ANNOTATION_DIGEST]
    return deployment, json.loads(maps[0]["data"][f"{digest}.json"])["adapters"] if maps else []


BEFORE = (MINE, on_claim("a", rank=8))


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ((*BEFORE, on_claim("b")), ["mine", "a", "b"]),
        ((*BEFORE, on_claim("b", rank=16), on_claim("c", rank=1)), ["mine", "a", "b", "c"]),
        (BEFORE[::-1], ["a", "mine"]),
        ((MINE, on_claim("b", rank=4)), ["mine", "b"]),
        ((MINE, on_claim("a")), ["mine", "a"]),
        (({**MINE, "name": "ours"}, on_claim("a")), ["ours", "a"]),
        (({**MINE, "sftRunRef": {"name": "mh-sft-7b-lora", "checkpoint": 100}}, on_claim("a")), ["mine", "a"]),
    ],
)
def test_a_change_of_adapters_alone_is_the_same_deployment_byte_for_byte(after: Any, told: list[str]) -> None:
    before, _ = made(*BEFORE)
    deployment, adapters = made(*after)
    assert json.dumps(deployment) == json.dumps(before)
    assert [one["name"] for one in adapters] == told


def test_so_is_a_newer_checkpoint_and_a_run_that_was_made_again() -> None:
    before, old = made(MINE)
    newer = {**TRAINED, "status": {**TRAINED["status"], "checkpoint": {"step": 600}}}
    deployment, new = made(MINE, references={RUN: newer})
    assert json.dumps(deployment) == json.dumps(before)
    assert (old[0]["path"][-3:], new[0]["path"][-3:]) == ("508", "600")
    again = {**TRAINED, "metadata": {**TRAINED["metadata"], "uid": "another"}}
    deployment, new = made(MINE, references={RUN: again})
    assert json.dumps(deployment) == json.dumps(before)
    assert (old[0]["path"], old[0]["version"] == new[0]["version"]) == (new[0]["path"], False)  # the same folder


@pytest.mark.parametrize(
    "after",
    [
        (),
        (MINE,),  # a volume less
        (*BEFORE, on_claim("b", "others")),
        (*BEFORE, on_claim("b", rank=17)),
        (*BEFORE, {"name": "hub", "id": "me/hub"}),
        (*BEFORE, on_claim("b"), on_claim("c"), on_claim("d")),  # the fifth
    ],
)
def test_what_the_start_needs_makes_a_revision(after: Any) -> None:
    before, _ = made(*BEFORE)
    deployment, _ = made(*after)
    assert deployment["metadata"]["annotations"] != before["metadata"]["annotations"]
    assert deployment["spec"]["template"] != before["spec"]["template"]


@pytest.mark.parametrize(
    "spec", [{"server": "Swift"}, {"server": "Auto"}, {"engine": "transformers", "server": "Swift"}]
)
def test_any_other_server_has_them_in_its_plan(spec: Any) -> None:
    deployment, told = made(*BEFORE, **spec)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert told == []
    assert '"name":"mine"' in container["env"][0]["value"]


@pytest.mark.parametrize(("count", "slots"), [(1, 4), (4, 4), (5, 8), (8, 8), (9, 16), (16, 16)])
def test_there_is_room_for_those_that_come(count: int, slots: int) -> None:
    deployment, _ = made(*(on_claim(f"a{number}") for number in range(count)))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    words = json.loads(container["env"][0]["value"])["settings"]["native"]
    assert words[words.index("--max-loras") + 1] == str(slots)
    assert words[words.index("--max-cpu-loras") + 1] == str(2 * slots)
    assert words[words.index("--max-lora-rank") + 1] == "16"
