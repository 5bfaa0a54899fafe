"""Why the scheduler finds no node for a pod, out of its own words.

They are those of Kubernetes 1.36.3 and 1.37.2 (``ErrReason...`` in pkg/scheduler/framework/plugins/*, and
``FitError.Error`` in pkg/scheduler/framework/types.go); older ones name the taint. Each node is counted under what
rules it out first, and only resources are all named. So several words mean that no single one is all that is missing:
the nodes under the second were never asked for the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from swiftop.model.facts import Cause
from swiftop.reasons import Reason


class _Obstacle(NamedTuple):
    reason: Reason
    message: str
    advice: str
    patience: str = ""  # what becomes of it without anybody's help

    @property
    def suggestion(self) -> str:
        return f"{self.patience}; or {self.advice}" if self.patience else self.advice


# The scheduler's second thoughts ("preemption: 0/1 nodes are available: ...") repeat the first and change each time.
_SECOND_THOUGHTS = re.compile(r"\.?\s+(preemption: |no new claims to deallocate).*$", re.DOTALL)
# No node is large enough, even when it is empty: preemption is not tried on any.
_HOPELESS = re.compile(r"preemption: 0/(\d+) nodes are available: \1 Preemption is not helpful for scheduling")
_COUNTS = re.compile(r"^\d+/\d+ nodes are available: *")
_NEXT = re.compile(r", (?=\d+ )")
_COUNT = re.compile(r"^\d+ ")
_CLAIM = re.compile(r'persistentvolumeclaim "([^"]+)" (not found|is being deleted)')
_INSUFFICIENT = re.compile(r"Insufficient ([-\w./]*\w)")
_TAINT = re.compile(r"untolerated taints? \{([^}]*)\}|had taints? \{([^}]*)\}|untolerated taint\(s\)|had taints that")
_KEPT_FREE = re.compile(r"node-role\.kubernetes\.io/(control-plane|master)\b")
_NODE_IN_TROUBLE = re.compile(r"node\.(kubernetes|cloudprovider\.kubernetes)\.io/")
_CORDONED = "node.kubernetes.io/unschedulable"

_WAIT = "it starts when other pods end"
_TOLERATE = (
    "add the taint to spec.placement.tolerations where it keeps nodes for such work (kubectl describe nodes shows the "
    "taints)"
)

_CORDON = _Obstacle(
    Reason.NODES_CORDONED,
    "nodes that it could use are cordoned",
    "it starts once they take pods again: kubectl get nodes shows SchedulingDisabled, and kubectl uncordon ends it",
)
_NOT_READY = _Obstacle(
    Reason.NODES_NOT_READY,
    "nodes that it could use are not ready, or short of disk or memory",
    "it starts once they are in order again: kubectl describe nodes shows their conditions",
)
_UNTOLERATED = _Obstacle(Reason.UNTOLERATED_TAINT, "nodes have a taint that the pod does not tolerate", _TOLERATE)

# Other words than those of resources and taints, in the order in which they are looked for.
_WORDS: tuple[tuple[re.Pattern[str], _Obstacle], ...] = (
    (re.compile(r"were unschedulable"), _CORDON),
    (
        re.compile(r"Too many pods"),
        _Obstacle(
            Reason.TOO_MANY_PODS,
            "the nodes have as many pods as they take",
            "add a node, or raise maxPods of the kubelets",
            _WAIT,
        ),
    ),
    (
        re.compile(r"volume zone|volume node affinity|PersistentVolume's node affinity"),
        _Obstacle(
            Reason.VOLUME_NODE_MISMATCH,
            "a volume of the pod cannot be reached from the nodes that have room",
            "kubectl describe pv shows the zone or node of the volume: make room there or fix spec.placement, or use a "
            "claim that all nodes reach (ReadWriteMany)",
        ),
    ),
    (
        re.compile(r"node affinity|node selector|requested node name"),
        _Obstacle(
            Reason.NODE_AFFINITY_MISMATCH,
            "no node has the labels that spec.placement asks for",
            "fix spec.placement.nodeSelector or spec.placement.affinity, or label a node (kubectl get nodes "
            "--show-labels)",
        ),
    ),
    (
        re.compile(r"pod affinity|anti-affinity|topology spread"),
        _Obstacle(
            Reason.POD_AFFINITY_MISMATCH,
            "no node has the neighbours that are asked for, or only those to keep away from",
            "fix podAffinity and podAntiAffinity in spec.placement.affinity, or topologySpreadConstraints in "
            "spec.runtime.podPatch",
        ),
    ),
    (
        re.compile(r"free ports"),
        _Obstacle(
            Reason.HOST_PORT_IN_USE,
            "a port of the host is in use on the nodes",
            "remove hostPort from spec.runtime.podPatch, or choose another port",
        ),
    ),
    (
        re.compile(r"max volume count"),
        _Obstacle(
            Reason.TOO_MANY_VOLUMES,
            "the nodes have as many volumes attached as they can",
            "put several things on one claim",
            _WAIT,
        ),
    ),
    (
        re.compile(r"in-use by another pod|no available disk"),
        _Obstacle(
            Reason.VOLUME_IN_USE,
            "a volume of the pod is in use by another pod, and takes one at a time",
            "it starts when that pod ends; use a claim with access mode ReadWriteMany to share it",
        ),
    ),
    (
        re.compile(r"available persistent volumes to bind|enough free storage"),
        _Obstacle(
            Reason.VOLUME_PENDING,
            "no volume can be made or found where the pod could run",
            "look at the claim with kubectl describe pvc: is there a StorageClass for it, with enough storage?",
        ),
    ),
    (
        re.compile(r"bound to non-existent"),
        _Obstacle(
            Reason.VOLUME_PENDING,
            "the volume of a claim is gone",
            "kubectl get pvc shows the claim as Lost: restore its PersistentVolume, or make the claim anew",
        ),
    ),
    (
        re.compile(r"resource ?claim|allocate all claims|device class|DeviceClass"),
        _Obstacle(
            Reason.DEVICE_CLAIM_PENDING,
            "no node can give the devices of a ResourceClaim",
            "it starts when devices become free; kubectl describe resourceclaims and kubectl get deviceclasses show "
            "what is asked for, and kubectl get resourceslices what there is",
        ),
    ),
)


def unschedulable(condition: dict[str, str], gpu_resource: str, asked: Mapping[str, str]) -> Cause | None:
    """Why a pod has no node, out of its condition PodScheduled; None while the scheduler has not said so.

    ``asked`` is what its main container asks for, by resource: a spec leaves most of that to what holds for all.
    """
    if condition.get("status") != "False":
        return None
    said = condition.get("message") or ""
    text = _SECOND_THOUGHTS.sub("", said).rstrip(". ")
    if special := _not_about_nodes(condition.get("reason") or "", said, text):
        return special
    found = _obstacles(said, text, gpu_resource, asked)
    reasons = {obstacle.reason: obstacle for obstacle in found}
    if len(reasons) == 1:
        (only,) = reasons.values()
        return Cause(only.reason, f"{only.message}: {text}", only.suggestion)
    if reasons:
        return _several(found, said, text)
    return Cause(
        Reason.UNSCHEDULABLE,
        f"no node fits: {text}" if text else "no node fits",
        "compare spec.resources and spec.placement with the nodes (kubectl describe nodes)",
    )


def _several(found: list[_Obstacle], said: str, text: str) -> Cause:
    """Of resources alone, on nodes that preemption does not help, each node has too little of one even when empty."""
    advice = "; ".join(dict.fromkeys(obstacle.advice for obstacle in found))
    scarce = all(obstacle.reason in _SCARCE for obstacle in found)
    if scarce and _HOPELESS.search(said):
        return Cause(Reason.UNSCHEDULABLE, f"no node that it may use is large enough, free or not: {text}", advice)
    patience = list(dict.fromkeys(obstacle.patience for obstacle in found if obstacle.patience))
    return Cause(
        Reason.UNSCHEDULABLE,
        f"no node fits, for more than one reason: {text}",
        "; or ".join((patience[0], advice)) if len(patience) == 1 else "; ".join((*patience, advice)),
    )


def _not_about_nodes(reason: str, said: str, text: str) -> Cause | None:
    """What the scheduler says before it looks at nodes, or instead."""
    if reason == "SchedulingGated":
        return Cause(
            Reason.SCHEDULING_GATED,
            "the pod is held back by a scheduling gate",
            "who has set it removes it, such as a queue or a policy of the cluster: kubectl get pods -o yaml shows "
            "schedulingGates",
        )
    if missing := _CLAIM.search(said):
        return claim_missing(missing[1], leaving=missing[2] != "not found")
    if "PersistentVolumeClaims" in said and ("unbound" in said or "not bound" in said):
        return Cause(
            Reason.VOLUME_PENDING,
            f"waiting for a volume: {text}",
            "look at the claim with kubectl describe pvc: is there a StorageClass that can make it?",
        )
    if reason == "SchedulerError":
        return Cause(Reason.UNSCHEDULABLE, f"the scheduler failed, and tries again: {text}", "look at its log")
    if "no nodes available" in said:
        return Cause(
            Reason.UNSCHEDULABLE, f"the cluster has no node: {text}", "add a node, or wait for one to be added"
        )
    return None


def claim_missing(name: str, *, leaving: bool = False) -> Cause:
    """A PersistentVolumeClaim of the spec that does not exist, or is about to be gone."""
    return Cause(
        Reason.CLAIM_MISSING,
        f"PersistentVolumeClaim {name} {'is being deleted' if leaving else 'does not exist'}",
        "create it in this namespace, or fix its name in the spec; it then goes on by itself",
    )


def _obstacles(said: str, text: str, gpu_resource: str, asked: Mapping[str, str]) -> list[_Obstacle]:
    """What rules nodes out. Nodes of the control plane are nobody's, unless there are no others."""
    words = [_COUNT.sub("", word) for word in _NEXT.split(_COUNTS.sub("", text)) if word]
    words = [word for word in words if not _KEPT_FREE.search(word)] or words
    scarce = [name for word in words if (name := _resource(word))]
    # Of a node that is short of several things, any one may be what it never has.
    hopeless = len(scarce) == 1 and bool(_HOPELESS.search(said))
    found: list[_Obstacle] = []
    for word in words:
        name = _resource(word)
        obstacle = _scarce(name, gpu_resource, asked, hopeless=hopeless) if name else _taint(word) or _other(word)
        found += [obstacle] if obstacle else [_unknown(word)]
    return found


def _resource(word: str) -> str:
    found = _INSUFFICIENT.fullmatch(word)
    return found[1] if found else ""


def _unknown(word: str) -> _Obstacle:
    """Words of a plugin of the cluster's own: they stand in the message."""
    return _Obstacle(Reason.UNSCHEDULABLE, "no node fits", f'kubectl describe nodes may explain "{word}"')


def _other(word: str) -> _Obstacle | None:
    return next((obstacle for pattern, obstacle in _WORDS if pattern.search(word)), None)


def _taint(word: str) -> _Obstacle | None:
    taint = _TAINT.search(word)
    if taint is None:
        return None
    name = (taint[1] or taint[2] or "").rstrip(": ")
    if name.startswith(_CORDONED):
        return _CORDON
    if _NODE_IN_TROUBLE.match(name):
        return _NOT_READY
    return (
        _UNTOLERATED._replace(message=f"nodes have the taint {name}, which it does not tolerate")
        if name
        else _UNTOLERATED
    )


def _gpu(name: str, *, hopeless: bool) -> _Obstacle:
    if hopeless:
        return _Obstacle(
            Reason.INSUFFICIENT_GPU,
            f"no node that it may use has as many {name} as it asks for, free or not",
            "ask for fewer in spec.resources.gpus; where kubectl describe nodes shows none at all, install the device "
            "plugin of the GPUs, or fix spec.resources.gpuResource",
        )
    return _Obstacle(
        Reason.INSUFFICIENT_GPU,
        f"no node has enough free {name}",
        "ask for fewer in spec.resources.gpus if no node has that many, and install the device plugin of the GPUs if "
        "kubectl describe nodes shows none at all",
        "it starts when GPUs become free",
    )


_FIELDS = {
    "cpu": (Reason.INSUFFICIENT_CPU, "CPU", "spec.resources.cpu", ""),
    "memory": (Reason.INSUFFICIENT_MEMORY, "memory", "spec.resources.memory", ""),
    "ephemeral-storage": (
        Reason.INSUFFICIENT_EPHEMERAL_STORAGE,
        "local disk (ephemeral-storage)",
        "spec.resources.ephemeralStorage",
        ", with the downloads on a claim (spec.cache)",
    ),
}
_SCARCE = {Reason.INSUFFICIENT_GPU, Reason.INSUFFICIENT_RESOURCE, *(reason for reason, *_ in _FIELDS.values())}


def _amount(reason: Reason, what: str, advice: str, *, hopeless: bool) -> _Obstacle:
    if hopeless:
        return _Obstacle(reason, f"no node that it may use has as much {what} as it asks for, free or not", advice)
    return _Obstacle(reason, f"no node has enough free {what}", advice, _WAIT)


def _scarce(name: str, gpu_resource: str, asked: Mapping[str, str], *, hopeless: bool) -> _Obstacle:
    if name == gpu_resource:
        return _gpu(name, hopeless=hopeless)
    if name in _FIELDS:
        reason, what, field, besides = _FIELDS[name]
        less = f"less than {asked[name]}" if name in asked else "less"
        return _amount(reason, what, f"ask for {less} in {field}{besides}", hopeless=hopeless)
    advice = (
        f"ask for less of it in spec.runtime.podPatch, or install what offers {name} on the nodes (its device plugin)"
    )
    return _amount(Reason.INSUFFICIENT_RESOURCE, name, advice, hopeless=hopeless)
