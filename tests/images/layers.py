"""Looking into an OCI archive: its configuration and every file of every layer, files deleted by later layers too."""

from __future__ import annotations

import json
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from images import archive


def manifest(path: Path) -> dict[str, Any]:
    return archive.read_json(path, archive.blob_name(archive.manifest_digest(path)))


def config(path: Path) -> dict[str, Any]:
    return archive.read_json(path, archive.blob_name(manifest(path)["config"]["digest"]))


def files(path: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Each regular file of each layer with its content."""
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(path) as outer:
        for layer in manifest(path)["layers"]:
            outer.extract(archive.blob_name(layer["digest"]), scratch, filter="data")
            blob = Path(scratch) / archive.blob_name(layer["digest"])
            if layer["mediaType"].endswith("zstd"):
                with (
                    subprocess.Popen(["zstd", "-dcq", blob], stdout=subprocess.PIPE) as unpacked,
                    tarfile.open(fileobj=unpacked.stdout, mode="r|") as layer_tar,
                ):
                    yield from _regular(layer_tar)
                assert unpacked.returncode == 0
            else:
                with tarfile.open(blob) as layer_tar:
                    yield from _regular(layer_tar)
            blob.unlink()


def _regular(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    for member in tar:
        content = tar.extractfile(member) if member.isreg() else None
        if content:
            yield member, content.read()


def holding(path: Path, needles: list[bytes]) -> list[str]:
    """Where any of the needles stands: file names, and `config` for the image's own description."""
    found = [member.name for member, content in files(path) if any(needle in content for needle in needles)]
    settings = json.dumps(config(path)).encode()
    return [*found, *(["config"] if any(needle in settings for needle in needles) else [])]
