"""What serves: a Deployment, its Service, a budget for disruptions and, when asked for, an autoscaler."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.base import CustomResource
from swiftop.model.facts import Withdrawn
from swiftop.model.kind import Pinned
from swiftop.names import Resource
from swiftop.runner.protocol import SERVE_PORT
from swiftop.workload.job import plan_of
from swiftop.workload.meta import child_labels, name_labels, owner_references
from swiftop.workload.pods import Pod, pod_template

Object = dict[str, Any]

PORT_NAME = "openai"
_PROBE_SECONDS = 5
_OWN_LABELS = (names.LABEL_MANAGED_BY, names.LABEL_KIND, names.LABEL_NAME, names.LABEL_UID)
_HASH = "pod-template-hash"  # the Deployment controller's own label
_APPLIED = ("replicas", "revisionHistoryLimit", "progressDeadlineSeconds", "strategy", "selector", "template")
_LIVENESS_FAILURES = 6
IN_FLIGHT = "swiftop_serve_in_flight"
"""Metric of the pods' own pages that an autoscaler aims at."""


def probes(*, load_seconds: int) -> dict[str, Object]:
    """Startup waits as long as loading may take; liveness fails on what only a restart heals, readiness on anything.

    What no restart heals, as an adapter that does not load, keeps a pod out of the Service and lets it tell why.
    """
    return {
        "startupProbe": _probe("/health", failures=-(-load_seconds // _PROBE_SECONDS), timeout=5),
        "readinessProbe": _probe("/ready", failures=2, timeout=10),
        "livenessProbe": _probe("/health", failures=_LIVENESS_FAILURES, timeout=5),
    }


def _probe(path: str, *, failures: int, timeout: int) -> Object:
    return {
        "httpGet": {"path": path, "port": PORT_NAME},
        "periodSeconds": _PROBE_SECONDS,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }


def selector(owner: CustomResource) -> dict[str, str]:
    """Labels of all pods of one object, whatever their revision."""
    return {**name_labels(owner), names.LABEL_UID: owner.metadata.uid}


def deployment(
    pod: Pod, *, name: str, replicas: int, digest: str, resolved: Mapping[str, Any], load_seconds: int
) -> Object:
    """A new revision takes over pod by pod: no old one goes before a new one answers.

    ``resolved`` is what the pods stay with until ``digest`` changes: an upgrade of the operator or an edit of the
    platform's defaults restarts nothing.
    """
    spec: Object = {
        "replicas": replicas,
        "revisionHistoryLimit": 2,
        # The deadline of the startup probe, and what the image and the volumes take before it begins.
        "progressDeadlineSeconds": load_seconds + 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "selector": {"matchLabels": selector(pod.owner)},
        "template": pod_template(pod),
    }
    annotations = {
        names.ANNOTATION_DIGEST: digest,
        names.ANNOTATION_RESOLVED: json.dumps(resolved, ensure_ascii=False, sort_keys=True, separators=(",", ":")),
    }
    return _object(names.DEPLOYMENT, pod.owner, name, spec, annotations)


def as_it_is(made: Object, *, digest: str, resolved: str, withdrawn: Withdrawn) -> Object:
    """``made`` with the template that is there, since the one that is asked for was taken back.

    Where that is the one itself, no pod of it is wanted: it would hold its GPUs, and answer wrongly again.
    """
    spec = {name: value for name, value in made["spec"].items() if name != "template"}
    if digest == withdrawn.revision:
        spec["replicas"] = 0
    annotations = _annotations(digest, resolved, withdrawn)
    return {**made, "metadata": {**made["metadata"], "annotations": annotations}, "spec": spec}


def taken_back(made: Object, earlier: Object | None, withdrawn: Withdrawn) -> Object:
    """A live Deployment without the revision that did not pass its gate: with the template of an earlier ReplicaSet,
    whose annotations the Deployment controller has copied, or with no pods at all."""
    meta, kept = made["metadata"], earlier or made
    known = kept["metadata"].get("annotations") or {}
    spec = {name: made["spec"][name] for name in _APPLIED if name in made["spec"]}
    if earlier is None:
        spec["replicas"] = 0
    else:
        template = earlier["spec"]["template"]
        labels = {key: value for key, value in template["metadata"]["labels"].items() if key != _HASH}
        spec["template"] = {**template, "metadata": {**template["metadata"], "labels": labels}}
    digest = spec["template"]["metadata"]["labels"].get(names.LABEL_REVISION, "")
    annotations = _annotations(digest, known.get(names.ANNOTATION_RESOLVED, ""), withdrawn)
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key in _OWN_LABELS}
    owners = [owner for owner in meta["ownerReferences"] if owner.get("controller")]
    identity = {name: meta[name] for name in ("name", "namespace", "uid")}
    return {
        "apiVersion": names.DEPLOYMENT.api_version,
        "kind": names.DEPLOYMENT.kind,
        "metadata": {**identity, "labels": labels, "ownerReferences": owners, "annotations": annotations},
        "spec": spec,
    }


def _annotations(digest: str, resolved: str, withdrawn: Withdrawn) -> dict[str, str]:
    found = {
        names.ANNOTATION_DIGEST: digest,
        names.ANNOTATION_RESOLVED: resolved,
        names.ANNOTATION_WITHDRAWN: json.dumps(asdict(withdrawn), ensure_ascii=False, sort_keys=True),
    }
    return {name: text for name, text in found.items() if text}


def service(
    owner: CustomResource, *, name: str, type_: str, port: int, annotations: Mapping[str, str] | None = None
) -> Object:
    """The address of all replicas that are ready."""
    spec: Object = {
        "type": type_,
        "selector": selector(owner),
        "ports": [{"name": PORT_NAME, "port": port, "targetPort": PORT_NAME, "protocol": "TCP"}],
    }
    return _object(names.SERVICE, owner, name, spec, annotations or {})


def disruption_budget(owner: CustomResource, *, name: str) -> Object:
    """A drained node takes one replica at a time. Of pods that do not answer any may go, else they block the drain."""
    spec: Object = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": selector(owner)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return _object(names.PDB, owner, name, spec, {})


def autoscaler(owner: CustomResource, *, name: str, target: str, low: int, high: int, in_flight: int) -> Object:
    """By requests in flight per pod, which the cluster's adapter for custom metrics reads off their pages."""
    metric = {"metric": {"name": IN_FLIGHT}, "target": {"type": "AverageValue", "averageValue": str(in_flight)}}
    spec: Object = {
        "scaleTargetRef": {"apiVersion": names.DEPLOYMENT.api_version, "kind": names.DEPLOYMENT.kind, "name": target},
        "minReplicas": low,
        "maxReplicas": high,
        "metrics": [{"type": "Pods", "pods": metric}],
    }
    return _object(names.HPA, owner, name, spec, {})


def adapters(owner: CustomResource, *, name: str, files: Mapping[str, str], resolved: Mapping[str, Any]) -> Object:
    """Files that the pods look at while they serve. ``resolved`` is where the results lie that they name.

    The digest tells a file too many, which is ours to remove, from one that somebody else has added.
    """
    told = json.dumps(resolved, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()[:10]
    annotations = {names.ANNOTATION_DIGEST: digest, names.ANNOTATION_RESOLVED: told}
    made = _object(names.CONFIG_MAP, owner, name, {}, annotations)
    return {**{member: value for member, value in made.items() if member != "spec"}, "data": dict(files)}


def pinned_of(made: Mapping[str, Any]) -> Pinned | None:
    """What a Deployment was made with; None for one whose template is not at hand."""
    plan = plan_of(made)
    if plan is None:
        return None
    containers = made["spec"]["template"]["spec"]["containers"]
    main = next(container for container in containers if container["name"] == names.CONTAINER)
    digest = made["metadata"]["annotations"][names.ANNOTATION_DIGEST]
    return Pinned(main.get("image", ""), plan.swift_version or "", shlex.join(plan.command), digest)


def serve_ports() -> dict[str, int]:
    """Port of the guard, by its name."""
    return {PORT_NAME: SERVE_PORT}


def _object(
    resource: Resource, owner: CustomResource, name: str, spec: Object, annotations: Mapping[str, str]
) -> Object:
    metadata: Object = {
        "name": name,
        "namespace": owner.metadata.namespace,
        "labels": child_labels(owner),
        "ownerReferences": owner_references(owner),
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}
