"""The provisioner of the default StorageClass: a directory of the machine for every claim, ReadWriteMany included."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cluster.api import Api, Object
from tools.cluster.layout import STORAGE_CLASS

PROVISIONER = "swiftop.dev/directory"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
CLAIMS = "/api/v1/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"

_PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_STORAGE_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
_SELECTED_NODE = "volume.kubernetes.io/selected-node"


@dataclass(frozen=True)
class Actions:
    """What has to be done: volumes to create for claims, and names of volumes to delete."""

    create: tuple[Object, ...]
    delete: tuple[str, ...]


def storage_class() -> Object:
    """Waits for the first pod as most storage of real clusters does: a claim alone stays Pending."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def decide(claims: list[Any], volumes: list[Any], root: Path) -> Actions:
    """Pure: claims that the scheduler placed and nobody serves get a volume; released volumes of ours go."""
    existing = {volume["metadata"]["name"] for volume in volumes}
    wanted = [volume_for(claim, root) for claim in claims if _waits(claim)]
    released = [
        volume["metadata"]["name"]
        for volume in volumes
        if volume["metadata"].get("annotations", {}).get(_PROVISIONED_BY) == PROVISIONER
        and volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
        and volume.get("status", {}).get("phase") == "Released"
    ]
    return Actions(tuple(volume for volume in wanted if volume["metadata"]["name"] not in existing), tuple(released))


def volume_for(claim: Object, root: Path) -> Object:
    """The volume of a claim: its name holds the claim's UID, so that a claim gets one volume ever."""
    metadata, spec = claim["metadata"], claim["spec"]
    name = f"pvc-{metadata['uid']}"
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {_PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec["storageClassName"],
            "hostPath": {"path": str(root / name), "type": "Directory"},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
        },
    }


def reconcile(api: Api, root: Path) -> None:
    """Make the directories fit the claims."""
    actions = decide(api.get(CLAIMS)["items"], api.get(VOLUMES)["items"], root)
    for volume in actions.create:
        directory = root / volume["metadata"]["name"]
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o777)  # as local-path does: nothing applies a pod's fsGroup to a hostPath
        api.create(VOLUMES, volume, exists_ok=True)
    for name in actions.delete:
        shutil.rmtree(root / name, ignore_errors=True)
        api.delete(f"{VOLUMES}/{name}")


def _waits(claim: Object) -> bool:
    annotations = claim["metadata"].get("annotations", {})
    return (
        annotations.get(_STORAGE_PROVISIONER) == PROVISIONER
        and _SELECTED_NODE in annotations
        and not claim["spec"].get("volumeName")
        and "deletionTimestamp" not in claim["metadata"]
    )
