"""What ``runtime.podPatch`` may not do. The CRDs have the form of a pod template; this is what a pod may be asked for.

A patch is for what the spec has no field for (a sidecar, an annotation, a scratch volume). It must not widen what a
training pod may do beyond Pod Security ``restricted``, give it an identity in the cluster or devices that the spec does
not count, carry a secret, or take away what swiftop relies on.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from swiftop.api.parse import field_path
from swiftop.api.pod_form import TEMPLATE, UNKNOWN, fields_at, mismatches, type_at
from swiftop.api.v1alpha1.workload import is_own, looks_secret
from swiftop.errors import Problem
from swiftop.model.bounds import excess
from swiftop.names import CONTAINER, GROUP, LABEL_MANAGED_BY

_ROOT = ("spec", "runtime", "podPatch")
_Loc = tuple[int | str, ...]
# Volume types of Pod Security "restricted".
VOLUMES = ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret")


@dataclass(frozen=True, slots=True)
class _Ban:
    """A key that must not be set, at whatever depth, to a value for which ``when`` holds."""

    why: str
    when: Callable[[Any], bool] = lambda _value: True


_SECCOMP = ("RuntimeDefault", "Localhost")
_PRIVILEGE = "would give the pod more rights than Pod Security restricted allows: remove it"
_IDENTITY = "training pods have no identity in the cluster: remove it"
_DECIDED = "decided by swiftop: remove it"
# Network devices are no accelerators: RDMA through the device plugin for it, and EFA on AWS.
NETWORK_DEVICES = ("rdma/", "vpc.amazonaws.com/efa")
_DEVICES = (
    "devices are given by the spec: use spec.resources.gpus, with spec.resources.gpuResource for another kind, or "
    "spec.resources.gpuClaim for those of a ResourceClaim"
)
_GRACE_SECONDS = 3600  # so long at most may a pod that is told to end keep its GPUs
_BANS = {
    "hostPath": _Ban("reaches into the node: use a PersistentVolumeClaim"),
    "hostNetwork": _Ban(_PRIVILEGE, bool),
    "hostPID": _Ban(_PRIVILEGE, bool),
    "hostIPC": _Ban(_PRIVILEGE, bool),
    "hostPort": _Ban(_PRIVILEGE, bool),
    "privileged": _Ban(_PRIVILEGE, bool),
    "allowPrivilegeEscalation": _Ban(_PRIVILEGE, bool),
    "procMount": _Ban(_PRIVILEGE, lambda value: value != "Default"),
    "sysctls": _Ban(_PRIVILEGE, bool),
    "seLinuxOptions": _Ban(_PRIVILEGE),
    "appArmorProfile": _Ban(_PRIVILEGE),
    "windowsOptions": _Ban("training pods run on Linux: remove it"),
    "readOnlyRootFilesystem": _Ban("write to a volume of type emptyDir instead", lambda value: value is not True),
    "resourceClaims": _Ban(_DEVICES),
    "runAsNonRoot": _Ban(_PRIVILEGE, lambda value: value is False),
    "runAsUser": _Ban(_PRIVILEGE, lambda value: value == 0),
    "serviceAccount": _Ban(_IDENTITY),
    "serviceAccountName": _Ban(_IDENTITY),
    "automountServiceAccountToken": _Ban(_IDENTITY, bool),
    "serviceAccountToken": _Ban(_IDENTITY),
    "ephemeralContainers": _Ban(_DECIDED),
    "nodeName": _Ban("bypasses the scheduler: use placement.nodeSelector"),
    "activeDeadlineSeconds": _Ban("use lifecycle.activeDeadlineSeconds"),
    "shareProcessNamespace": _Ban("the runner has to be the first process of its container: remove it", bool),
    "terminationGracePeriodSeconds": _Ban(
        f"must be a whole number of seconds, at most {_GRACE_SECONDS}",
        lambda value: type(value) is not int or not 0 <= value <= _GRACE_SECONDS,
    ),
    "hostname": _Ban(_DECIDED),
    "subdomain": _Ban(_DECIDED),
}
# What else a patch may set. A list of what is allowed, since Kubernetes gets new fields, and a mistyped one is dropped
# in silence.
_POD_FIELDS = frozenset(
    {
        "affinity", "containers", "dnsConfig", "dnsPolicy", "enableServiceLinks", "hostAliases", "hostUsers",
        "imagePullSecrets", "initContainers", "nodeSelector", "overhead", "preemptionPolicy", "priority",
        "priorityClassName", "resources", "restartPolicy", "runtimeClassName", "schedulerName", "schedulingGates",
        "securityContext", "tolerations", "topologySpreadConstraints", "volumes",
    }
)  # fmt: skip
_CONTAINER_FIELDS = frozenset(
    {
        "args", "command", "env", "envFrom", "image", "imagePullPolicy", "lifecycle", "livenessProbe", "name", "ports",
        "readinessProbe", "resizePolicy", "resources", "restartPolicy", "securityContext", "startupProbe", "stdin",
        "stdinOnce", "terminationMessagePath", "terminationMessagePolicy", "tty", "volumeDevices", "volumeMounts",
        "workingDir",
    }
)  # fmt: skip
_SECURITY_FIELDS = frozenset(
    {
        "capabilities", "fsGroup", "fsGroupChangePolicy", "runAsGroup", "seccompProfile", "supplementalGroups",
        "supplementalGroupsPolicy",
    }
)  # fmt: skip
_NO_FIELD = "is no field that a patch may set"
_SOUGHT = 3  # unknown fields of one patch whose likeness is sought
_PROJECTED = ("configMap", "downwardAPI", "secret")
_PROBED = ("httpGet", "tcpSocket")
_UNNAMED = (
    "names none of its variables, so they could not be blanked in the log and the status: list each in env with "
    "valueFrom.secretKeyRef"
)
# Prefixes of the annotations that were securityContext.appArmorProfile and seccompProfile once.
_PROFILES = frozenset(
    {
        "container.apparmor.security.beta.kubernetes.io",
        "container.seccomp.security.alpha.kubernetes.io",
        "seccomp.security.alpha.kubernetes.io",
    }
)
_TRAINER_BANS = {
    "command": "decided by swiftop: use extraArgs for flags",
    "args": "decided by swiftop: use extraArgs for flags",
    "image": "use runtime.image",
    "workingDir": _DECIDED,
    "terminationMessagePath": _DECIDED,
    "restartPolicy": _DECIDED,
    "readinessProbe": "whether a pod is ready is what swiftop tells of it: remove it",
}


# Lists of a pod spec and of a container that are merged item by item (patchMergeKey in k8s.io/api/core/v1/types.go).
POD_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
    "schedulingGates": "name",
}
CONTAINER_MERGE_KEYS = {
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
}


def pod_patch_problems(patch: Mapping[str, Any], root: tuple[str, ...] = _ROOT) -> tuple[Problem, ...]:
    """Problems of a pod patch, with paths below ``root``."""
    # What is too large or has no sound form is not looked into any further.
    if why := excess(patch):
        return (Problem(field_path(root), why),)
    odd = list(mismatches(patch, TEMPLATE))
    found = [(loc, message) for loc, message in odd if message != UNKNOWN] or list(_unnamed(patch, ()))
    if not found:
        found = [*_labels(patch), *_walk(patch, ()), *_volumes(patch), *_containers(patch)]
        told = {loc for loc, _ in found}  # a ban says more, of what is below it too
        found += [(loc, _NO_FIELD) for loc, _ in odd if not any(loc[:end] in told for end in range(len(loc) + 1))]
    unknown = [loc for loc, message in found if message == _NO_FIELD][:_SOUGHT]
    near = {loc: _near(loc) for loc in unknown}
    return tuple(Problem(field_path((*root, *loc)), message + near.get(loc, "")) for loc, message in found)


def without_image(patch: Mapping[str, Any]) -> Iterator[Problem]:
    """Containers that a patch, with the platform's in it, adds without an image: ours is meant by another name."""
    spec = {} if excess(patch) else _mapping(patch.get("spec"))
    for group in ("containers", "initContainers"):
        for i, container in enumerate(map(_mapping, _list(spec.get(group)))):
            if not container.get("image") and (container.get("name") != CONTAINER or group != "containers"):
                meant = f", or write name: {CONTAINER} for the one that swiftop makes" if group == "containers" else ""
                yield Problem(
                    field_path((*_ROOT, "spec", group, i)),
                    "adds a container without an image",
                    suggestion=f"set image{meant}",
                )


def _unnamed(value: object, loc: _Loc) -> Iterator[tuple[_Loc, str]]:
    """Items of a list that is merged by a key have that key: nothing could be merged otherwise."""
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from _unnamed(item, (*loc, i))
    elif isinstance(value, Mapping):
        for key, child in value.items():
            here = (*loc, str(key))
            merge_key = _merge_key(here)
            for i, item in enumerate(_list(child) if merge_key else ()):
                if item.get(merge_key) is None:
                    yield (*here, i, merge_key), f"items of {key} are merged by it: set it"
            yield from _unnamed(child, here)


def _merge_key(loc: _Loc) -> str:
    """Key by which the list at this place is merged; empty for any other place."""
    match loc:
        case ("spec", str(field)):
            return POD_MERGE_KEYS.get(field, "")
        case ("spec", "containers" | "initContainers", int(), str(field)):
            return CONTAINER_MERGE_KEYS.get(field, "")
    return ""


def _labels(patch: Mapping[str, Any]) -> Iterator[tuple[_Loc, str]]:
    """Labels and annotations that are not a user's to set."""
    metadata = _mapping(patch.get("metadata"))
    for key in _mapping(metadata.get("labels")):
        if key == LABEL_MANAGED_BY or key.partition("/")[0] == GROUP:
            yield ("metadata", "labels", key), "swiftop finds its pods by this label: remove it"
    for key in _mapping(metadata.get("annotations")):
        if key.partition("/")[0] in _PROFILES:
            yield ("metadata", "annotations", key), _PRIVILEGE


def _walk(value: object, loc: _Loc) -> Iterator[tuple[_Loc, str]]:
    """Banned keys and removals at any depth."""
    if value is None:
        yield loc, "null would remove what swiftop sets: remove it"
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _walk(item, (*loc, i))
    elif isinstance(value, Mapping):
        free = type_at(TEMPLATE, loc)[:1] == "{"  # a map, whose keys are anybody's words
        for key, child in ((str(key), child) for key, child in value.items()):
            here = (*loc, key)
            ban = _BANS.get(key) if loc[:1] == ("spec",) and not free else None
            if key.startswith("$"):
                yield here, "patch directives could remove what swiftop sets: only add and change"
            elif ban and ban.when(child):
                yield here, ban.why
            elif not ban and (fields := _fields_at(loc)) and key not in fields:
                yield here, _NO_FIELD
            else:
                yield from _special(key, child, here)
                yield from _walk(child, here)


def _fields_at(loc: _Loc) -> frozenset[str]:
    """Names that an object at this place may have, of those that no ban knows; empty where anything goes."""
    match loc:
        case ("spec",):
            return _POD_FIELDS
        case ("spec", "containers" | "initContainers", int()):
            return _CONTAINER_FIELDS
        case ("spec", "securityContext") | ("spec", "containers" | "initContainers", int(), "securityContext"):
            return _SECURITY_FIELDS
    return frozenset()


def _near(loc: _Loc) -> str:
    """The field that was probably meant, among those that an object at this place may have."""
    known = _fields_at(loc[:-1]) or fields_at(TEMPLATE, loc[:-1])
    bare = {name.lower(): name for name in sorted(known - _BANS.keys() - {"host"})}
    found = difflib.get_close_matches(str(loc[-1])[:64].replace("_", "").lower(), bare, n=1, cutoff=0.8)
    return f": did you mean {bare[found[0]]}?" if found else ""


def _special(key: str, child: object, here: _Loc) -> Iterator[tuple[_Loc, str]]:
    """Bans that need more than one key to see."""
    if here == ("spec", "restartPolicy"):  # on a container it makes a sidecar
        yield here, _DECIDED
    if here[0] != "spec":
        return
    if key == "capabilities" and child not in (None, {"drop": ["ALL"]}):  # a shorter list would replace swiftop's
        yield here, "may only be {drop: [ALL]}, as Pod Security restricted asks for: remove what else there is"
    if key == "seccompProfile" and _mapping(child).get("type", "RuntimeDefault") not in _SECCOMP:
        yield (*here, "type"), _PRIVILEGE
    if key in _PROBED and "host" in _mapping(child):  # the kubelet would ask it, from the node's network
        yield (*here, "host"), "would make the node ask another host than the pod: remove it"
    if key == "projected":
        yield from _projected(_list(_mapping(child).get("sources")), (*here, "sources"))
    if key == "resources":
        yield from _resources(_mapping(child), here)
    if key == "env":
        yield from _env(_list(child), here)


def _projected(sources: list[Any], here: _Loc) -> Iterator[tuple[_Loc, str]]:
    for i, source in enumerate(sources):
        for kind in _mapping(source):
            if kind not in _PROJECTED and kind not in _BANS:  # a certificate of the pod is an identity as well
                yield (*here, i, kind), f"{_IDENTITY[: -len(': remove it')]}: use {', '.join(_PROJECTED)}"


def _resources(resources: Mapping[str, Any], here: _Loc) -> Iterator[tuple[_Loc, str]]:
    """A device that the spec does not tell of is counted by nobody, in no container."""
    if "claims" in resources:
        yield (*here, "claims"), _DEVICES
    for kind in ("requests", "limits"):
        for name in map(str, _mapping(resources.get(kind))):
            if "/" in name and not name.startswith(NETWORK_DEVICES):
                yield (*here, kind, name), _DEVICES


def _env(items: list[Any], here: _Loc) -> Iterator[tuple[_Loc, str]]:
    for i, env in enumerate(items):
        name = str(_mapping(env).get("name", ""))
        if is_own(name):
            yield (*here, i, "name"), _DECIDED
        if _mapping(env).get("value") and looks_secret(name):
            yield (*here, i, "value"), f"{name} looks like a secret: refer to a Secret with valueFrom.secretKeyRef"


def _volumes(patch: Mapping[str, Any]) -> Iterator[tuple[_Loc, str]]:
    for i, volume in enumerate(_list(_mapping(patch.get("spec")).get("volumes"))):
        if not set(_mapping(volume)) - {"name"}:  # Kubernetes would make an empty directory of it
            yield ("spec", "volumes", i), f"has no type of volume that is allowed: use {', '.join(VOLUMES)}"
        for kind in _mapping(volume):
            if kind not in ("name", "hostPath", *VOLUMES):  # hostPath is told of by its own ban
                yield ("spec", "volumes", i, kind), f"this type of volume is not allowed: use {', '.join(VOLUMES)}"


def _containers(patch: Mapping[str, Any]) -> Iterator[tuple[_Loc, str]]:
    spec = _mapping(patch.get("spec"))
    for group in ("containers", "initContainers"):
        for i, container in enumerate(_list(spec.get(group))):
            if container["name"] != CONTAINER:
                continue
            for key, why in _TRAINER_BANS.items():
                if key in container:
                    yield ("spec", group, i, key), why
            for j, source in enumerate(_list(container.get("envFrom"))):
                if "secretRef" in _mapping(source):
                    yield ("spec", group, i, "envFrom", j, "secretRef"), _UNNAMED


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
