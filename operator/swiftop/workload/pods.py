"""The training pod: hardened to Pod Security ``restricted``, one container, the runner as PID 1."""

from __future__ import annotations

from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.sftrun import SFTRun, SFTRunSpec
from swiftop.kinds.sftrun.command import Rendered, command, secret_vars
from swiftop.kinds.sftrun.plan import VARIABLE, encoded, plan, with_secrets
from swiftop.swift import paths, releases
from swiftop.swift.paths import Identity
from swiftop.swift.secrets import SecretVar
from swiftop.workload.meta import child_labels
from swiftop.workload.patch import strategic_merge
from swiftop.workload.volumes import pod_volumes

Object = dict[str, Any]

_ENV = {
    "HOME": paths.WORK_DIR,  # the root file system is read-only
    "USER": "swiftop",  # torch asks for the user's name, and most images know none for the user id
    "LANG": "C.UTF-8",
    "COLUMNS": "300",  # rich cuts lines at 80 columns without a terminal, SwanLab's link among them
    "PYTHONUNBUFFERED": "1",
}
# After SIGTERM ms-swift ends its step and saves. An adapter is written in seconds, all weights of a large model with
# their optimizer state in minutes; a pod that is done earlier ends earlier.
_GRACE_SECONDS_ADAPTER = 120
_GRACE_SECONDS_FULL = 600


def pod_template(run: SFTRun, spec: SFTRunSpec, *, attempt: int, runner_config_map: str) -> Object:
    """Template of a Job's pods; ``spec`` has the defaults in it. The plan comes last: it names secrets of the patch."""
    identity = Identity(run.metadata.name, run.metadata.uid, run.metadata.namespace)
    rendered = command(spec, table=releases.table(spec.runtime.swift_version or ""), identity=identity)
    volumes, mounts = pod_volumes(spec, run=run.metadata.name, runner_config_map=runner_config_map)
    template = {
        "metadata": {"labels": {**child_labels(run), names.LABEL_ATTEMPT: str(attempt)}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": grace_seconds(spec),
            "securityContext": _pod_security(spec),
            **_network(run, spec),
            **_placement(spec),
            "containers": [_container(spec, env=_env(spec, rendered), mounts=mounts)],
            "volumes": volumes,
        },
    }
    merged: Object = strategic_merge(template, spec.runtime.pod_patch or {})
    trainer = next(c for c in merged["spec"]["containers"] if c["name"] == names.CONTAINER)
    content = plan(run, spec, attempt=attempt, command=rendered.command)
    # First, where a reader of the pod finds it.
    trainer["env"] = [{"name": VARIABLE, "value": encoded(with_secrets(content, trainer["env"]))}, *trainer["env"]]
    return merged


def grace_seconds(spec: SFTRunSpec) -> int:
    """Time between SIGTERM and SIGKILL, for the last checkpoint."""
    return _GRACE_SECONDS_FULL if spec.tuner.type == "full" else _GRACE_SECONDS_ADAPTER


def _pod_security(spec: SFTRunSpec) -> Object:
    wanted = spec.runtime.security_context
    context: Object = {
        "runAsNonRoot": True,
        "runAsUser": wanted.run_as_user,
        "runAsGroup": wanted.run_as_group or wanted.run_as_user,
        "fsGroup": wanted.fs_group,
        "fsGroupChangePolicy": "OnRootMismatch",  # else every start walks through a whole model cache
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if wanted.supplemental_groups:
        context["supplementalGroups"] = list(wanted.supplemental_groups)
    return context


def _network(run: SFTRun, spec: SFTRunSpec) -> Object:
    return {"subdomain": names.service_name(run.metadata.name)} if spec.resources.nodes > 1 else {}


def _placement(spec: SFTRunSpec) -> Object:
    placement, wire = spec.placement, spec.placement.model_dump(by_alias=True, exclude_none=True)
    found: Object = {
        "priorityClassName": placement.priority_class_name,
        "schedulerName": placement.scheduler_name,
        "nodeSelector": wire["nodeSelector"],
        "tolerations": list(wire["tolerations"]),
        "affinity": placement.affinity,
        "imagePullSecrets": [{"name": secret.name} for secret in spec.runtime.image_pull_secrets],
    }
    return {key: value for key, value in found.items() if value}


def _container(spec: SFTRunSpec, *, env: list[Object], mounts: list[Object]) -> Object:
    container: Object = {
        "name": names.CONTAINER,
        "image": spec.runtime.image,
        "command": ["python", paths.RUNNER],
        "workingDir": paths.WORK_DIR,
        "env": env,
        "ports": [{"name": names.PROGRESS_PORT_NAME, "containerPort": names.PROGRESS_PORT, "protocol": "TCP"}],
        "resources": _resources(spec),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePath": "/dev/termination-log",
        # When the runner could not write it (killed together with the training), the end of its log takes its place.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }
    if spec.runtime.image_pull_policy:
        container["imagePullPolicy"] = spec.runtime.image_pull_policy
    return container


def _resources(spec: SFTRunSpec) -> Object:
    wanted = spec.resources
    amounts = {"cpu": wanted.cpu, "memory": wanted.memory}
    if wanted.gpus:
        amounts[wanted.gpu_resource] = str(wanted.gpus)
    return {"requests": dict(amounts), "limits": amounts}


def _env(spec: SFTRunSpec, rendered: Rendered) -> list[Object]:
    """Later names win over earlier ones, and the user's over ours. Secrets only by reference."""
    plain = {**_ENV, **rendered.env, **{item.name: item.value for item in spec.runtime.env}}
    return [
        *({"name": name, "value": value} for name, value in plain.items()),
        *(_secret(secret) for secret in secret_vars(spec)),
    ]


def _secret(secret: SecretVar) -> Object:
    reference: Object = {"name": secret.secret_name, "key": secret.key}
    if secret.optional:
        reference["optional"] = True
    return {"name": secret.name, "valueFrom": {"secretKeyRef": reference}}
