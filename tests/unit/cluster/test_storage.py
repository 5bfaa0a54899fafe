"""The provisioner's decisions."""

from pathlib import Path
from typing import Any

from tools.cluster import storage

ROOT = Path("/volumes")


def claim(**changes: Any) -> dict[str, Any]:
    metadata = {
        "name": "out",
        "namespace": "team",
        "uid": "u1",
        "annotations": {
            "volume.kubernetes.io/storage-provisioner": storage.PROVISIONER,
            "volume.kubernetes.io/selected-node": "node1",
        },
    } | changes.pop("metadata", {})
    spec = {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "3Gi"}},
        "storageClassName": "standard",
    } | changes
    return {"metadata": metadata, "spec": spec}


def test_a_claim_with_a_pod_gets_a_volume_that_is_bound_to_it() -> None:
    (volume,) = storage.decide([claim()], [], ROOT).create
    assert volume["metadata"]["name"] == "pvc-u1"
    assert volume["spec"]["claimRef"]["uid"] == "u1"
    assert volume["spec"]["accessModes"] == ["ReadWriteMany"]
    assert volume["spec"]["capacity"] == {"storage": "3Gi"}
    assert volume["spec"]["hostPath"]["path"] == "/volumes/pvc-u1"


def test_claims_that_are_not_ours_to_serve_get_nothing() -> None:
    others = [
        claim(metadata={"annotations": {}}),
        claim(metadata={"annotations": {"volume.kubernetes.io/storage-provisioner": storage.PROVISIONER}}),
        claim(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
        claim(volumeName="taken"),
    ]
    assert storage.decide(others, [], ROOT).create == ()


def test_a_claim_gets_one_volume_only() -> None:
    volume = storage.volume_for(claim(), ROOT) | {"status": {"phase": "Available"}}
    assert storage.decide([claim()], [volume], ROOT) == storage.Actions((), ())


def test_only_released_volumes_of_ours_with_policy_delete_go() -> None:
    released = storage.volume_for(claim(), ROOT) | {"status": {"phase": "Released"}}
    foreign = {**released, "metadata": {"name": "nfs"}}
    kept = {
        **released,
        "metadata": {**released["metadata"], "name": "kept"},
        "spec": {**released["spec"], "persistentVolumeReclaimPolicy": "Retain"},
    }
    assert storage.decide([], [released, foreign, kept], ROOT).delete == ("pvc-u1",)
