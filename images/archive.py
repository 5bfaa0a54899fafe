"""OCI image archives: one tar that `ctr images import`, `kind load image-archive`, docker and podman all read."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

NAME_OF_CONTAINERD = "io.containerd.image.name"
NAME_OF_OCI = "org.opencontainers.image.ref.name"


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


def read_json(archive: Path, member: str) -> dict[str, Any]:
    """One JSON member of an archive."""
    with tarfile.open(archive) as tar:
        file = tar.extractfile(member)
        if file is None:
            raise ValueError(f"{archive}: {member} is no file")
        return cast("dict[str, Any]", json.loads(file.read()))


def manifest_digest(archive: Path) -> str:
    """Digest of the image in an archive; whole archives only, since the index must parse."""
    return str(read_json(archive, "index.json")["manifests"][0]["digest"])
