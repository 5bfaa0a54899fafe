"""OCI image archives: one tar that `ctr images import`, `kind load image-archive`, docker and podman all read."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

NAME_OF_CONTAINERD = "io.containerd.image.name"
NAME_OF_OCI = "org.opencontainers.image.ref.name"
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


def named_index(index: dict[str, Any], refs: Sequence[str]) -> dict[str, Any]:
    """The same single image under several full names: buildah writes one, and not where containerd looks for it."""
    (manifest,) = index["manifests"]
    named = [
        {**manifest, "annotations": {NAME_OF_CONTAINERD: ref, NAME_OF_OCI: ref.rpartition(":")[2]}} for ref in refs
    ]
    return {**index, "manifests": named}


def pack_layout(layout: Path, refs: Sequence[str], archive: Path) -> None:
    """Tar an OCI layout directory, naming its image `refs`."""
    index = layout / "index.json"
    index.write_text(json.dumps(named_index(json.loads(index.read_text()), refs)))
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for file in sorted(layout.rglob("*"), key=lambda path: (path.parent != layout, path)):
            if file.is_file():
                tar.add(file, str(file.relative_to(layout)))


def blob_name(digest: str) -> str:
    """Where a blob lies in an archive."""
    return f"blobs/{digest.replace(':', '/')}"


def read_json(archive: Path, member: str) -> dict[str, Any]:
    """One JSON member of an archive."""
    with tarfile.open(archive) as tar:
        try:
            file = tar.extractfile(member)
        except KeyError:
            file = None
        if file is None:
            raise ValueError(f"{archive} is no OCI archive of one image: it has no {member}")
        return cast("dict[str, Any]", json.loads(file.read()))


def manifest_digest(archive: Path) -> str:
    """Digest of the image in an archive.

    Docker may put an index of its own in between, around one image per platform and what it attests about each.
    """
    entry = read_json(archive, "index.json")["manifests"][0]
    while entry.get("mediaType") in INDEXES:
        inner = read_json(archive, blob_name(entry["digest"]))["manifests"]
        entry = next(item for item in inner if item.get("platform", {}).get("os") != "unknown")
    return str(entry["digest"])


def check(archive: Path) -> None:
    """Refuse an archive that a cluster could not import: its image must be whole.

    Raises:
        ValueError: it has no index, or blobs that its image names are missing.
    """
    manifest = read_json(archive, blob_name(manifest_digest(archive)))
    wanted = {blob_name(part["digest"]) for part in (manifest["config"], *manifest["layers"])}
    with tarfile.open(archive) as tar:
        missing = sorted(wanted - set(tar.getnames()))
    if missing:
        raise ValueError(f"{archive} is not whole: it has no {', '.join(missing)}")
