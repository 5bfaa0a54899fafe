"""The archive that clusters import."""

import json
import tarfile
from pathlib import Path

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
