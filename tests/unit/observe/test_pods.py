"""Facts of a pod out of the words of scheduler and kubelet, as the real ones say them."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop.model.facts import Cause
from swiftop.observe.pods import index_of, missing_reference, pod_facts
from swiftop.runner.report import TRAINING


def pod(**status: Any) -> dict[str, Any]:
    meta = {"name": "p", "uid": "u", "creationTimestamp": "2027-01-15T08:00:00Z"}
    return {"metadata": meta, "spec": {}, "status": status}


def unschedulable(message: str) -> Cause:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    cause = pod_facts(pod(conditions=[condition]), members=TRAINING).unschedulable
    assert cause is not None
    return cause


def init(*containers: dict[str, Any]) -> Cause | None:
    """Why a pod with these init containers does not start."""
    states = {"containerStatuses": [{"name": "swift", "state": {"waiting": {"reason": "PodInitializing"}}}]}
    whole = pod(initContainerStatuses=list(containers), **states)
    return pod_facts(whole, members=TRAINING).waiting


def waiting(reason: str, message: str) -> Cause | None:
    container = {"name": "swift", "state": {"waiting": {"reason": reason, "message": message}}}
    return pod_facts(pod(containerStatuses=[container]), members=TRAINING).waiting


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ('0/1 nodes are available: persistentvolumeclaim "x" not found.', "ClaimMissing"),
        ("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.", "VolumePending"),
        ("", "Unschedulable"),
    ],
)
def test_unschedulable(message: str, reason: str) -> None:
    assert unschedulable(message).reason == reason


def test_the_schedulers_second_thoughts_change_with_every_try_and_are_left_out() -> None:
    first = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
    told = {unschedulable(first + tail).message for tail in ("", " preemption: 0/2 nodes", " preemption: 0/3 nodes")}
    assert len(told) == 1


@pytest.mark.parametrize(
    ("reason", "message", "expected", "quoted"),
    [
        ("ErrImagePull", 'failed to resolve "docker.io/x"', "ImagePullFailed", "docker.io/x"),
        ("InvalidImageName", "couldn't parse image", "ImagePullFailed", "parse"),
        ("CreateContainerConfigError", 'secret "s" not found', "SecretMissing", "Secret s does not exist"),
        (
            "CreateContainerConfigError",
            "couldn't find key K in Secret team/s",
            "SecretKeyMissing",
            "Secret s has no key K",
        ),
        ("CreateContainerConfigError", 'configmap "c" not found', "ConfigMapMissing", "ConfigMap c"),
        ("CreateContainerConfigError", "container has runAsNonRoot", "ContainerConfigError", "runAsNonRoot"),
        ("RunContainerError", 'exec: "python": not found', "ContainerConfigError", "python"),
    ],
)
def test_a_container_that_does_not_start(reason: str, message: str, expected: str, quoted: str) -> None:
    cause = waiting(reason, message)
    assert cause is not None
    assert cause.reason == expected
    assert quoted in cause.message


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing", ""])
def test_a_container_on_its_way_is_no_cause(reason: str) -> None:
    assert waiting(reason, "") is None


def test_the_trainer_counts_and_not_its_sidecar() -> None:
    sidecar = {"name": "sidecar", "state": {"terminated": {"exitCode": 1}}}
    trainer = {"name": "swift", "state": {"running": {"startedAt": "2027-01-15T08:00:00Z"}}}
    facts = pod_facts(pod(containerStatuses=[sidecar, trainer], phase="Running"), members=TRAINING)
    assert facts.running_since
    assert not facts.over


def test_a_pod_on_a_node_is_scheduled_even_without_the_condition() -> None:
    bound = {**pod(), "spec": {"nodeName": "n"}}
    assert pod_facts(bound, members=TRAINING).scheduled


FETCHED = {"name": "fetch", "state": {"terminated": {"exitCode": 0}}, "ready": True}
FETCHES = {"name": "fetch", "state": {"running": {"startedAt": "2027-01-15T08:00:00Z"}}, "started": False}
MESH = {"name": "mesh", "state": {"running": {}}, "started": True, "ready": False}  # restartPolicy: Always
NOT_YET = {"name": "later", "state": {"waiting": {"reason": "PodInitializing"}}}


@pytest.mark.parametrize(
    ("containers", "cause"),
    [
        ((), None),
        ((FETCHED,), None),
        ((FETCHES, NOT_YET), Cause("InitContainerRunning", "init container fetch runs")),
        ((FETCHED, NOT_YET), None),
        ((MESH,), None),
        ((MESH, FETCHED), None),
        ((MESH, FETCHES), Cause("InitContainerRunning", "init container fetch runs")),
        # A sidecar that has not started keeps all others waiting.
        (({**MESH, "started": False}, NOT_YET), Cause("InitContainerRunning", "init container mesh runs")),
        (
            ({"name": "fetch", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}},),
            Cause(
                "ImagePullFailed",
                "init container fetch: the image cannot be pulled: no such image",
                "check the image of fetch in spec.runtime.podPatch, and its imagePullSecrets",
            ),
        ),
        (
            ({"name": "fetch", "state": {"terminated": {"exitCode": 2, "message": "no network"}}},),
            Cause(
                "InitContainerFailed",
                "init container fetch failed with exit code 2: no network",
                "look at its log: kubectl logs p -c fetch",
            ),
        ),
        (
            ({"name": "fetch", "state": {"terminated": {"exitCode": 2}}},),
            Cause(
                "InitContainerFailed",
                "init container fetch failed with exit code 2: it left no message",
                "look at its log: kubectl logs p -c fetch",
            ),
        ),
    ],
)
def test_init_containers(containers: tuple[dict[str, Any], ...], cause: Cause | None) -> None:
    assert init(*containers) == cause


def test_what_the_main_container_waits_for_comes_first() -> None:
    pull = {"name": "swift", "state": {"waiting": {"reason": "ErrImagePull", "message": "x"}}}
    whole = pod(initContainerStatuses=[FETCHES], containerStatuses=[pull])
    cause = pod_facts(whole, members=TRAINING).waiting
    assert cause is not None
    assert cause.reason == "ImagePullFailed"


def test_a_sidecar_that_runs_on_does_not_hide_the_end_of_the_main_container() -> None:
    trainer = {"name": "swift", "state": {"terminated": {"exitCode": 0, "startedAt": "2027-01-15T08:00:00Z"}}}
    sidecar = {"name": "log-shipper", "state": {"running": {}}}
    whole = pod(phase="Running", containerStatuses=[sidecar, trainer])
    facts = pod_facts(whole, members=TRAINING)
    assert (facts.over, facts.started, facts.running_since) == (True, "2027-01-15T08:00:00Z", "")


@pytest.mark.parametrize(
    ("text", "rank"),
    [("0", 0), ("7", 7), ("999999999", 999_999_999), ("1" * 10, 0), ("9" * 5000, 0), ("٣", 0), ("-1", 0), ("", 0)],
)
def test_the_rank_of_a_pod_is_a_number_or_none(text: str, rank: int) -> None:
    """Anybody who may write a pod can write the annotation."""
    assert index_of({"annotations": {"batch.kubernetes.io/job-completion-index": text}}) == rank
    assert index_of({}) == 0


def test_the_message_of_a_container_rewrites_no_terminal() -> None:
    told = pod(containerStatuses=[{"name": "swift", "state": {"terminated": {"message": "\x1b[2Jbye"}}}])
    ended = pod_facts(told, members=TRAINING).ended
    assert ended is not None
    assert ended.message == "[2Jbye"


def test_a_missing_secret_is_made_by_what_reads_an_env_file_as_people_have_it() -> None:
    """kubectl's own --from-env-file takes `export` and quotes for parts of names and values."""
    found = missing_reference('secret "team-tokens" not found')
    assert found is not None
    assert "kubectl swift login .env --secret team-tokens " in found.suggestion
    assert "--from-env-file" not in found.suggestion
