"""What is said of replicas, out of facts alone."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop import names
from swiftop.kinds.modeldeployment import own_server
from swiftop.model.facts import Cause, DeploymentFacts, Ended, Outcome, PodFacts, Withdrawn
from swiftop.model.verdict import Apply, Blocked, Phase, Serving, Waiting, Withdraw
from swiftop.observe.deployments import deployment_facts
from swiftop.reasons import ConditionType
from swiftop.runner.serve import choice
from swiftop.serving.conditions import COMMON, aspects_of
from swiftop.serving.decide import Situation, Sources, decide, serving
from swiftop.serving.observe import Observed, Replica
from swiftop.serving.status import SERVER_WHY, _serving

NEW, OLD = "new", "old"


def deployment(**facts: Any) -> DeploymentFacts:
    known = {"name": "d", "uid": "d", "owner_uid": "o", "digest": NEW, "seen": True, "wanted": 1}
    return DeploymentFacts(**{**known, **facts})


def pod(name: str = "p", *, revision: str = NEW, **facts: Any) -> PodFacts:
    known = {"name": name, "uid": name, "index": 0, "created": "", "phase": "Running", "scheduled": True}
    return PodFacts(**{**known, "revision": revision, "running_since": "2026-01-01T00:00:00Z", **facts})


def observed(*replicas: Replica, obstacle: Cause | None = None, **facts: Any) -> Observed:
    return Observed(deployment(**facts), replicas, obstacle)


def died(reason: str, **facts: Any) -> PodFacts:
    outcome = Outcome(outcome="failed", reason=reason, message="it said so")
    end = Ended(exit_code=4, reason="Error", message="", started="", finished="", outcome=outcome)
    return pod(**{"running_since": "", "before": end, "restarts": 1, **facts})


ANSWERS = Replica(pod(ready=True))
LOADING = Replica(pod(), {"phase": 1})


@pytest.mark.parametrize(
    ("seen", "ready", "reason", "failing", "stalled"),
    [
        (observed(ANSWERS), True, "", False, False),
        (observed(LOADING), False, "Loading", False, False),
        (observed(Replica(pod(), {"phase": 4})), False, "Draining", False, False),
        (observed(Replica(pod(), {"phase": 3})), False, "NotAnswering", False, False),
        (observed(Replica(pod(scheduled=False, running_since=""))), False, "DeploymentCreated", False, False),
        (observed(Replica(pod(running_since=""))), False, "Starting", False, False),
        (observed(), False, "DeploymentCreated", False, False),
        (observed(ANSWERS, wanted=2), True, "RollingOut", False, False),
        (observed(ANSWERS, seen=False), True, "RollingOut", False, False),
        (observed(Replica(pod(ready=True, revision=OLD)), LOADING), True, "Loading", False, False),
        (observed(Replica(pod(ready=True, deleting="2026-01-01T00:00:00Z"))), False, "RollingOut", False, False),
        (observed(wanted=0), False, "", False, False),
        (observed(Replica(died("CUDAOutOfMemory"))), False, "CUDAOutOfMemory", True, False),
        (observed(Replica(died("CUDAOutOfMemory", restarts=3))), False, "CUDAOutOfMemory", True, True),
        (observed(Replica(died("CUDAOutOfMemory", running_since="x"), {"phase": 1})), False, "CUDAOutOfMemory", True,
         False),
        # What has loaded since is not blamed for how it died once.
        (observed(Replica(died("CUDAOutOfMemory", running_since="x"), {"phase": 3})), False, "NotAnswering", False,
         False),
        (observed(Replica(pod(), {"phase": 3, "badAdapter": "a"})), False, "AdapterNotLoaded", True, False),
        (observed(Replica(pod(waiting=Cause("SecretMissing", "x"), running_since=""))), False, "SecretMissing", True,
         False),
        # What keeps it from being started again is newer than how it ended.
        (observed(Replica(died("CUDAOutOfMemory", waiting=Cause("SecretMissing", "x")))), False, "SecretMissing", True,
         False),
        (observed(Replica(pod(running_since="")), obstacle=Cause("VolumeMountFailed", "x")), False,
         "VolumeMountFailed", True, False),
        (observed(refused="exceeded quota: x"), False, "QuotaExceeded", False, False),
        (observed(LOADING, overdue=True), False, "RolloutOverdue", True, True),
        (observed(Replica(pod(ready=True, revision=OLD)), LOADING, overdue=True), True, "RolloutOverdue", True, True),
    ],
)  # fmt: skip
def test_what_is_said(seen: Observed, ready: bool, reason: str, failing: bool, stalled: bool) -> None:
    assert seen.deployment is not None
    found = serving(seen.deployment, seen)
    assert (found.ready, found.rollout.reason if found.rollout else "", found.failing, found.stalled) == (
        ready, reason, failing, stalled,
    )  # fmt: skip


def test_the_worst_of_several_is_told() -> None:
    found = serving(deployment(wanted=2), observed(LOADING, Replica(died("LossNaN", restarts=5)), wanted=2))
    assert found.rollout is not None
    assert found.rollout.reason == "LossNaN"
    assert "(restarted 5 times)" in found.rollout.message


def test_what_the_kubelet_alone_tells_has_advice_of_this_kind() -> None:
    end = Ended(exit_code=137, reason="OOMKilled", message="", started="", finished="")
    found = serving(deployment(), observed(Replica(pod(running_since="", before=end, restarts=1))))
    assert found.rollout is not None
    assert (found.rollout.reason, "training" in found.rollout.suggestion) == ("HostOutOfMemory", False)


def test_a_revision_is_taken_back_to_the_one_that_answers() -> None:
    failed = Replica(died("GateFailed"))
    seen = observed(failed, Replica(pod("a", revision="broken")), Replica(pod("b", revision=OLD, ready=True)))
    verdict = decide(Situation(sources=Sources(revision=NEW), observed=seen))
    assert verdict.actions == (Withdraw("d", NEW, OLD, "it said so"),)
    assert isinstance(verdict.outlook, Serving)
    assert (verdict.outlook.ready, verdict.outlook.failing, verdict.outlook.stalled) == (True, True, True)


@pytest.mark.parametrize(
    "seen",
    [
        observed(Replica(died("GateFailed")), rolled_out=True),
        observed(Replica(died("GateFailed")), Replica(pod("b", ready=True)), wanted=2),
        observed(Replica(died("GateFailed")), digest=OLD),  # another one is asked for by now
        observed(Replica(died("EngineDead"))),
    ],
)
def test_nothing_else_is_taken_back(seen: Observed) -> None:
    verdict = decide(Situation(sources=Sources(revision=NEW), observed=seen))
    assert all(isinstance(action, Apply) for action in verdict.actions)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"revision": "a", "message": "b\\u001b"}', Withdrawn("a", "b")),
        ("", None),
        ("{", None),
        ("[" * 100_000, None),
        ("[]", None),
        ('{"revision": 3, "message": "b"}', None),
        ('{"revision": "a"}', None),
    ],
)
def test_what_somebody_wrote_over_the_mark_is_as_if_it_was_not_there(text: str, found: Withdrawn | None) -> None:
    meta = {"name": "d", "annotations": {names.ANNOTATION_WITHDRAWN: text}}
    assert deployment_facts({"metadata": meta}).withdrawn == found


WAITS = Waiting(Phase.PENDING, Cause("SourcePending", "not yet"))


def test_nothing_is_made_before_its_sources_are_there() -> None:
    verdict = decide(Situation(sources=Sources(missing=WAITS), observed=Observed()))
    assert (verdict.outlook, verdict.actions) == (WAITS, ())


def test_what_serves_goes_on_while_a_source_of_an_edit_is_missing() -> None:
    verdict = decide(Situation(sources=Sources(missing=WAITS), observed=observed(ANSWERS)))
    assert isinstance(verdict.outlook, Serving)
    assert (verdict.outlook.ready, verdict.outlook.rollout, verdict.actions) == (True, WAITS.cause, ())


def test_what_cannot_be_read_changes_nothing() -> None:
    unreadable = Blocked(Cause("InvalidSpec", "no"), stalled=True)
    verdict = decide(Situation(unreadable=unreadable, observed=observed(ANSWERS)))
    assert isinstance(verdict.outlook, Serving)
    assert (verdict.outlook.ready, verdict.outlook.stalled, verdict.actions) == (True, True, ())
    assert decide(Situation(unreadable=unreadable, observed=Observed())).outlook == unreadable


@pytest.mark.parametrize(
    ("seen", "live"),
    [(Observed(), True), (observed(ANSWERS), False), (observed(ANSWERS, digest=OLD), True)],
)
def test_a_new_revision_is_made_of_what_is_read_live(seen: Observed, live: bool) -> None:
    assert decide(Situation(sources=Sources(revision=NEW), observed=seen)).actions == (Apply(NEW, live=live),)


@pytest.mark.parametrize(
    "outlook",
    [
        WAITS,
        Blocked(Cause("UnknownFlag", "x"), stalled=True),
        Serving(True, Cause("Answering", "x")),
        Serving(False, Cause("Loading", "x"), rollout=Cause("Loading", "x")),
        Serving(True, Cause("Answering", "x"), rollout=Cause("UnknownFlag", "x"), failing=True, stalled=True),
    ],
)
def test_every_condition_has_a_reason_whatever_is_said(outlook: Any) -> None:
    aspects = aspects_of(outlook, before={}, revision=NEW, warning="mind this")
    assert aspects.keys() == set(COMMON)
    assert all(aspect.reason for aspect in aspects.values())
    stalled, reconciling = aspects[ConditionType.STALLED], aspects[ConditionType.RECONCILING]
    assert (stalled.status, reconciling.status) != ("True", "True")
    valid = aspects[ConditionType.VALIDATED]
    assert valid.message == ("mind this" if valid.status == "True" else "x")


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"server": "Native", "serverWhy": "TemplateEqual"}, ("Native", "TemplateEqual", "prompts of the training")),
        ({"server": "Swift", "serverWhy": "TemplateDiffers"}, ("Swift", "TemplateDiffers", "would give other prompts")),
        ({"server": "Swift", "serverWhy": "Later"}, ("Swift", "Later", "its log tells why")),
    ],
)
def test_whose_server_answers_and_why_is_told(told: dict[str, Any], said: tuple[str, str, str]) -> None:
    older = Replica(pod("o", ready=True, revision=OLD), {"server": "Swift", "serverWhy": "Asked"})
    found = _serving(observed(older, Replica(pod(ready=True), told)))
    assert found is not None
    assert (found["server"], found["serverReason"]) == said[:2]
    assert said[2] in found["serverMessage"]
    assert "server" not in (_serving(observed(ANSWERS)) or {})


def test_each_word_for_the_choice_of_a_server_is_explained() -> None:
    """They are the pod's own and those that the operator gives it."""
    of_the_pod = {choice.ASKED, choice.EQUAL, choice.MADE_EQUAL, choice.DIFFERS, choice.UNKNOWN}
    assert SERVER_WHY.keys() == of_the_pod | {own_server.NO_OWN_SERVER, own_server.SWIFT_FLAGS}
