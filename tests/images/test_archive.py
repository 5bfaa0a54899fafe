"""The archive that clusters import."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from images import archive


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """An OCI layout as buildah pushes it."""
    directory = tmp_path / "layout"
    (directory / "blobs/sha256").mkdir(parents=True)
    (directory / "blobs/sha256/abc").write_text("{}")
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    entry = {"digest": "sha256:abc", "size": 2, "annotations": {"org.opencontainers.image.ref.name": "image"}}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return directory


def test_one_image_bears_all_its_names(layout: Path, tmp_path: Path) -> None:
    target = tmp_path / "image.tar"
    archive.pack_layout(layout, ["localhost/swiftop/operator:dev", "localhost/swiftop/operator:0123"], target)
    entries = archive.read_json(target, "index.json")["manifests"]
    assert [entry["annotations"]["io.containerd.image.name"] for entry in entries] == [
        "localhost/swiftop/operator:dev",
        "localhost/swiftop/operator:0123",
    ]
    assert {entry["digest"] for entry in entries} == {"sha256:abc"}
    assert archive.manifest_digest(target) == "sha256:abc"


def test_the_small_files_come_first_so_that_readers_need_no_second_pass(layout: Path, tmp_path: Path) -> None:
    target = tmp_path / "image.tar"
    archive.pack_layout(layout, ["a/b:c"], target)
    with tarfile.open(target) as tar:
        assert tar.getnames() == ["index.json", "oci-layout", "blobs/sha256/abc"]


OCI = "application/vnd.oci.image"
IMAGE: dict[str, Any] = {"config": {"digest": "sha256:c"}, "layers": [{"digest": "sha256:l1"}, {"digest": "sha256:l2"}]}
WHOLE: dict[str, Any] = {f"blobs/sha256/{name}": {} for name in ("c", "l1", "l2")} | {"blobs/sha256/abc": IMAGE}


def packed(target: Path, members: Mapping[str, Any]) -> Path:
    """An archive of JSON members."""
    with tarfile.open(target, "w") as tar:
        for name, document in members.items():
            content = json.dumps(document).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return target


def index(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"manifests": list(entries)}


def test_an_index_that_docker_puts_around_the_image_is_looked_through(tmp_path: Path) -> None:
    """With its containerd store and attestations, `docker save` writes an index of images and what is said of them."""
    outer = index({"digest": "sha256:list", "mediaType": f"{OCI}.index.v1+json"})
    attestation = {"digest": "sha256:said", "platform": {"os": "unknown", "architecture": "unknown"}}
    inner = index(attestation, {"digest": "sha256:abc", "platform": {"os": "linux", "architecture": "amd64"}})
    saved = packed(tmp_path / "image.tar", {**WHOLE, "index.json": outer, "blobs/sha256/list": inner})
    assert archive.manifest_digest(saved) == "sha256:abc"
    archive.check(saved)


def test_a_whole_archive_passes_and_one_that_lacks_a_layer_does_not(tmp_path: Path) -> None:
    members = {**WHOLE, "index.json": index({"digest": "sha256:abc"})}
    archive.check(packed(tmp_path / "whole.tar", members))
    del members["blobs/sha256/l2"]
    with pytest.raises(ValueError, match="is not whole: it has no blobs/sha256/l2"):
        archive.check(packed(tmp_path / "part.tar", members))


def test_what_an_old_docker_saves_is_refused(tmp_path: Path) -> None:
    legacy: dict[str, Any] = {"manifest.json": [], "repositories": {}, "c.json": {}, "l1/layer.tar": {}}
    with pytest.raises(ValueError, match=r"no OCI archive of one image: it has no index\.json"):
        archive.check(packed(tmp_path / "image.tar", legacy))
