"""Adapters that the pods of vLLM's own server follow: told by a ConfigMap, without a revision, and back by reports."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swiftop import names
from swiftop.errors import Transient
from swiftop.runner.serve import declared
from tests.engine.fakecluster import Fault
from tests.engine.kubernetes import NAMESPACE
from tests.engine.served import Object, Served, run_of, served, serving
from tests.engine.test_served_gate import fail

NAME = "chat-mdep-adapters"
LIVE: Object = {"engine": "vllm", "server": "Native", "runtime": {"image": "x/y:1"}}
ON_CLAIM = {"name": "ada", "persistentVolumeClaim": {"claimName": "adapters", "path": "ada"}}
OTHER = {"name": "bob", "persistentVolumeClaim": {"claimName": "adapters", "path": "bob"}}
OF_RUN = {"name": "tuned", "sftRunRef": {"name": "tiny"}}


def config_map(harness: Served) -> Object:
    return harness.cluster.find(names.CONFIG_MAP, NAME)


def file_of(harness: Served, revision: str = "") -> list[Object]:
    """What the pods of a revision are told, the newest by default."""
    made = harness.replicas.deployment["metadata"]["annotations"][names.ANNOTATION_DIGEST]
    found: list[Object] = json.loads(config_map(harness)["data"][f"{revision or made}.json"])["adapters"]
    return found


def digest_of(harness: Served) -> str:
    made = harness.replicas.deployment["metadata"]["annotations"][names.ANNOTATION_DIGEST]
    return declared.digest(config_map(harness)["data"][f"{made}.json"].encode())


async def say(harness: Served, **told: Any) -> None:
    """All replicas have taken what they are told."""
    known = {"phase": 2, "names": 2, "answering": 2, "adapters": digest_of(harness)}
    harness.replicas.say(**{**known, **told})
    await harness.settle()


async def live(harness: Served, *adapters: Object, **spec: Any) -> Served:
    await serving(harness, **LIVE, adapters=list(adapters), **spec)
    await say(harness)
    harness.cluster.calls.clear()
    return harness


def writes(harness: Served) -> list[tuple[str, str]]:
    """Of children."""
    found = [(verb, kind) for verb, kind, _ in harness.cluster.writes if verb not in ("patch_status", "event")]
    harness.cluster.calls.clear()
    return found


async def test_an_adapter_that_comes_or_goes_changes_the_config_map_alone(harness: Served) -> None:
    await live(harness, ON_CLAIM)
    template = harness.replicas.deployment
    assert harness.told("AdaptersLoaded")[:2] == ("True", "AdaptersLoaded")
    await harness.edit(adapters=[ON_CLAIM, OTHER])
    assert writes(harness) == [("apply", "ConfigMap")]
    assert [one["name"] for one in file_of(harness)] == ["ada", "bob"]
    assert harness.replicas.deployment == template
    await harness.edit(adapters=[OTHER])
    assert writes(harness) == [("apply", "ConfigMap")]
    assert [one["path"] for one in file_of(harness)] == ["/models/adapters/bob"]
    assert harness.replicas.deployment == template
    for restart in (False, True):
        if restart:
            harness.restart()
        await harness.settle()
        assert [write for write in writes(harness) if write[0] != "create"] == []  # the runner, once per process


async def test_a_newer_result_of_a_run_is_told_to_the_pods_that_run(harness: Served) -> None:
    harness.cluster.put(run_of())
    await live(harness, OF_RUN)
    template, before = harness.replicas.deployment, file_of(harness)
    assert before[0]["path"] == "/swiftop/source/tiny-output/tiny-0/checkpoint-20"
    await harness.put(run_of(checkpoint={"step": 40}))
    assert writes(harness) == [("apply", "ConfigMap")]
    assert file_of(harness)[0]["path"] == "/swiftop/source/tiny-output/tiny-0/checkpoint-40"
    assert harness.replicas.deployment == template
    (source,) = harness.status["resolved"]["sources"]
    assert source["path"] == "tiny-0/checkpoint-40"
    # What was found stays when the run goes, and by follow: false.
    await harness.edit(rollout={"follow": False})
    await harness.put(run_of(checkpoint={"step": 60}))
    assert file_of(harness)[0]["path"].endswith("checkpoint-40")
    harness.cluster.remove(names.SFTRUN, NAMESPACE, "tiny")
    harness.restart()
    await harness.settle()
    assert file_of(harness)[0]["path"].endswith("checkpoint-40")
    assert harness.told("ModelReady")[:2] == ("True", "SourceDeleted")
    harness.cluster.remove(names.CONFIG_MAP, NAMESPACE, NAME)
    await harness.settle()
    assert file_of(harness)[0]["path"].endswith("checkpoint-40")


async def test_they_are_loaded_once_each_replica_says_so(harness: Served) -> None:
    await live(harness, ON_CLAIM, replicas=2)
    await harness.edit(adapters=[ON_CLAIM, OTHER])
    said = "0 of 2 replicas have the adapters of the spec"
    assert harness.told("AdaptersLoaded") == ("Unknown", "RollingOut", said)
    assert harness.told("Progressing") == ("True", "RollingOut", said)
    assert harness.told("Ready")[:2] == ("True", "Answering")
    assert (harness.status["state"], harness.status["servedNames"]) == ("Ready", ["chat", "ada", "bob"])
    first, second = (pod["metadata"]["uid"] for pod in harness.replicas.pods)
    old = harness.readings.by_pod[second]
    await say(harness, names=3, answering=3)
    harness.readings.by_pod[second] = old
    await harness.settle()
    assert harness.told("AdaptersLoaded")[2] == "1 of 2 replicas have the adapters of the spec"
    harness.readings.by_pod[second] = harness.readings.by_pod[first]
    await harness.settle()
    assert harness.told("AdaptersLoaded")[:2] == ("True", "AdaptersLoaded")
    assert harness.told("Progressing")[:2] == ("True", "RolledOut")


async def test_one_that_cannot_be_taken_is_named_and_what_served_goes_on(harness: Served) -> None:
    await live(harness, ON_CLAIM)
    await harness.edit(adapters=[ON_CLAIM, OTHER])
    await say(harness, names=3, answering=2, badAdapter="bob", badAdapterWhy="RankTooHigh")
    assert harness.told("AdaptersLoaded")[:2] == ("False", "AdapterNotLoaded")
    assert "adapter bob" in harness.told("AdaptersLoaded")[2]
    assert harness.told("Progressing")[:2] == ("False", "AdapterNotLoaded")
    assert harness.told("Ready")[:2] == ("True", "Answering")
    # What is said of it does not count any more once the spec has changed.
    await harness.edit(adapters=[ON_CLAIM])
    assert harness.told("AdaptersLoaded")[:2] == ("Unknown", "RollingOut")
    await say(harness)
    assert harness.told("AdaptersLoaded")[:2] == ("True", "AdaptersLoaded")


@pytest.mark.parametrize("late", [False, True])
async def test_an_old_report_says_nothing_of_what_was_not_written(harness: Served, late: bool) -> None:
    await live(harness, ON_CLAIM)
    fault = Fault(Transient("500"), late=late)
    harness.cluster.fault = lambda verb, kind: fault if (verb, kind) == ("apply", "ConfigMap") else None
    harness.cluster.put({**harness.run, "spec": {**harness.run["spec"], "adapters": [OTHER]}})
    with pytest.raises(Transient):
        await harness.look()
    assert harness.told("AdaptersLoaded")[0] == "Unknown"
    assert harness.told("Progressing")[:2] == ("True", "RollingOut")


@pytest.mark.parametrize("what", ["edited", "deleted"])
async def test_what_somebody_does_to_the_config_map_is_repaired(harness: Served, what: str) -> None:
    await live(harness, ON_CLAIM)
    wanted = config_map(harness)["data"]
    if what == "deleted":
        harness.cluster.remove(names.CONFIG_MAP, NAMESPACE, NAME)
    else:
        key = next(iter(wanted))
        harness.cluster.put({**config_map(harness), "data": {key: "{", "theirs": "x"}})
        wanted = {**wanted, "theirs": "x"}
    await harness.settle()
    assert config_map(harness)["data"] == wanted
    assert writes(harness) == [("apply", "ConfigMap")]


async def test_a_foreign_config_map_of_that_name_is_left_alone(harness: Served) -> None:
    foreign = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": NAMESPACE}}
    harness.cluster.put({**foreign, "data": {"a": "b"}})
    await harness.put(served(**LIVE, adapters=[ON_CLAIM]))
    assert harness.told("Ready")[:2] == ("False", "NameConflict")
    assert config_map(harness)["data"] == {"a": "b"}


async def test_pods_of_an_older_revision_keep_what_they_were_told(harness: Served) -> None:
    await live(harness, ON_CLAIM)
    old = harness.status["serving"]["revision"]
    await harness.edit(adapters=[OTHER], system="Be brief.")
    assert [one["name"] for one in file_of(harness, old)] == ["ada"]
    assert [one["name"] for one in file_of(harness)] == ["bob"]
    await harness.start()
    assert len(config_map(harness)["data"]) == 1  # with the last pod goes what it was told
    await say(harness)
    harness.cluster.calls.clear()
    await harness.settle()
    assert harness.cluster.writes == []


async def test_the_config_map_goes_with_the_last_pod_that_follows_it(harness: Served) -> None:
    await live(harness, ON_CLAIM)
    await harness.edit(server="Swift")
    assert [one["name"] for one in file_of(harness, harness.status["serving"]["revision"])] == ["ada"]
    assert [one["name"] for one in harness.plan["settings"]["adapters"]] == ["ada"]
    await harness.start()
    assert [one["metadata"]["name"] for one in harness.cluster.of_kind(names.CONFIG_MAP)] != [NAME]
    assert (names.CONFIG_MAP.kind, NAMESPACE, NAME) not in harness.cluster.objects


async def test_a_revision_that_fails_its_gate_leaves_the_older_pods_what_they_follow(harness: Served) -> None:
    gate = {"gate": {"prompts": [{"prompt": "Who?", "contains": "swift"}]}}
    await live(harness, ON_CLAIM, rollout=gate)
    old = harness.status["serving"]["revision"]
    known = harness.replicas.pods
    await harness.edit(adapters=[OTHER], system="Be brief.")
    await fail(harness, known)
    harness.replicas.act()
    await harness.settle()
    assert harness.told("Progressing")[:2] == ("False", "GateFailed")
    assert harness.replicas.deployment["metadata"]["annotations"][names.ANNOTATION_DIGEST] == old
    assert [one["name"] for one in file_of(harness)] == ["ada"]


@pytest.mark.parametrize(
    "adapters",
    [
        [],
        [ON_CLAIM, {**OTHER, "persistentVolumeClaim": {"claimName": "others", "path": "bob"}}],
        [ON_CLAIM, {**OTHER, "rank": 64}],
        [ON_CLAIM, {"name": "hub", "id": "me/hub"}],
        [{**ON_CLAIM, "name": f"a{number}"} for number in range(5)],
    ],
)
async def test_what_the_start_of_the_engine_needs_is_a_new_revision(harness: Served, adapters: list[Object]) -> None:
    await live(harness, ON_CLAIM)
    before = harness.status["serving"]["revision"]
    await harness.edit(adapters=adapters)
    assert ("apply", "Deployment") in writes(harness)
    await harness.start()
    assert harness.status["serving"]["revision"] != before
