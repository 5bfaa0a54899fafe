"""Labels and owner references: how a child is found, and who it belongs to."""

from __future__ import annotations

from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.sftrun import SFTRun


def run_labels(run: SFTRun) -> dict[str, str]:
    """Labels of what may outlive the run, as a retained volume does: no UID."""
    return {
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_KIND: run.kind,
        names.LABEL_NAME: run.metadata.name,
    }


def child_labels(run: SFTRun) -> dict[str, str]:
    """Labels of what belongs to this very run."""
    return {**run_labels(run), names.LABEL_UID: run.metadata.uid}


def owner(run: SFTRun) -> list[dict[str, Any]]:
    """Owner references that make Kubernetes delete the child with the run, whether or not the operator runs."""
    return [
        {
            "apiVersion": run.api_version,
            "kind": run.kind,
            "name": run.metadata.name,
            "uid": run.metadata.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
