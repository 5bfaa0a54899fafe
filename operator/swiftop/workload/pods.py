"""The pod of any kind: hardened to Pod Security ``restricted``, one container, the runner as PID 1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.base import CustomResource
from swiftop.api.v1alpha1.workload import WorkloadSpec
from swiftop.errors import Invalid, Problem
from swiftop.runner.protocol import NVIDIA, PLAN_VARIABLE, POD_NAME, POD_UID, TERMINATION_LOG, BadPlan, Plan
from swiftop.swift import paths
from swiftop.swift.secrets import SecretVar
from swiftop.workload import disk
from swiftop.workload.meta import child_labels
from swiftop.workload.patch import strategic_merge
from swiftop.workload.runner import runner_command
from swiftop.workload.volumes import Volumes

Object = dict[str, Any]

_ENV = {
    "HOME": paths.WORK_DIR,  # the root file system is read-only
    "USER": "swiftop",  # torch asks for the user's name, and most images know none for the user id
    "LANG": "C.UTF-8",
    "COLUMNS": "300",  # rich cuts lines at 80 columns without a terminal, SwanLab's link among them
    "PYTHONUNBUFFERED": "1",
}
_GPU_CLAIM = "gpus"  # within the pod
# Where Python's ssl, requests and curl look for the certificates that they trust.
_TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_LARGEST_VARIABLE = 128 * 1024  # bytes with its name and the end of the text: MAX_ARG_STRLEN of Linux
_POD = {POD_UID: "metadata.uid", POD_NAME: "metadata.name"}  # which execution it is, for the runner's record
# A mesh's sidecar would outlive the work, and stand between the ranks; who wants one says so in podPatch.
_LABELS = {"sidecar.istio.io/inject": "false"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """What a kind's pod is made of. ``spec`` has the platform's defaults in it."""

    owner: CustomResource
    spec: WorkloadSpec
    attempt: int = 0  # 0: it serves, and is restarted in place
    labels: Mapping[str, str] = field(default_factory=dict)
    plan: Plan  # without the names of secrets: they are put in here
    volumes: Volumes
    env: Mapping[str, str] = field(default_factory=dict)  # without secrets
    secrets: tuple[SecretVar, ...] = ()
    grace_seconds: int  # between SIGTERM and SIGKILL
    fetches: bool = False  # loads a model of a hub, of any size, also without GPUs
    replaceable: bool = True  # another one in the same Job may go on with its work
    ports: Mapping[str, int] = field(default_factory=dict)  # besides that of its progress
    probes: Mapping[str, Object] = field(default_factory=dict)


def pod_template(pod: Pod) -> Object:
    """Template of the pods of a Job or a Deployment. The plan comes last: it names secrets of the patch."""
    template = {
        "metadata": {"labels": {**child_labels(pod.owner), **_attempt(pod), **pod.labels, **_LABELS}},
        "spec": {
            "restartPolicy": "Never" if pod.attempt else "Always",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": pod.grace_seconds,
            "securityContext": _pod_security(pod.spec),
            **_subdomain(pod),
            **_placement(pod.spec),
            **_resource_claims(pod.spec),
            "containers": [_container(pod)],
            "volumes": pod.volumes.volumes,
        },
    }
    merged: Object = strategic_merge(template, pod.spec.runtime.pod_patch or {})
    _harden(merged["spec"])
    main = next(c for c in merged["spec"]["containers"] if c["name"] == names.CONTAINER)
    # First, where a reader of the pod finds it.
    plan = encoded(fitting(_with_secrets(pod, main["env"])))
    main["env"] = [{"name": PLAN_VARIABLE, "value": plan}, *main["env"]]
    return merged


def _restricted() -> Object:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _harden(spec: Object) -> None:
    """Containers that a patch adds get what Pod Security ``restricted`` asks of each, where they do not say it."""
    for group in ("containers", "initContainers"):
        if group in spec:
            spec[group] = [
                {**container, "securityContext": {**_restricted(), **(container.get("securityContext") or {})}}
                for container in spec[group]
            ]


def _subdomain(pod: Pod) -> Object:
    """Headless Service by which the pods of several ranks find each other."""
    if pod.spec.resources.nodes == 1:
        return {}
    return {"subdomain": names.service_name(pod.owner.DEFINITION.resource, pod.owner.metadata.name)}


def _attempt(pod: Pod) -> dict[str, str]:
    return {names.LABEL_ATTEMPT: str(pod.attempt)} if pod.attempt else {}


def _pod_security(spec: WorkloadSpec) -> Object:
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


def _placement(spec: WorkloadSpec) -> Object:
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


def _container(pod: Pod) -> Object:
    runtime = pod.spec.runtime
    container: Object = {
        "name": names.CONTAINER,
        "image": runtime.image,
        "command": runner_command(pod.volumes.runner),
        "workingDir": paths.WORK_DIR,
        "env": _env(pod),
        "ports": [
            {"name": name, "containerPort": port, "protocol": "TCP"}
            for name, port in {**pod.ports, names.PROGRESS_PORT_NAME: names.PROGRESS_PORT}.items()
        ],
        "resources": _resources(pod),
        "securityContext": {
            **_restricted(),
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePath": TERMINATION_LOG,
        # When the runner could not write it (killed together with its child), the end of its log takes its place.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": pod.volumes.mounts,
        **pod.probes,
    }
    if runtime.image_pull_policy:
        container["imagePullPolicy"] = runtime.image_pull_policy
    return container


def _resources(pod: Pod) -> Object:
    spec, wanted = pod.spec, pod.spec.resources
    amounts = {"cpu": wanted.cpu, "memory": wanted.memory}
    if wanted.gpus and wanted.gpu_claim is None:
        amounts[wanted.gpu_resource or NVIDIA] = str(wanted.gpus)
    claims = {"claims": [{"name": _GPU_CLAIM}]} if wanted.gpu_claim is not None else {}
    return {
        "requests": {**amounts, "ephemeral-storage": disk.requested(spec, fetches=pod.fetches)},
        "limits": {**amounts, "ephemeral-storage": disk.limit(spec)},
        **claims,
    }


def _resource_claims(spec: WorkloadSpec) -> Object:
    claim = spec.resources.gpu_claim
    if claim is None:
        return {}
    return {"resourceClaims": [{"name": _GPU_CLAIM, **claim.model_dump(by_alias=True, exclude_none=True)}]}


def _env(pod: Pod) -> list[Object]:
    """Later names win over earlier ones, and the user's over ours. Secrets only by reference."""
    trusted = dict.fromkeys(_TRUST, paths.CA_BUNDLE) if pod.spec.runtime.ca_bundle else {}
    plain = {**_ENV, **trusted, **pod.env, **{item.name: item.value for item in pod.spec.runtime.env}}
    plain = {**_old_hub(plain), **plain}
    return [
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in _POD.items()),
        *({"name": name, "value": value} for name, value in plain.items()),
        *(_secret(secret) for secret in pod.secrets),
    ]


def _old_hub(plain: Mapping[str, str]) -> dict[str, str]:
    """A mirror of ModelScope for its older clients too, of ms-swift 3.x: they know a domain, reached by https alone."""
    scheme, _, domain = plain.get("MODELSCOPE_ENDPOINT", "").rstrip("/").partition("://")
    return {"MODELSCOPE_DOMAIN": domain} if scheme == "https" and domain and "/" not in domain else {}


def _secret(secret: SecretVar) -> Object:
    reference: Object = {"name": secret.secret_name, "key": secret.key}
    if secret.optional:
        reference["optional"] = True
    return {"name": secret.name, "valueFrom": {"secretKeyRef": reference}}


def _with_secrets(pod: Pod, env: Iterable[Mapping[str, Any]]) -> Plan:
    """The plan with the names of all variables that come from a Secret, those that a pod patch added among them."""
    ours = tuple(secret.name for secret in pod.secrets)
    found = [item["name"] for item in env if "secretKeyRef" in (item.get("valueFrom") or {})]
    return replace(
        pod.plan,
        required_env=tuple(secret.name for secret in pod.secrets if not secret.optional),
        secret_env=tuple(dict.fromkeys((*ours, *found))),
    )


def fitting(plan: Plan) -> Plan:
    """The plan, if Linux takes it as a variable: else the container would not start, and nobody could tell why."""
    size = len(f"{PLAN_VARIABLE}={plan.to_json()}".encode()) + 1
    if size > _LARGEST_VARIABLE:
        message = f"its command and settings take {-(-size // 1024)} KiB, and a process is given 128 KiB at most"
        suggestion = "shorten extraArgs and lists of datasets, or put long values into a file (files) and name that"
        raise Invalid((Problem("spec", message, suggestion),))
    return plan


def encoded(plan: Plan) -> str:
    """The plan as the value of an environment variable.

    The kubelet expands ``$(NAME)`` in such a value, so that a plan could pull a secret into the command line, and takes
    ``$$`` for an escaped ``$``: every ``$`` is escaped.
    """
    return plan.to_json().replace("$", "$$")


def decoded(value: str) -> Plan | None:
    """The plan out of the variable of a Job's pod template; None for what is not a plan."""
    try:
        return Plan.from_json(value.replace("$$", "$"))
    except BadPlan:
        return None
