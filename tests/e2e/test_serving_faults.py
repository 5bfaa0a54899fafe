"""What may happen to what serves, each with its own word and a suggestion that mends it; see ``serving_faults``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e import endpoint
from tests.e2e.node import Node
from tests.e2e.serving_faults import (
    HUNG,
    KEPT,
    LOST,
    PAIR,
    QUESTION,
    UNFIT,
    Faults,
    Seen,
    all_of,
)
from tests.e2e.site import Site, condition
from tests.e2e.stories import History, reasons, watch
from tests.e2e.support import Object


@dataclass(frozen=True)
class Played:
    """The stories at their end."""

    seen: Seen
    history: History

    def told(self, what: str, type_: str) -> tuple[str, str]:
        """Status and message of a condition at that moment."""
        found = condition(self.seen.states[what], type_)
        return found["status"], found["message"]

    def reasons(self, name: str, type_: str = "Ready") -> list[str]:
        """Those that a condition had, from the first time on that all was well."""
        states = self.history[name]
        first = next(number for number, state in enumerate(states) if condition(state, "Ready")["status"] == "True")
        return reasons(states[first:], type_)


@pytest.fixture(scope="module")
def played(site: Site, node: Node) -> Iterator[Played]:
    """All of them at once."""
    faults = Faults(site, node)
    endpoint.start_client(site)
    faults.prepare()
    try:
        yield Played(faults.seen, watch(site, all_of(faults), lambda: (), seconds=600))
    finally:
        site.kubectl("delete", "modeldeployment", KEPT, HUNG, UNFIT, LOST, PAIR, "--ignore-not-found")


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("reason", "what", "told", "advice"),
    [
        ("HostOutOfMemory", "without memory", "more memory than its limit", "Raise resources.memory"),
        ("GateFailed", "that is shut out", "what it was never taught", "rollout.gate"),
    ],
)
def test_a_newer_revision_that_fails_leaves_the_older_one_serving(
    played: Played, reason: str, what: str, told: str, advice: str
) -> None:
    state = f"{KEPT} {reason}"
    status, message = played.told(state, "Progressing")
    assert status == "False"
    assert told in message
    assert advice in message
    assert played.told(state, "Ready") == ("True", "1 of 1 replicas answer")
    serving = played.seen.states[state]["status"]["serving"]
    assert serving["revision"] in played.told(f"{KEPT} RolledOut", "Progressing")[1]
    assert serving.get("nextRevision") != serving["revision"]
    assert played.seen.answers[f"kept, beside a revision {what}"]["names"] == [KEPT]


@pytest.mark.cluster
def test_what_serves_was_ready_all_the_time(played: Played) -> None:
    assert played.reasons(KEPT) == ["Answering", "ScaledToZero"]


@pytest.mark.cluster
def test_it_is_scaled_like_any_workload(played: Played) -> None:
    grown, gone = played.seen.states[f"{KEPT} 1/2"], played.seen.states[f"{KEPT} ScaledToZero"]
    assert (grown["spec"]["replicas"], condition(grown, "Ready")["status"]) == (2, "True")
    assert condition(grown, "Ready")["message"] == "1 of 2 replicas answer"
    assert gone["spec"]["replicas"] == 0
    assert "readyReplicas" not in gone["status"] or gone["status"]["readyReplicas"] == 0


@pytest.mark.cluster
def test_a_guard_that_hangs_is_started_again(played: Played) -> None:
    (ended,) = played.seen.pods["hung, ended"]["status"]["containerStatuses"]
    last = ended["lastState"]["terminated"]
    told = json.loads(last["message"])
    assert (last["exitCode"], told["reason"]) == (9, "EngineStalled")
    assert told["message"].startswith("nothing was heard of it for")
    (again,) = played.seen.pods["hung, again"]["status"]["containerStatuses"]
    assert again["restartCount"] == 1
    assert played.seen.answers["hung, again"]["names"] == [HUNG]


@pytest.mark.cluster
def test_a_secret_that_is_gone_is_told_when_it_is_needed_again(played: Played) -> None:
    """Until then what serves goes on."""
    status, message = played.told(f"{HUNG} SecretMissing", "Ready")
    assert status == "False"
    assert message.startswith("Secret served-late does not exist: make it: kubectl ")


@pytest.mark.cluster
def test_each_adapter_that_does_not_load_is_named_until_it_is_mended(played: Played) -> None:
    for name, why in (("first", "LoadFailed"), ("second", "OtherModel")):
        what = f"{UNFIT} AdapterNotLoaded {name}"
        status, message = played.told(what, "AdaptersLoaded")
        assert status == "False"
        assert message.startswith(f"adapter {name} does not load in pod {UNFIT}-mdep-")
        assert message.endswith(why)
        assert played.told(what, "Ready")[0] == "False"
        assert "fix or remove it in spec.adapters" in played.told(what, "Progressing")[1]
    assert played.told(f"{UNFIT} RolledOut", "AdaptersLoaded")[0] == "True"
    answers = played.seen.answers["unfit, mended"]["whole"]
    assert set(answers) == {UNFIT, "first", "second"}
    assert len(set(answers.values())) == 3, QUESTION


@pytest.mark.cluster
def test_a_model_that_is_not_there_is_told_with_its_folder(played: Played) -> None:
    status, message = played.told(f"{LOST} ModelNotFound", "Ready")
    assert status == "False"
    assert message.startswith("the model's folder /models/library/models/nowhere does not exist")
    assert played.told(f"{LOST} RolledOut", "Ready")[0] == "True"


@pytest.mark.cluster
def test_the_number_of_replicas_is_the_autoscaler_s(played: Played) -> None:
    spec = played.seen.autoscaler["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 3)
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{LOST}-mdep"}
    assert spec["metrics"][0]["pods"]["metric"]["name"] == "swiftop_serve_in_flight"
    assert played.seen.states[f"{LOST} 1/2"]["spec"]["replicas"] == 1


@pytest.mark.cluster
def test_two_replicas_are_drained_and_updated_without_a_lost_answer(played: Played) -> None:
    load: dict[str, list[Object]] = played.seen.load
    assert endpoint.lost(load) == []
    assert len(load["streams"]) > 2
    assert set(played.reasons(PAIR)) == {"Answering"}  # from the first answer to the end, a lost node included


@pytest.mark.cluster
def test_a_node_is_drained_one_replica_at_a_time(played: Played) -> None:
    assert "disruption budget" in played.seen.refused


@pytest.mark.cluster
def test_a_replica_that_is_lost_is_made_up_for_by_the_other(played: Played) -> None:
    assert played.told(f"{PAIR} 1/2", "Ready") == ("True", "1 of 2 replicas answer")
