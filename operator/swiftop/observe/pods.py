"""Facts of a pod: where it stands on its way from the scheduler to its end, and why it stands there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from swiftop import names
from swiftop.api.pod_patch import NETWORK_DEVICES
from swiftop.model.facts import Cause, Ended, PodFacts
from swiftop.model.text import printable
from swiftop.observe.report import outcome_of, tail
from swiftop.observe.scheduling import unschedulable
from swiftop.reasons import Reason
from swiftop.runner.protocol import NVIDIA
from swiftop.runner.report import Member

_PULL_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
)
_BROKEN_REASONS = frozenset({"CreateContainerError", "RunContainerError", "PostStartHookError"})
_SECRET = re.compile(r'secret "([^"]+)" not found')
_SECRET_KEY = re.compile(r"couldn't find key (\S+) in Secret (\S+)")
_CONFIG_MAP = re.compile(r'configmap "([^"]+)" not found|couldn\'t find key (\S+) in ConfigMap (\S+)')
# The kubelet alternates between the error and "Back-off pulling image ...: the error": one fact, hence one text.
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*"(: )?')
_PULL_PREFIX = re.compile(r"^(ErrImagePull|ImagePullBackOff): ")


def pod_facts(pod: dict[str, Any], *, members: tuple[Member, ...]) -> PodFacts:
    """Facts of one pod; ``members`` are those of the report in its termination message."""
    meta, status, spec = pod["metadata"], pod.get("status") or {}, pod.get("spec") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    scheduling = conditions.get("PodScheduled", {})
    disruption = conditions.get("DisruptionTarget", {})
    disrupted = disruption.get("status") == "True"
    container = _container(status)
    state = container.get("state") or {}
    scheduled = scheduling.get("status") == "True" or bool(spec.get("nodeName"))
    return PodFacts(
        name=meta["name"],
        uid=meta.get("uid", ""),
        index=index_of(meta),
        created=meta.get("creationTimestamp", ""),
        revision=(meta.get("labels") or {}).get(names.LABEL_REVISION, ""),
        phase=status.get("phase", "Pending"),
        deleting=meta.get("deletionTimestamp") or "",
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        disruption=disruption.get("reason", "") if disrupted else "",
        disruption_message=disruption.get("message", "") if disrupted else "",
        scheduled=scheduled,
        scheduled_at=scheduling.get("lastTransitionTime", "") if scheduled else "",
        node=spec.get("nodeName") or "",
        unschedulable=None if scheduled else unschedulable(scheduling, _gpu_resource(spec), _asked(spec)),
        waiting=_waiting(state.get("waiting")) or _init_waiting(meta["name"], status),
        running_since=(state.get("running") or {}).get("startedAt") or "",
        ready=conditions.get("Ready", {}).get("status") == "True",
        restarts=container.get("restartCount") or 0,
        ended=_ended(state.get("terminated"), members),
        before=_ended((container.get("lastState") or {}).get("terminated"), members),
    )


def _gpu_resource(spec: Mapping[str, Any]) -> str:
    """Name of the device that the pod itself asks for: its spec may leave that to the platform's defaults."""
    limits = _resources(spec).get("limits") or {}
    return next((name for name in limits if "/" in name and not name.startswith(NETWORK_DEVICES)), NVIDIA)


def _asked(spec: Mapping[str, Any]) -> dict[str, str]:
    """What the main container asks for: a spec leaves most of it to what holds for all."""
    return dict(_resources(spec).get("requests") or {})


def _resources(spec: Mapping[str, Any]) -> dict[str, Any]:
    main: dict[str, Any] = next((one for one in spec.get("containers") or () if one.get("name") == names.CONTAINER), {})
    return main.get("resources") or {}


def index_of(meta: Mapping[str, Any]) -> int:
    """Rank of a pod of an Indexed Job; 0 for any other pod."""
    text = (meta.get("annotations") or {}).get(names.ANNOTATION_INDEX, "0")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0  # anybody can write it


def _container(status: dict[str, Any]) -> dict[str, Any]:
    containers = status.get("containerStatuses") or ()
    return next((c for c in containers if c.get("name") == names.CONTAINER), {})


def _ended(terminated: dict[str, Any] | None, members: tuple[Member, ...]) -> Ended | None:
    if terminated is None:
        return None
    message = terminated.get("message") or ""
    return Ended(
        exit_code=terminated.get("exitCode", 0),
        reason=terminated.get("reason") or "",
        message=printable(message),
        started=terminated.get("startedAt") or "",
        finished=terminated.get("finishedAt") or "",
        outcome=outcome_of(message, members),
    )


def _init_waiting(pod: str, status: dict[str, Any]) -> Cause | None:
    """What the first init container that is not done waits for, or that it works: they run one after the other."""
    for container in status.get("initContainerStatuses") or ():
        name, state = container.get("name", ""), container.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if container.get("ready") or container.get("started") or (terminated and terminated.get("exitCode") == 0):
            continue  # done, or a sidecar that has started
        if waiting is not None:
            return _of_init_container(name, _waiting(waiting))
        if terminated is not None:
            return Cause(
                Reason.INIT_CONTAINER_FAILED,
                f"init container {name} failed with exit code {terminated.get('exitCode')}: "
                f"{tail(terminated.get('message') or '', 512) or 'it left no message'}",
                f"look at its log: kubectl logs {pod} -c {name}",
            )
        return Cause(Reason.INIT_CONTAINER_RUNNING, f"init container {name} runs")
    return None


def _of_init_container(name: str, cause: Cause | None) -> Cause | None:
    """What is said of the main container names fields that an init container does not come from."""
    if cause is None:
        return None
    said = replace(cause, message=f"init container {name}: {cause.message}")
    if cause.reason != Reason.IMAGE_PULL_FAILED:
        return said
    return replace(said, suggestion=f"check the image of {name} in spec.runtime.podPatch, and its imagePullSecrets")


def _waiting(waiting: dict[str, Any] | None) -> Cause | None:
    if waiting is None:
        return None
    reason, said = waiting.get("reason") or "", waiting.get("message") or ""
    if reason in _PULL_REASONS:
        detail = _PULL_PREFIX.sub("", _BACK_OFF.sub("", said))
        return Cause(
            Reason.IMAGE_PULL_FAILED,
            f"the image cannot be pulled: {detail}" if detail else "the image cannot be pulled",
            "check the name in spec.runtime.image, and spec.runtime.imagePullSecrets for a private registry",
        )
    if reason == "CreateContainerConfigError":
        return missing_reference(said) or Cause(Reason.CONTAINER_CONFIG_ERROR, said)
    if reason in _BROKEN_REASONS:
        return Cause(Reason.CONTAINER_CONFIG_ERROR, f"the container cannot be started: {said}")
    return None


def missing_reference(said: str) -> Cause | None:
    """The Secret, ConfigMap or key that the kubelet misses, out of its words."""
    if found := _SECRET_KEY.search(said):
        key, secret = found[1], found[2].rpartition("/")[2]
        return Cause(
            Reason.SECRET_KEY_MISSING,
            f"Secret {secret} has no key {key}",
            f"add the key {key} to Secret {secret}; it then goes on by itself",
        )
    if found := _SECRET.search(said):
        return Cause(
            Reason.SECRET_MISSING,
            f"Secret {found[1]} does not exist",
            f"make it: kubectl swift login .env --secret {found[1]} for tokens, for other keys kubectl create secret "
            f"generic {found[1]}; it then goes on by itself",
        )
    if found := _CONFIG_MAP.search(said):
        name = found[1] or found[3].rpartition("/")[2]
        text = f"ConfigMap {name} does not exist" if found[1] else f"ConfigMap {name} has no key {found[2]}"
        return Cause(Reason.CONFIG_MAP_MISSING, text, "make it in this namespace; it then goes on by itself")
    return None
