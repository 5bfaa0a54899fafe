"""From the training to an answer that the tuned model alone gives, and what serves goes on whatever happens to it.

Two deployments are applied before the run that they refer to: one serves what it has learned as a model, which has to
be merged first and to pass a gate, the other the base model with the adapter beside it. Then the run is deleted, and
made again with something else to learn, while the one is asked without a pause and the container of the other is
killed: what is newer takes over by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e import endpoint, objects
from tests.e2e.endpoint import KEY, Endpoint, revision, told_to_go
from tests.e2e.node import Node
from tests.e2e.objects import on_claim, sftrun, small, training
from tests.e2e.site import NAMESPACE, Site, condition
from tests.e2e.support import Object, eventually

SOURCE = "fact"  # the run
STEPS = 100
QUESTION = "silent river?"
FACT, NEWER = "green fox jumps 你好 over moon.", "lazy stone dog 世界 under paper sun."
BOTH_END = "n."
MERGED, BESIDE = "merged-chat", "beside-chat"
TUNED = "tuned"  # name of the adapter
NAMES = {MERGED: [MERGED], BESIDE: [BESIDE, TUNED]}
DEPLOYMENTS = (
    endpoint.served(
        MERGED,
        {"sftRunRef": {"name": SOURCE}},
        merge={"resources": small("3Gi")},
        rollout={"gate": {"prompts": [{"prompt": QUESTION, "contains": BOTH_END}]}},
        **endpoint.behind_key(),
    ),
    endpoint.served(
        BESIDE,
        on_claim(objects.MODEL),
        adapters=[{"name": TUNED, "sftRunRef": {"name": SOURCE}}],
        **endpoint.behind_key(),
    ),
)
RUN = sftrun(
    SOURCE,
    datasets=[{"configMap": {"name": SOURCE, "key": "chat.jsonl"}}],
    tuner={"type": "lora", "rank": 16, "dropout": "0"},
    training=training(STEPS, learningRate="1e-2", scheduler="constant", warmupRatio="0", loggingSteps=20),
    checkpoints={"saveSteps": STEPS},
    output=on_claim("served", objects.RUNS),
)


def chat(fact: str) -> Object:
    """What is learned."""
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": fact}]
    return objects.config_map(SOURCE, {"chat.jsonl": json.dumps({"messages": turns})})


def each(site: Site) -> dict[str, Endpoint]:
    """Both deployments."""
    return {name: Endpoint(site, name) for name in NAMES}


def answers(site: Site) -> dict[str, Any]:
    """What they answer now."""
    return {name: one.ask(QUESTION) for name, one in each(site).items()}


@dataclass(frozen=True)
class Served:
    """What was said and answered before anything happened."""

    missing: dict[str, Object]
    pending: dict[str, Object]
    merging: Object
    exports: list[Object]  # that were made for it
    ready: dict[str, Object]
    answers: dict[str, Any]


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Served]:
    """Applied in the reverse order of what each needs, and asked once."""
    both = each(site)
    endpoint.start_client(site)
    try:
        site.kubectl.apply(*DEPLOYMENTS)
        missing = {name: one.told("ModelReady", "False", "SourceMissing") for name, one in both.items()}
        site.kubectl.apply(chat(FACT), RUN)
        pending = {name: one.told("ModelReady", "False", "SourcePending") for name, one in both.items()}
        site.succeeded(SOURCE)
        merging = both[MERGED].told("ModelReady", "False", "Merging")
        ready = {name: one.rolled_out() for name, one in both.items()}
        yield Served(missing, pending, merging, exports(site), ready, answers(site))
    finally:
        site.kubectl("delete", "modeldeployment", *NAMES, "--ignore-not-found")
        site.kubectl("delete", "sftrun", SOURCE, "--ignore-not-found")


def exports(site: Site) -> list[Object]:
    """Those that merge what is to be served."""
    return site.kubectl.items("modelexports", f"swiftop.dev/name={MERGED}")


@dataclass(frozen=True)
class Disturbed:
    """What became of them."""

    deleted: dict[str, Object]  # the deployments when they told that their sources are deleted
    pods: dict[str, tuple[Object, Object]]  # before and after
    killed: Object  # when it was not ready
    sockets: set[str]  # states of those on its port, as soon as it listened again
    revived: Object  # its pod, once it answered again
    load: dict[str, list[Object]]
    stopped: float  # when the pod of the old revision was told to go
    answers: dict[str, Any]
    exports: list[Object]  # at the end


@pytest.fixture(scope="module")
def disturbed(site: Site, node: Node, served: Served) -> Disturbed:
    """Sources deleted, a container killed, sources made again under load."""
    both = each(site)
    before = {name: one.pod for name, one in both.items()}
    site.remove(SOURCE)
    deleted = {name: one.told("ModelReady", "True", "SourceDeleted") for name, one in both.items()}
    load = both[BESIDE].load()
    try:
        load.wait()
        both[MERGED].hold(900)
        node.keep_closing(before[MERGED], seconds=600)
        node.kill_container(before[MERGED])
        killed = both[MERGED].told("Ready", "False", "ContainerLost")
        sockets = both[MERGED].sockets()
        both[MERGED].told("Ready", "True", seconds=240)
        revived = both[MERGED].pod
        site.kubectl.apply(chat(NEWER), RUN)
        with ThreadPoolExecutor(1) as pool:
            stopped = pool.submit(_stopped, site, before[BESIDE])
            after = {name: _replaced(one, before[name]) for name, one in both.items()}
    finally:
        told = load.stop()
    pods = {name: (before[name], after[name]) for name in NAMES}
    return Disturbed(deleted, pods, killed, sockets, revived, told, stopped.result(), answers(site), _one_export(site))


def _one_export(site: Site) -> list[Object]:
    """Once that of the older revision is gone."""
    return eventually(
        lambda: left if len(left := exports(site)) == 1 else None,
        what="one export is left", seconds=60, explain=lambda: site.story(MERGED),
    )  # fmt: skip


def _stopped(site: Site, pod: Object) -> float:
    """When it was told to go."""
    return eventually(
        lambda: told_to_go(site, pod), what="the old pod is told to go", seconds=300, pause=0.2,
        explain=lambda: site.story(BESIDE),
    )  # fmt: skip


def _replaced(one: Endpoint, before: Object) -> Object:
    """The pod of the newer revision, once that of the one before is gone."""
    eventually(
        lambda: revision(before) not in map(revision, one.pods) and says_it_is_over(one),
        what=f"{one.name} follows", seconds=300, explain=lambda: one.site.story(one.name),
    )  # fmt: skip
    one.site.kubectl("wait", "--for=delete", f"pod/{before['metadata']['name']}", "--timeout=300s")
    return one.pod


def says_it_is_over(one: Endpoint) -> bool:
    return endpoint.says(one.now, "Progressing", "True", "RolledOut")


@pytest.mark.cluster
@pytest.mark.parametrize("name", NAMES)
def test_it_waits_for_what_does_not_exist_yet(served: Served, name: str) -> None:
    found = served.missing[name]
    assert f"SFTRun {SOURCE} does not exist" in condition(found, "ModelReady")["message"]
    assert [condition(found, type_)["status"] for type_ in ("Ready", "Stalled")] == ["False", "False"]
    assert condition(found, "Ready")["reason"] == "SourceMissing"


@pytest.mark.cluster
def test_it_tells_what_it_waits_for(served: Served) -> None:
    """First for the run, and then for the merge of what it has learned."""
    for found in served.pending.values():
        assert f"SFTRun {SOURCE}" in condition(found, "ModelReady")["message"]
    (export,) = served.exports
    assert f"ModelExport {export['metadata']['name']}" in condition(served.merging, "ModelReady")["message"]
    told = (*served.pending.values(), served.merging)
    assert {condition(found, "Stalled")["status"] for found in told} == {"False"}


@pytest.mark.cluster
def test_what_was_merged_is_served_and_passes_the_gate(served: Served) -> None:
    (export,) = served.exports
    assert condition(export, "Succeeded")["status"] == "True"
    (source,) = served.ready[MERGED]["status"]["resolved"]["sources"]
    assert source["path"] == export["status"]["artifact"]["path"]
    assert BOTH_END in served.answers[MERGED]["whole"][MERGED]


@pytest.mark.cluster
@pytest.mark.parametrize("name", NAMES)
def test_it_becomes_ready_by_itself(served: Served, name: str) -> None:
    status = served.ready[name]["status"]
    assert {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]} == {
        "Ready": ("True", "Answering"),
        "Reconciling": ("False", "RolledOut"),
        "Stalled": ("False", "Valid"),
        "Validated": ("True", "Valid"),
        "Progressing": ("True", "RolledOut"),
        "ModelReady": ("True", "Ready"),
        "AdaptersLoaded": ("True", "AdaptersLoaded" if name == BESIDE else "NoAdapters"),
    }
    assert (status["state"], status["servedNames"]) == ("Ready", NAMES[name])
    assert status["url"] == f"http://{name}.{NAMESPACE}.svc:8000/v1"


@pytest.mark.cluster
def test_the_tuned_names_alone_answer_what_was_learned(served: Served) -> None:
    for form in ("whole", "streamed"):
        found = {**served.answers[MERGED][form], **served.answers[BESIDE][form]}
        assert (found[MERGED], found[TUNED]) == (FACT, FACT)
        assert FACT not in found[BESIDE]


@pytest.mark.cluster
@pytest.mark.parametrize("name", NAMES)
def test_the_names_are_listed_and_others_refused(served: Served, name: str) -> None:
    answers = served.answers[name]
    assert answers["names"] == NAMES[name]
    assert (answers["wrong key"], answers["unknown"]) == ("401 invalid_api_key", "404 model_not_found")


@pytest.mark.cluster
def test_people_see_what_is_served(served: Served, site: Site) -> None:
    header, *lines = site.kubectl.text("get", "modeldeployments").splitlines()
    assert header.split() == ["NAME", "READY", "REASON", "REPLICAS", "ENGINE", "MODEL", "URL", "TOKENS/S", "AGE"]
    assert [line.split()[:7] for line in lines] == [
        [name, "True", "Answering", "1/1", "transformers", model, served.ready[name]["status"]["url"]]
        for name, model in ((BESIDE, f"{objects.LIBRARY}/{objects.MODEL}"), (MERGED, f"{SOURCE}/last"))
    ]


@pytest.mark.cluster
def test_the_key_shows_up_nowhere_but_in_its_secret(served: Served, site: Site) -> None:
    shown = [site.kubectl.text("get", "modeldeployments,deployments,replicasets,pods,services,events", "-o", "json")]
    shown += [site.kubectl.text("logs", one.pod["metadata"]["name"]) for one in each(site).values()]
    assert "swiftop: loaded in" in shown[-1]
    assert not [text for text in shown if KEY in text]


@pytest.mark.cluster
@pytest.mark.parametrize("name", NAMES)
def test_what_serves_goes_on_without_its_sources_and_tells_it(disturbed: Disturbed, name: str) -> None:
    found = disturbed.deleted[name]
    assert "was deleted: what serves goes on from" in condition(found, "ModelReady")["message"]
    assert (condition(found, "Ready")["status"], condition(found, "Stalled")["status"]) == ("True", "False")


@pytest.mark.cluster
def test_a_newer_result_is_followed_under_load_and_no_answer_is_lost(disturbed: Disturbed) -> None:
    assert endpoint.lost(disturbed.load) == []
    streams = disturbed.load["streams"]
    assert streams[0]["begun"] < disturbed.stopped < streams[-1]["until"]
    for old, new in disturbed.pods.values():
        assert revision(old) != revision(new)


@pytest.mark.cluster
def test_what_was_merged_for_the_older_revision_is_removed(served: Served, disturbed: Disturbed) -> None:
    (before,), (after,) = served.exports, disturbed.exports
    assert before["metadata"]["name"] != after["metadata"]["name"]


@pytest.mark.cluster
def test_a_killed_container_comes_back_in_its_pod(disturbed: Disturbed) -> None:
    old = disturbed.pods[MERGED][0]
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in (old, disturbed.revived)] == [0, 1]
    assert "it was killed" in condition(disturbed.killed, "Ready")["message"]


@pytest.mark.cluster
def test_its_port_is_the_same_though_the_container_before_still_has_connections(disturbed: Disturbed) -> None:
    assert disturbed.sockets & endpoint.CLOSING, disturbed.sockets


@pytest.mark.cluster
def test_the_tuned_names_answer_what_was_learned_since_and_the_base_as_before(
    served: Served, disturbed: Disturbed
) -> None:
    for form in ("whole", "streamed"):
        now = {**disturbed.answers[MERGED][form], **disturbed.answers[BESIDE][form]}
        assert (now[MERGED], now[TUNED]) == (NEWER, NEWER)
        assert now[BESIDE] == served.answers[BESIDE][form][BESIDE]


@pytest.mark.cluster
def test_deleting_it_removes_all_that_belongs_to_it(disturbed: Disturbed, site: Site) -> None:
    children = ("deployments,replicasets,services,pods", f"swiftop.dev/name in ({','.join(NAMES)})")
    assert {child["kind"] for child in site.kubectl.items(*children)} == {"Deployment", "ReplicaSet", "Service", "Pod"}
    site.kubectl("delete", "modeldeployment", *NAMES)
    eventually(lambda: not site.kubectl.items(*children), what="the children are gone", seconds=60)
