"""Image archives: writing tiny ones without any tool, and loading them into containerd without repeating work."""

import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster.host import run_checked
from tests.cluster.layout import ClusterError

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_DIRECTORIES = ("tmp", "etc", "bin", "proc", "sys", "dev")
_INDEXES = ("index.json", "manifest.json")
_OCI = "application/vnd.oci.image"


def write_archive(path: Path, name: str, files: Mapping[str, Path], command: Sequence[str]) -> None:
    """An OCI archive with one layer that holds the given files; the same input gives the same bytes."""
    layer = _layer(files)
    settings = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Cmd": list(command), "Env": ["PATH=/usr/bin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": _descriptor(f"{_OCI}.config.v1+json", settings),
            "layers": [_descriptor(f"{_OCI}.layer.v1.tar", layer)],
        }
    ).encode()
    entry = _descriptor(f"{_OCI}.manifest.v1+json", manifest)
    annotated = entry | {"annotations": {"io.containerd.image.name": name}}
    index = json.dumps({"schemaVersion": 2, "manifests": [annotated]}).encode()
    with tarfile.open(path, "w") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(archive, "index.json", index)
        for blob in (layer, settings, manifest):
            _add(archive, f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}", blob)


def export(name: str, archive: Path) -> Path:
    """An archive of an image that docker or buildah on this machine knows."""
    for program, inspect, save in (
        ("docker", ["image", "inspect", name], ["save", "--output", str(archive), name]),
        ("buildah", ["inspect", "--type", "image", name], ["push", "--quiet", name, f"oci-archive:{archive}:{name}"]),
    ):
        if shutil.which(program):
            known = subprocess.run([program, *inspect], capture_output=True, check=False).returncode == 0
            if known:
                run_checked([program, *save], f"{program} cannot export {name}")
                return archive
    raise ClusterError(f"{name} is neither an archive nor an image that docker or buildah knows")


def archive_digest(path: Path) -> str:
    """The identity of an archive's content: its index names every blob by digest, so the blobs need no reading."""
    digest = hashlib.sha256()
    with tarfile.open(path) as archive:
        for member in archive:
            if member.name.removeprefix("./") in _INDEXES:
                content = archive.extractfile(member)
                digest.update(content.read() if content else b"")
    return digest.hexdigest()


def load(archive: Path, ctr: Sequence[str], store: Path) -> list[str]:
    """Import unless the store has it. The record lies in the store, so that both are lost together."""
    record = store / "imported.json"
    imported: dict[str, list[str]] = json.loads(record.read_text()) if record.exists() else {}
    digest = archive_digest(archive)
    present = set(run_checked([*ctr, "images", "ls", "--quiet"], "containerd refuses").split())
    if not (digest in imported and set(imported[digest]) <= present):
        output = run_checked([*ctr, "images", "import", str(archive)], f"containerd cannot import {archive}")
        imported[digest] = sorted(imported_names(output))
        record.write_text(json.dumps(imported, indent=2))
    return imported[digest]


def imported_names(output: str) -> set[str]:
    """Pure: the image names in what `ctr images import` prints."""
    fields = (line.split("\t") for line in output.splitlines())
    return {name.strip() for name, *rest in fields if rest and rest[0].strip() == "saved"}


def _layer(files: Mapping[str, Path]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for directory in _DIRECTORIES:
            entry = tarfile.TarInfo(directory)
            entry.type = tarfile.DIRTYPE
            entry.mode = 0o1777 if directory == "tmp" else 0o755
            archive.addfile(entry)
        _add(archive, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
        _add(archive, "etc/group", b"root:x:0:\n")
        for target, source in files.items():
            _add(archive, target, source.read_bytes(), mode=0o755)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _descriptor(kind: str, content: bytes) -> dict[str, object]:
    return {"mediaType": kind, "digest": _digest(content), "size": len(content)}
