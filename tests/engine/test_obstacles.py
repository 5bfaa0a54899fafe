"""Why a run waits, each cause with its own reason, and how each heals by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from swiftop import names
from swiftop.errors import Forbidden, Refused, SwiftopError, Transient
from swiftop.kinds.sftrun.kind import KIND as SFTRUN
from tests.engine.fakecluster import Fault
from tests.engine.harness import Harness
from tests.engine.kubernetes import Kubernetes, sftrun


async def waiting(**spec: Any) -> Harness:
    """A run whose pod has a node and does not run yet."""
    harness = Harness()
    harness.apply(**spec)
    await harness.look()
    harness.kubernetes.take_up()
    harness.kubernetes.create_pod()
    harness.kubernetes.place()
    return harness


def pending(kubernetes: Kubernetes, message: str) -> None:
    kubernetes.refuse_to_place(message)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are available",
            "InsufficientGPU",
        ),
        ("0/1 nodes are available: 1 Insufficient memory.", "InsufficientMemory"),
        ("no nodes available to schedule pods", "Unschedulable"),
        ('persistentvolumeclaim "datasets" not found', "ClaimMissing"),
        ('0/1 nodes are available: persistentvolumeclaim "datasets" is being deleted. not found', "ClaimMissing"),
        ("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.", "VolumePending"),
    ],
)
async def test_the_scheduler_is_quoted(message: str, reason: str) -> None:
    harness = await waiting()
    pending(harness.kubernetes, message)
    await harness.settle()
    assert harness.condition("Scheduled") == ("False", reason)
    assert harness.condition("Succeeded") == ("Unknown", reason)
    assert harness.status["state"] == "Pending"


async def test_gpus_are_those_that_the_platform_names() -> None:
    harness = Harness()
    metadata = {"name": "swiftop-defaults", "namespace": "swiftop-system"}
    data = {"gpuResource": "nvidia.com/gpu.shared"}
    harness.cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    harness.apply()
    await harness.settle()
    harness.kubernetes.take_up()
    harness.kubernetes.create_pod()
    pending(harness.kubernetes, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.shared.")
    await harness.settle()
    assert harness.condition("Scheduled") == ("False", "InsufficientGPU")


@pytest.mark.parametrize(
    ("waits", "reason", "quoted"),
    [
        ({"reason": "ErrImagePull", "message": "nope: not found"}, "ImagePullFailed", "nope: not found"),
        (
            {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'},
            "ImagePullFailed",
            "cannot be pulled",
        ),
        (
            {"reason": "CreateContainerConfigError", "message": 'secret "swiftop-credentials" not found'},
            "SecretMissing",
            "swiftop-credentials",
        ),
        (
            {"reason": "CreateContainerConfigError", "message": "couldn't find key HF_TOKEN in Secret team/tokens"},
            "SecretKeyMissing",
            "Secret tokens has no key HF_TOKEN",
        ),
    ],
)
async def test_the_kubelet_is_quoted_and_the_run_heals(waits: dict[str, str], reason: str, quoted: str) -> None:
    harness = await waiting()
    harness.kubernetes.container(waiting=waits)
    await harness.settle()
    assert harness.condition("DependenciesReady") == ("False", reason)
    assert quoted in harness.status["conditions"][0]["message"]
    assert harness.cluster.posted[-1][:2] == ("Warning", reason)
    harness.kubernetes.run()
    await harness.settle()
    assert harness.condition("DependenciesReady") == ("True", "Ready")
    assert harness.condition("Running")[0] == "True"


async def test_the_two_words_of_the_kubelet_for_one_failed_pull_are_one_fact() -> None:
    harness = await waiting()
    detail = 'failed to pull image "x": not found'
    harness.kubernetes.container(waiting={"reason": "ErrImagePull", "message": detail})
    await harness.settle()
    before = len(harness.cluster.writes)
    message = f'Back-off pulling image "x": ErrImagePull: {detail}'
    harness.kubernetes.container(waiting={"reason": "ImagePullBackOff", "message": message})
    await harness.settle()
    assert harness.cluster.writes[before:] == []


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ('Error creating: pods "tiny-1-x" is forbidden: exceeded quota: gpus, requested: 1', "QuotaExceeded"),
        (
            'Error creating: pods "tiny-1-x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot',
            "PodSecurityViolation",
        ),
        ('Error creating: pods "tiny-1-x" is forbidden: maximum memory usage per Container is 1Gi', "PodRefused"),
    ],
)
async def test_a_pod_that_is_refused_is_explained_by_the_events_of_its_job(message: str, reason: str) -> None:
    harness = Harness()
    harness.apply()
    await harness.look()
    harness.kubernetes.take_up(active=0)
    harness.kubernetes.tell(harness.kubernetes.job, "FailedCreate", message)
    assert await harness.look() is not None  # Events are not watched
    assert harness.condition("Succeeded") == ("Unknown", reason)
    assert "tiny-1-x" not in harness.status["conditions"][0]["message"]
    harness.kubernetes.take_up()
    harness.kubernetes.create_pod()
    harness.kubernetes.place()
    harness.kubernetes.run()
    await harness.settle()
    assert harness.condition("Succeeded") == ("Unknown", "Loading")


async def test_a_config_map_that_is_missing_is_told_from_the_events_of_the_pod() -> None:
    harness = await waiting(datasets=[{"configMap": {"name": "chats", "key": "chats.jsonl"}}])
    pod = harness.cluster.find(names.POD, harness.kubernetes.pod_name)
    failed = 'MountVolume.SetUp failed for volume "config-0" : configmap "chats" not found'
    harness.kubernetes.tell(pod, "FailedMount", failed)
    wake = await harness.look()
    assert harness.condition("DependenciesReady")[0] == "Unknown"
    assert wake is not None
    harness.cluster.now += wake
    await harness.settle()
    assert harness.condition("DependenciesReady") == ("False", "ConfigMapMissing")


async def test_a_runner_that_was_deleted_is_made_again() -> None:
    harness = await waiting()
    config_map = next(harness.cluster.of_kind(names.CONFIG_MAP))["metadata"]["name"]
    harness.cluster.remove(names.CONFIG_MAP, "team", config_map)
    pod = harness.cluster.find(names.POD, harness.kubernetes.pod_name)
    failed = f'MountVolume.SetUp failed for volume "runner" : configmap "{config_map}" not found'
    harness.kubernetes.tell(pod, "FailedMount", failed)
    harness.cluster.now += 30
    await harness.look()
    assert harness.cluster.find(names.CONFIG_MAP, config_map)["immutable"] is True


@pytest.mark.parametrize(
    "last_words",
    ["pod has unbound immediate PersistentVolumeClaims", "1 Insufficient memory."],
)
async def test_a_volume_that_was_deleted_before_the_pod_ran_is_made_again(last_words: str) -> None:
    """The deletion does not make the scheduler look again: what it said last is of the claim that was."""
    harness = await waiting(output={"volume": {"size": "1Gi"}})
    pending(harness.kubernetes, last_words)
    await harness.settle()
    harness.cluster.remove(names.PVC, "team", "tiny-output")
    await harness.look()
    assert harness.cluster.find(names.PVC, "tiny-output")["spec"]["resources"]["requests"]["storage"] == "1Gi"


async def test_a_volume_that_cannot_be_made_is_explained_by_the_events_of_its_claim() -> None:
    harness = await waiting(output={"volume": {"size": "1Gi", "storageClassName": "nope"}})
    pending(harness.kubernetes, "pod has unbound immediate PersistentVolumeClaims")
    claim = harness.cluster.find(names.PVC, "tiny-output")
    harness.kubernetes.tell(claim, "ProvisioningFailed", 'storageclass.storage.k8s.io "nope" not found')
    await harness.settle()
    assert harness.condition("Scheduled") == ("False", "VolumePending")
    assert '"nope" not found' in harness.status["conditions"][0]["message"]


async def test_a_job_that_somebody_else_suspends_says_so_and_goes_on() -> None:
    harness = Harness()
    harness.apply()
    await harness.look()
    harness.kubernetes.suspend_job()  # as a queue does at the creation
    await harness.settle()
    assert harness.condition("Succeeded") == ("Unknown", "JobSuspended")
    assert harness.status["state"] == "Suspended"
    message = harness.status["conditions"][0]["message"]
    assert "Job tiny-1 is suspended, and not by spec.suspend" in message
    assert "kubectl patch job tiny-1" in message
    assert harness.condition("Suspended")[0] == "False"  # the spec does not ask for it
    harness.kubernetes.suspend_job(suspended=False)
    harness.kubernetes.start()
    await harness.settle()
    assert harness.condition("Succeeded") == ("Unknown", "Loading")


async def test_a_run_that_works_and_whose_job_is_suspended_says_so_and_resumes() -> None:
    harness = await waiting()
    harness.kubernetes.run()
    harness.say(phase=1, step=3, maxSteps=10)
    await harness.settle()
    harness.kubernetes.suspend_job()
    await harness.settle()
    assert harness.condition("Succeeded") == ("Unknown", "JobSuspended")
    assert "its pods are ended" in harness.status["conditions"][0]["message"]
    harness.kubernetes.delete_pod()
    await harness.settle()
    assert (harness.condition("Succeeded"), harness.status["state"]) == (("Unknown", "JobSuspended"), "Suspended")
    harness.kubernetes.suspend_job(suspended=False)
    harness.kubernetes.start()
    await harness.settle()
    assert (harness.condition("Succeeded")[1], harness.status["state"]) == ("Loading", "Resuming")
    harness.say(phase=1, step=4, maxSteps=10)
    await harness.settle()
    assert (harness.condition("Succeeded")[1], harness.status["state"]) == ("Running", "Running")


async def test_a_pod_that_outgrows_its_disk_ends_the_run_and_not_only_the_pod() -> None:
    """The Job controller replaces a pod that the kubelet evicts, and the next one would download as much."""
    harness = await waiting()
    harness.kubernetes.run()
    harness.kubernetes.disrupt("TerminationByKubelet", 'Usage of EmptyDir volume "tmp" exceeds the limit "200Gi". ')
    harness.kubernetes.end(exit_code=137)
    harness.kubernetes.create_pod()  # its successor
    await harness.settle()
    assert harness.condition("Succeeded") == ("False", "EphemeralStorageExceeded")
    assert "such as 400Gi" in harness.status["failure"]["suggestion"]
    await harness.settle()
    assert harness.job_names == []  # and with it the successor


def _foreign(kind: names.Resource, name: str) -> dict[str, Any]:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name, "namespace": "team"},
        "spec": {"theirs": True},
    }


@pytest.mark.parametrize(
    ("kind", "name", "spec"),
    [
        (names.JOB, "tiny-1", {}),
        (names.PVC, "tiny-output", {"output": {"volume": {"size": "1Gi", "accessMode": "ReadWriteMany"}}}),
        (
            names.SERVICE,
            "tiny-ranks",
            {"resources": {"gpus": 1, "nodes": 2}},
        ),
    ],
)
async def test_a_foreign_object_is_never_taken_over(kind: names.Resource, name: str, spec: dict[str, Any]) -> None:
    harness = Harness()
    foreign = harness.cluster.put(_foreign(kind, name))
    harness.apply(**spec)
    assert await harness.look() is not None
    assert harness.condition("DependenciesReady") == ("False", "NameConflict")
    assert harness.condition("Stalled") == ("True", "NameConflict")
    assert harness.cluster.find(kind, name) == foreign
    harness.cluster.remove(kind, "team", name)
    await harness.settle()
    assert harness.condition("Stalled")[0] == "False"
    assert harness.jobs_created() == (2 if kind is names.JOB else 1)


async def test_a_job_of_somebody_else_that_names_the_run_as_its_owner_is_not_taken_for_its_own() -> None:
    harness = Harness()
    run = harness.apply()
    forged = _foreign(names.JOB, "tiny-1")
    owner = {"apiVersion": run["apiVersion"], "kind": "SFTRun", "name": "tiny", "uid": run["metadata"]["uid"]}
    forged["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
    harness.cluster.put(forged)
    assert await harness.look() == 30
    assert harness.condition("Stalled") == ("True", "NameConflict")


async def test_a_namesake_waits_for_the_children_of_its_predecessor() -> None:
    harness = Harness()
    harness.apply()
    await harness.settle()
    leftover = harness.kubernetes.job
    harness.cluster.remove(names.SFTRUN, "team", "tiny")
    again = harness.cluster.put(sftrun("tiny"))
    harness.cluster.put(leftover)  # the garbage collector has not come by yet
    assert await harness.look() == 2
    assert harness.condition("DependenciesReady") == ("False", "NameConflict")
    assert harness.condition("Stalled")[0] == "False"
    harness.cluster.remove(names.JOB, "team", "tiny-1")
    await harness.settle()
    assert harness.kubernetes.job["metadata"]["ownerReferences"][0]["uid"] == again["metadata"]["uid"]


async def test_a_retained_volume_passes_to_the_next_run_of_the_name() -> None:
    harness = Harness()
    harness.apply(output={"volume": {"size": "1Gi"}})
    await harness.settle()
    first = harness.cluster.find(names.PVC, "tiny-output")
    harness.cluster.remove(names.SFTRUN, "team", "tiny")
    harness.apply(output={"volume": {"size": "2Gi"}})
    await harness.settle()
    assert harness.cluster.find(names.PVC, "tiny-output") == first
    assert harness.jobs_created() == 2


async def test_a_volume_that_is_not_retained_goes_with_its_run() -> None:
    harness = Harness()
    harness.apply(output={"volume": {"size": "1Gi", "retain": "Delete"}})
    await harness.settle()
    harness.cluster.remove(names.SFTRUN, "team", "tiny")
    assert list(harness.cluster.of_kind(names.PVC)) == []


@pytest.mark.parametrize(
    ("error", "condition", "reason"),
    [
        (
            Forbidden('POST /x: 403 jobs.batch "tiny-1" is forbidden: exceeded quota: jobs'),
            "Succeeded",
            "QuotaExceeded",
        ),
        (
            Forbidden(
                'POST /x: 403 jobs.batch is forbidden: User "system:serviceaccount:swiftop-system:swiftop" cannot '
                'create resource "jobs" in API group "batch" in the namespace "team"'
            ),
            "Succeeded",
            "MissingPermission",
        ),
        (Refused("POST /x: 422 Job.batch is invalid: spec.template: bad"), "Validated", "InvalidSpec"),
    ],
)
async def test_a_job_that_is_refused_becomes_a_condition(error: SwiftopError, condition: str, reason: str) -> None:
    harness = Harness()
    harness.apply()
    refuse: Callable[[str, str], Fault | None] = lambda verb, kind: (  # noqa: E731
        Fault(error) if (verb, kind) == ("create", "Job") else None
    )
    harness.cluster.fault = refuse
    assert await harness.look() is not None  # no watch tells that it would be accepted now
    assert harness.condition(condition)[1] == reason
    assert "POST" not in harness.status["conditions"][0]["message"]
    harness.cluster.fault = lambda _verb, _kind: None
    await harness.settle()
    assert harness.condition("Succeeded") == ("Unknown", "JobCreated")


async def test_defaults_of_the_platform_are_read_once_for_many_runs_and_mistakes_are_told() -> None:
    harness = Harness()
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "swiftop-defaults", "namespace": "swiftop-system"},
        "data": {"image": "registry.example/trainer:1", "imagee": "x"},
    }
    harness.cluster.put(config_map)
    harness.apply(runtime={})
    wake = await harness.look()
    assert harness.condition("Validated") == ("False", "InvalidDefaults")
    assert wake is not None
    harness.cluster.objects["ConfigMap", "swiftop-system", "swiftop-defaults"]["data"].pop("imagee")
    harness.cluster.now += wake
    await harness.settle()
    assert harness.status["resolved"]["image"] == "registry.example/trainer:1"
    reads = harness.cluster.calls.count(("get", "ConfigMap", "swiftop-defaults"))
    other = Harness(harness.cluster, run="other")
    other.engine = harness.engine
    other.store = harness.store
    other.apply()
    await other.look()
    assert harness.cluster.calls.count(("get", "ConfigMap", "swiftop-defaults")) == reads


async def test_a_run_for_which_no_image_is_known_waits_for_the_platform_to_name_one() -> None:
    harness = Harness()
    harness.apply(runtime={})
    wake = await harness.look()
    assert harness.condition("Stalled") == ("True", "ImageMissing")
    assert harness.condition("Succeeded") == ("Unknown", "ImageMissing")
    assert harness.jobs_created() == 0
    assert wake is not None
    metadata = {"name": "swiftop-defaults", "namespace": "swiftop-system"}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"image": "a/trainer:1"}}
    harness.cluster.put(config_map)
    harness.cluster.now += wake
    await harness.settle()
    assert harness.condition("Stalled")[0] == "False"
    assert harness.status["resolved"]["image"] == "a/trainer:1"


async def refused_run() -> Harness:
    """A run whose pod the quota refuses."""
    harness = Harness()
    harness.apply()
    await harness.look()
    harness.kubernetes.take_up(active=0)
    harness.kubernetes.tell(harness.kubernetes.job, "FailedCreate", "Error creating: exceeded quota: gpus, used: 7")
    return harness


async def test_what_stays_refused_is_looked_at_less_and_less_often() -> None:
    harness = await refused_run()
    pauses = []
    for _ in range(20):
        wake = await harness.look()
        assert wake is not None
        pauses.append(wake)
        harness.cluster.now += wake
    assert pauses[0] == 10
    assert pauses == sorted(pauses)
    assert pauses[-1] == 300
    # Another obstacle is news, and looked at closely again.
    harness.kubernetes.tell(harness.kubernetes.job, "FailedCreate", 'Error creating: violates PodSecurity "x": root')
    assert await harness.look() == 10
    assert harness.condition("Succeeded")[1] == "PodSecurityViolation"


async def test_a_start_that_stays_blocked_is_tried_less_and_less_often() -> None:
    harness = Harness()
    harness.cluster.put(_foreign(names.JOB, "tiny-1"))
    harness.apply()
    for _ in range(20):
        wake = await harness.look()
        assert wake is not None
        harness.cluster.now += wake
    assert wake == 300


async def test_the_runs_of_a_namespace_share_one_list_of_events() -> None:
    harness = await refused_run()
    other = Harness(harness.cluster, run="other")
    other.engine, other.store = harness.engine, harness.store
    other.apply()
    await other.look()
    other.kubernetes.take_up(active=0)
    other.kubernetes.tell(other.kubernetes.job, "FailedCreate", "Error creating: exceeded quota: gpus")
    await harness.look()
    await other.look()
    assert harness.condition("Succeeded")[1] == other.condition("Succeeded")[1] == "QuotaExceeded"
    assert harness.cluster.calls.count(("warnings", "Job", "")) == 1
    harness.cluster.now += 10
    await harness.look()
    assert harness.cluster.calls.count(("warnings", "Job", "")) == 2


async def test_numbers_of_a_message_that_change_all_the_time_are_written_once_a_minute() -> None:
    harness = await refused_run()
    await harness.look()
    before = len(harness.cluster.writes)
    for used in range(8, 13):
        harness.cluster.now += 10
        text = f"Error creating: exceeded quota: gpus, used: {used}"
        harness.kubernetes.tell(harness.kubernetes.job, "FailedCreate", text)
        assert await harness.look() is not None
    assert harness.cluster.writes[before:] == []
    harness.cluster.now += 10
    await harness.look()
    assert "used: 12" in harness.status["conditions"][0]["message"]


async def test_a_vague_word_of_the_kubelet_does_not_hide_what_is_missing() -> None:
    harness = await waiting()
    pod = harness.cluster.find(names.POD, harness.kubernetes.pod_name)
    before = 0
    for turn in range(4):
        harness.cluster.now += 60
        vague = "Unable to attach or mount volumes: unmounted volumes=[data]: context deadline exceeded"
        missing = 'MountVolume.SetUp failed for volume "x" : configmap "nope" not found'
        harness.kubernetes.tell(pod, "FailedMount", vague if turn % 2 else missing)
        await harness.look()
        assert harness.condition("DependenciesReady") == ("False", "ConfigMapMissing")
        before = before or len(harness.cluster.writes)
    assert harness.cluster.writes[before:] == []


async def test_what_keeps_a_child_from_being_mended_is_told() -> None:
    harness = await waiting()
    config_map = next(harness.cluster.of_kind(names.CONFIG_MAP))["metadata"]["name"]
    harness.cluster.remove(names.CONFIG_MAP, "team", config_map)
    pod = harness.cluster.find(names.POD, harness.kubernetes.pod_name)
    failed = f'MountVolume.SetUp failed for volume "runner" : configmap "{config_map}" not found'
    harness.kubernetes.tell(pod, "FailedMount", failed)
    harness.cluster.now += 30
    error: list[SwiftopError] = [Forbidden("POST /x: 403 exceeded quota: count/configmaps")]
    harness.cluster.fault = lambda verb, kind: Fault(error[0]) if (verb, kind) == ("create", "ConfigMap") else None
    assert await harness.look() is not None
    assert harness.condition("Succeeded") == ("Unknown", "QuotaExceeded")
    error[0] = Transient("500")
    with pytest.raises(Transient):  # the queue tries again
        await harness.look()
    assert harness.condition("Succeeded") == ("Unknown", "ConfigMapMissing")


async def test_a_running_training_is_not_called_blocked_when_its_deadline_cannot_be_changed() -> None:
    harness = await waiting()
    harness.kubernetes.run()
    await harness.look()
    run = harness.run
    harness.cluster.put({**run, "spec": {**run["spec"], "lifecycle": {"activeDeadlineSeconds": 600}}})
    harness.cluster.fault = lambda verb, _kind: Fault(Refused("PATCH /x: 422 no")) if verb == "apply" else None
    await harness.look()
    assert harness.condition("Succeeded") == ("Unknown", "Loading")
    assert harness.status["observedGeneration"] == 2


async def test_a_service_that_was_deleted_before_the_ranks_met_is_made_again() -> None:
    harness = await waiting(resources={"gpus": 1, "nodes": 2})
    harness.cluster.remove(names.SERVICE, "team", "tiny-ranks")
    await harness.look()
    assert harness.cluster.find(names.SERVICE, "tiny-ranks")["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize("part", ["prepare_with", "pod"])
async def test_a_mistake_of_ours_is_told_instead_of_retried_in_silence(
    part: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Any:
        raise TypeError("'NoneType' object is not iterable")

    harness = Harness()
    parts: dict[str, Any] = {part: broken}
    harness.restart(kinds={"SFTRun": replace(SFTRUN, **parts)})
    harness.apply()
    assert await harness.look() is not None
    assert harness.condition("Stalled") == ("True", "InternalError")
    assert "TypeError: 'NoneType' object is not iterable" in harness.status["conditions"][0]["message"]
    assert "Traceback" in caplog.text
    assert harness.jobs_created() == 0
    harness.restart()
    await harness.settle()
    assert harness.condition("Stalled")[0] == "False"
    assert harness.jobs_created() == 1
