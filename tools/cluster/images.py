"""Image archives: writing tiny ones without any tool, and loading them into containerd without repeating work."""

import hashlib
import io
import json
import platform
import re
import shutil
import subprocess
import tarfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from images.build import build
from images.catalog import IMAGES, REGISTRY, cache_directory
from images.engines import BuildError
from tools.cluster import locks
from tools.cluster.host import run_checked
from tools.cluster.layout import ClusterError

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_DIRECTORIES = ("tmp", "etc", "bin", "proc", "sys", "dev")
_INDEXES = ("index.json", "manifest.json")
_OCI = "application/vnd.oci.image"
_OURS = re.compile(re.escape(REGISTRY) + r"/([^/:]+)(?::([^/:]+))?")
# Names that containerd's Kubernetes part and kind's import give to every image beside its own.
_SHADOWS = ("sha256:", "import-")


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


def find(name: str, scratch: Path) -> Path:
    """An archive of an image: one of this project's own, or one that docker or buildah on this machine knows."""
    ours = _OURS.fullmatch(name)
    if ours and ours[1] in IMAGES:
        return _own(ours[1], ours[2])
    return _export(name, scratch)


def _own(image: str, tag: str | None) -> Path:
    """Of the sources as they are now, or the build that the tag names; buildah keeps these in a store of their own."""
    kept = cache_directory() / f"{image}-{tag}.tar"
    if kept.is_file():
        return kept
    if tag not in {None, "dev"}:
        raise ClusterError(f"{REGISTRY}/{image}:{tag} is in the cache no more; {REGISTRY}/{image} is the one of now")
    try:
        return build(image).archive
    except BuildError as error:
        raise ClusterError(str(error)) from error


def _export(name: str, archive: Path) -> Path:
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


@dataclass(frozen=True)
class Contents:
    """What an archive says about itself: its index names every blob by digest, so the blobs need no reading."""

    digest: str
    names: frozenset[str]


def contents(archive: Path) -> Contents:
    """Read the index of an OCI archive, the manifest of a Docker archive, or both."""
    found = dict.fromkeys(_INDEXES, b"")
    with tarfile.open(archive) as members:
        for member in members:
            name = member.name.removeprefix("./")
            file = members.extractfile(member) if name in found else None
            if file:
                found[name] = file.read()
    digest = hashlib.sha256(b"\0".join(found.values())).hexdigest()
    return Contents(digest, image_names(*(json.loads(text or b"{}") for text in found.values())))


def image_names(index: Any, manifest: Any) -> frozenset[str]:
    """Pure: the names under which containerd will know the images, in its full form."""
    names = set()
    for entry in index.get("manifests", []):
        annotations = entry.get("annotations", {})
        name = annotations.get("io.containerd.image.name") or annotations.get("org.opencontainers.image.ref.name")
        names |= {name} if name else set()
    for entry in manifest or []:
        names |= {_full_name(tag) for tag in entry.get("RepoTags") or []}
    return frozenset(names)


@dataclass(frozen=True)
class Store:
    """A cluster's containerd: its client, the command that imports the archive, and the record of what was imported.

    The record has to go when the store goes. It is kept by name: two builds can carry one tag.
    """

    ctr: Sequence[str]
    importing: Sequence[str]
    record: Path


def load(archive: Path, store: Store) -> list[str]:
    """Import unless every name of the archive stands for this content already, and let go of what it supersedes."""
    wanted = contents(archive)
    if not wanted.names:
        raise ClusterError(f"{archive} names no image")
    with locks.exclusive(store.record.with_suffix(".lock")):
        imported: dict[str, str] = json.loads(store.record.read_text()) if store.record.exists() else {}
        current = {name for name in _listed(store.ctr) if imported.get(name) == wanted.digest}
        if not wanted.names <= current:
            run_checked(store.importing, f"the cluster cannot import {archive}")
            listed = _listed(store.ctr)
            if lost := wanted.names - listed.keys():
                raise ClusterError(f"containerd does not know {', '.join(lost)} after the import of {archive}")
            imported |= dict.fromkeys(wanted.names, wanted.digest)
            old = superseded(listed, wanted.names, _used(store.ctr))
            kept = {name: digest for name, digest in imported.items() if name in listed and name not in old}
            store.record.write_text(json.dumps(kept, indent=2))
            if old:
                run_checked([*store.ctr, "images", "rm", *old], "containerd does not let go of old images")
    return sorted(wanted.names)


def superseded(listed: Mapping[str, str], loaded: Collection[str], used: Collection[str]) -> list[str]:
    """Pure: the names, with their digests given, that stand for older builds of the project's images just loaded.

    Every change of the sources makes an image of a new name, the trainer's of 2 GB. What a container was made from
    stays, and so does all that was loaded by a name of somebody's own choice; what lost its name goes.
    """
    repositories = {ours[1] for name in loaded if (ours := _OURS.fullmatch(name))}

    def replaced(name: str) -> bool:
        ours = _OURS.fullmatch(name)
        return ours is not None and ours[1] in repositories and name not in loaded and name not in used

    own_names = [name for name in listed if name in used or not name.startswith(_SHADOWS)]
    kept = {listed[name] for name in own_names if not replaced(name)}
    return sorted(name for name in listed if listed[name] not in kept)


def _listed(ctr: Sequence[str]) -> dict[str, str]:
    """Name and digest of every image."""
    lines = run_checked([*ctr, "images", "ls"], "containerd does not list its images").splitlines()
    return {words[0]: words[2] for line in lines[1:] if len(words := line.split()) > 2}


def _used(ctr: Sequence[str]) -> set[str]:
    lines = run_checked([*ctr, "containers", "ls"], "containerd does not list its containers").splitlines()
    return {words[1] for line in lines[1:] if len(words := line.split()) > 1}


def _full_name(name: str) -> str:
    """What containerd makes of Docker's short names."""
    first, slash, _ = name.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"


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
