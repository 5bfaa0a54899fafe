"""Why a pod has no node, out of the words of the real scheduler (Kubernetes 1.36.3, 1.37.2 and older)."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop.model.facts import Cause
from swiftop.observe.pods import pod_facts
from swiftop.runner.report import TRAINING

NO_HELP = "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
NO_VICTIMS = "preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
MIXED_HELP = (
    "preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, 2 No preemption victims found "
    "for incoming pod."
)


def cause(message: str, reason: str = "Unschedulable") -> Cause:
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    meta: dict[str, Any] = {"name": "p", "uid": "u", "creationTimestamp": "2027-01-15T08:00:00Z"}
    pod = {"metadata": meta, "spec": {}, "status": {"conditions": [condition]}}
    found = pod_facts(pod, members=TRAINING).unschedulable
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("short", "reason"), [("amd.com/gpu", "InsufficientGPU"), ("rdma/hca", "InsufficientResource")]
)
def test_the_pod_itself_says_what_its_gpus_are_called(short: str, reason: str) -> None:
    message = f"0/3 nodes are available: 3 Insufficient {short}."
    limits = {"cpu": "8", "rdma/hca": "1", "amd.com/gpu": "1"}
    pod = {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "mesh"}, {"name": "swift", "resources": {"limits": limits}}]},
        "status": {"conditions": [{"type": "PodScheduled", "status": "False", "message": message}]},
    }
    found = pod_facts(pod, members=TRAINING).unschedulable
    assert found is not None
    assert found.reason == reason


ASKED = {"cpu": "8", "memory": "64Gi", "ephemeral-storage": "20Gi", "nvidia.com/gpu": "1"}


@pytest.mark.parametrize(
    ("words", "then", "told"),
    [
        (
            "3 Insufficient memory",
            NO_VICTIMS,
            "no node has enough free memory: 0/3 nodes are available: 3 Insufficient memory: it starts when other pods "
            "end; or ask for less than 64Gi in spec.resources.memory",
        ),
        (
            "3 Insufficient cpu, 3 Insufficient memory",
            NO_VICTIMS,
            "no node fits, for more than one reason: 0/3 nodes are available: 3 Insufficient cpu, 3 Insufficient "
            "memory: it starts when other pods end; or ask for less than 8 in spec.resources.cpu; ask for less "
            "than 64Gi in spec.resources.memory",
        ),
        (
            "3 Insufficient cpu, 3 Insufficient memory",
            NO_HELP,
            "no node that it may use is large enough, free or not: 0/3 nodes are available: 3 Insufficient cpu, 3 "
            "Insufficient memory: ask for less than 8 in spec.resources.cpu; ask for less than 64Gi in "
            "spec.resources.memory",
        ),
        (
            "1 Too many pods, 2 Insufficient ephemeral-storage",
            NO_HELP,
            "no node fits, for more than one reason: 0/3 nodes are available: 1 Too many pods, 2 Insufficient "
            "ephemeral-storage: it starts when other pods end; or add a node, or raise maxPods of the kubelets; ask "
            "for less than 20Gi in spec.resources.ephemeralStorage, with the downloads on a claim (spec.cache)",
        ),
    ],
)
def test_how_much_it_asks_for_is_told_and_whether_waiting_helps(words: str, then: str, told: str) -> None:
    """A spec leaves most sizes to what holds for all: less than what, would be the question."""
    message = f"0/3 nodes are available: {words}. {then}"
    pod = {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "mesh"}, {"name": "swift", "resources": {"requests": ASKED}}]},
        "status": {"conditions": [{"type": "PodScheduled", "status": "False", "message": message}]},
    }
    found = pod_facts(pod, members=TRAINING).unschedulable
    assert found is not None
    assert f"{found.message}: {found.suggestion}" == told


def of(words: str, then: str = NO_VICTIMS) -> Cause:
    return cause(f"0/3 nodes are available: {words}. {then}")


@pytest.mark.parametrize(
    ("words", "reason", "advice"),
    [
        ("3 Insufficient nvidia.com/gpu", "InsufficientGPU", "spec.resources.gpus"),
        ("3 Insufficient cpu", "InsufficientCPU", "spec.resources.cpu"),
        ("3 Insufficient memory", "InsufficientMemory", "spec.resources.memory"),
        ("3 Insufficient ephemeral-storage", "InsufficientEphemeralStorage", "spec.resources.ephemeralStorage"),
        ("3 Insufficient rdma/hca", "InsufficientResource", "what offers rdma/hca"),
        ("3 Insufficient nvidia.com/gpu.shared", "InsufficientResource", "nvidia.com/gpu.shared"),
        ("3 Insufficient hugepages-2Mi", "InsufficientResource", "spec.runtime.podPatch"),
        ("3 Too many pods", "TooManyPods", "add a node"),
        ("3 node(s) were unschedulable", "NodesCordoned", "kubectl uncordon"),
        ("3 node(s) had untolerated taint(s)", "UntoleratedTaint", "spec.placement.tolerations"),
        ("3 node(s) had untolerated taint {nvidia.com/gpu: present}", "UntoleratedTaint", "spec.placement.tolerations"),
        ("3 node(s) had untolerated taint {node.kubernetes.io/not-ready: }", "NodesNotReady", "kubectl describe nodes"),
        ("3 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }", "NodesNotReady", "in order again"),
        ("3 node(s) had untolerated taint {node.kubernetes.io/unschedulable: }", "NodesCordoned", "uncordon"),
        ("3 node(s) didn't match Pod's node affinity/selector", "NodeAffinityMismatch", "spec.placement.nodeSelector"),
        ("3 node(s) didn't match scheduler-enforced node affinity", "NodeAffinityMismatch", "label a node"),
        ("3 node(s) didn't match pod affinity rules", "PodAffinityMismatch", "podAffinity"),
        ("3 node(s) didn't match pod anti-affinity rules", "PodAffinityMismatch", "podAntiAffinity"),
        ("3 node(s) didn't satisfy existing pods anti-affinity rules", "PodAffinityMismatch", "podAntiAffinity"),
        ("3 node(s) didn't match pod topology spread constraints", "PodAffinityMismatch", "topologySpreadConstraints"),
        ("3 node(s) had no available volume zone", "VolumeNodeMismatch", "ReadWriteMany"),
        ("3 node(s) had volume node affinity conflict", "VolumeNodeMismatch", "kubectl describe pv"),
        ("3 node(s) didn't match PersistentVolume's node affinity", "VolumeNodeMismatch", "spec.placement"),
        ("3 node(s) didn't find available persistent volumes to bind", "VolumePending", "StorageClass"),
        ("3 node(s) did not have enough free storage", "VolumePending", "enough storage"),
        ("3 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)", "VolumePending", "Lost"),
        ("3 node(s) exceed max volume count", "TooManyVolumes", "one claim"),
        (
            "3 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by "
            "another pod",
            "VolumeInUse",
            "ReadWriteMany",
        ),
        ("3 node(s) didn't have free ports for the requested pod ports", "HostPortInUse", "hostPort"),
        ("3 cannot allocate all claims", "DeviceClaimPending", "resourceslices"),
        ("3 a plugin of our own says no", "Unschedulable", "a plugin of our own says no"),
    ],
)
def test_each_obstacle_has_its_reason_and_a_suggestion_and_is_quoted(words: str, reason: str, advice: str) -> None:
    found = of(words)
    assert found.reason == reason
    assert advice in found.suggestion
    assert found.message.endswith(f"0/3 nodes are available: {words}")


@pytest.mark.parametrize(
    ("words", "reason", "advised"),
    [
        (
            "2 node(s) had untolerated taint {x: y}, 1 Insufficient nvidia.com/gpu",
            "Unschedulable",
            ("spec.placement.tolerations", "spec.resources.gpus"),
        ),
        (
            "1 node(s) had untolerated taint(s), 2 Insufficient nvidia.com/gpu",
            "Unschedulable",
            ("spec.placement.tolerations", "spec.resources.gpus"),
        ),
        (
            "3 Insufficient cpu, 3 Insufficient nvidia.com/gpu",
            "Unschedulable",
            ("spec.resources.cpu", "spec.resources.gpus"),
        ),
        ("1 node(s) were unschedulable, 2 Insufficient nvidia.com/gpu", "Unschedulable", ("uncordon", "gpus")),
        (
            "1 node(s) had untolerated taint {a: }, 2 node(s) had untolerated taint {b: c}",
            "UntoleratedTaint",
            ("spec.placement.tolerations",),
        ),
        # Nobody trains on nodes of the control plane: that they are tainted is nothing to be mended.
        (
            "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 2 Insufficient nvidia.com/gpu",
            "InsufficientGPU",
            ("spec.resources.gpus",),
        ),
        (
            "3 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }",
            "UntoleratedTaint",
            ("spec.placement.tolerations",),
        ),
    ],
)
def test_of_several_obstacles_none_is_taken_for_all(words: str, reason: str, advised: tuple[str, ...]) -> None:
    found = of(words)
    assert found.reason == reason
    assert words in found.message
    assert [text for text in advised if text not in found.suggestion] == []


def test_the_name_of_a_taint_is_told() -> None:
    assert of("3 node(s) had untolerated taint {team: research}").message.startswith(
        "nodes have the taint team: research"
    )


@pytest.mark.parametrize(
    ("words", "then", "message"),
    [
        ("3 Insufficient nvidia.com/gpu", NO_VICTIMS, "no node has enough free nvidia.com/gpu"),
        ("3 Insufficient nvidia.com/gpu", MIXED_HELP, "no node has enough free nvidia.com/gpu"),
        (
            "3 Insufficient nvidia.com/gpu",
            "preemption: not eligible due to preemptionPolicy=Never.",
            "no node has enough",
        ),
        ("3 Insufficient nvidia.com/gpu", NO_HELP, "no node that it may use has as many nvidia.com/gpu as it asks for"),
        ("3 Insufficient memory", NO_HELP, "no node that it may use has as much memory as it asks for"),
    ],
)
def test_what_no_node_has_even_when_it_is_empty_is_told_apart(words: str, then: str, message: str) -> None:
    """The scheduler tries no preemption on a node that is too small."""
    found = of(words, then)
    assert found.message.startswith(message)
    assert ("it starts when" in found.suggestion) == (then is not NO_HELP)


def test_no_gpu_on_any_node_asks_for_the_device_plugin() -> None:
    assert "install the device plugin" in of("3 Insufficient nvidia.com/gpu", NO_HELP).suggestion
    # Behind a taint there may be GPUs: those nodes were never asked.
    tainted = of("1 node(s) had untolerated taint(s), 2 Insufficient nvidia.com/gpu", NO_HELP)
    assert "device plugin" in tainted.suggestion
    assert "spec.placement.tolerations" in tainted.suggestion


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (
            ("Scheduling is blocked due to non-empty scheduling gates", "SchedulingGated"),
            ("SchedulingGated", "held back by a scheduling gate"),
        ),
        (("no nodes available to schedule pods", "Unschedulable"), ("Unschedulable", "the cluster has no node")),
        (("running PreBind plugin: timeout", "SchedulerError"), ("Unschedulable", "the scheduler failed")),
        (
            ('0/3 nodes are available: persistentvolumeclaim "a" bound to non-existent persistentvolume "b".', ""),
            ("VolumePending", "the volume of a claim is gone"),
        ),
    ],
)
def test_what_the_scheduler_says_before_it_looks_at_nodes(
    condition: tuple[str, str], expected: tuple[str, str]
) -> None:
    found = cause(*condition)
    assert (found.reason, expected[1] in found.message) == (expected[0], True)
