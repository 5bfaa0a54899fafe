"""The output volume that swiftop makes for an object, and the Service by which several ranks find each other."""

from __future__ import annotations

from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.base import CustomResource
from swiftop.api.v1alpha1.workload import OutputVolume, WorkloadSpec, output_of
from swiftop.workload.meta import child_labels, name_labels, owner_references

Object = dict[str, Any]


def beside(owner: CustomResource, spec: WorkloadSpec) -> list[Object]:
    """What the pods of an object need besides their Job, in the order in which it is made."""
    output = output_of(spec)
    claims = [output_claim(owner, output.volume)] if output is not None and output.volume is not None else []
    return [*claims, *([ranks_service(owner)] if spec.resources.nodes > 1 else [])]


def output_claim(owner: CustomResource, volume: OutputVolume) -> Object:
    """A retained volume has no owner, so that it outlives the object, and a later one of the name finds it by label."""
    name = names.output_claim_name(owner.DEFINITION.resource, owner.metadata.name)
    metadata: Object = {"name": name, "namespace": owner.metadata.namespace, "labels": name_labels(owner)}
    if volume.retain == "Delete":
        metadata["ownerReferences"] = owner_references(owner)
    spec: Object = {"accessModes": [volume.access_mode], "resources": {"requests": {"storage": volume.size}}}
    if volume.storage_class_name:
        spec["storageClassName"] = volume.storage_class_name
    return {"apiVersion": names.PVC.api_version, "kind": names.PVC.kind, "metadata": metadata, "spec": spec}


def ranks_service(owner: CustomResource) -> Object:
    """Headless Service of the pods of one object."""
    return {
        "apiVersion": names.SERVICE.api_version,
        "kind": names.SERVICE.kind,
        "metadata": {
            "name": names.service_name(owner.DEFINITION.resource, owner.metadata.name),
            "namespace": owner.metadata.namespace,
            "labels": child_labels(owner),
            "ownerReferences": owner_references(owner),
        },
        "spec": {
            "clusterIP": "None",
            # Ranks must find rank 0 before any of them can be ready.
            "publishNotReadyAddresses": True,
            "selector": {names.LABEL_NAME: owner.metadata.name, names.LABEL_UID: owner.metadata.uid},
        },
    }
