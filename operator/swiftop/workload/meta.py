"""Labels and owner references: how a child is found, and whom it belongs to or works for."""

from __future__ import annotations

from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.base import CustomResource
from swiftop.runner.protocol import Owner


def name_labels(owner: CustomResource) -> dict[str, str]:
    """Labels of what may outlive its owner, as a retained volume does: no UID."""
    return {
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_KIND: owner.DEFINITION.resource.kind,
        names.LABEL_NAME: owner.metadata.name,
    }


def child_labels(owner: CustomResource) -> dict[str, str]:
    """Labels of what belongs to this very object."""
    return {**name_labels(owner), names.LABEL_UID: owner.metadata.uid}


def owner_references(owner: CustomResource) -> list[dict[str, Any]]:
    """References that make Kubernetes delete the child with its owner, whether or not the operator runs."""
    resource = owner.DEFINITION.resource
    return [
        {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "name": owner.metadata.name,
            "uid": owner.metadata.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]


def plan_owner(owner: CustomResource) -> Owner:
    """The owner, as the runner is told."""
    meta = owner.metadata
    return Owner(kind=owner.DEFINITION.resource.kind, namespace=meta.namespace, name=meta.name, uid=meta.uid)
