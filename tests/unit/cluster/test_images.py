"""Image archives: their identity, and that one content is imported once."""

from pathlib import Path

import pytest

from tests.cluster import images
from tests.cluster.layout import ClusterError

NAME = "localhost/swiftop/long-name-that-a-progress-display-would-cut:1"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "program"
    file.write_bytes(b"\x7fELF")
    return file


@pytest.fixture
def ctr(tmp_path: Path) -> list[str]:
    """A containerd client that notes its calls; it knows the names in a file after its first import."""
    script = tmp_path / "ctr"
    script.write_text(
        f"""#!/bin/sh
echo "$2" >> {tmp_path}/calls
case "$2" in
import) echo {NAME} > {tmp_path}/names;;
ls) cat {tmp_path}/names 2>/dev/null; true;;
esac
"""
    )
    script.chmod(0o755)
    return [str(script)]


def build(archive: Path, program: Path, content: bytes = b"1", name: str = NAME) -> Path:
    program.write_bytes(content)
    images.write_archive(archive, name, {"bin/x": program}, ["/bin/x"])
    return archive


def imports(tmp_path: Path) -> int:
    return (tmp_path / "calls").read_text().split().count("import")


def test_the_same_content_is_the_same_archive(tmp_path: Path, program: Path) -> None:
    first, second = (build(tmp_path / name, program) for name in ("a.tar", "b.tar"))
    assert first.read_bytes() == second.read_bytes()


def test_the_digest_changes_with_content_and_with_name(tmp_path: Path, program: Path) -> None:
    archives = [("localhost/x:1", b"1"), ("localhost/x:2", b"1"), ("localhost/x:2", b"2")]
    found = [images.contents(build(tmp_path / "x.tar", program, content, name)) for name, content in archives]
    assert len({item.digest for item in found}) == 3
    assert [item.names for item in found] == [{"localhost/x:1"}, {"localhost/x:2"}, {"localhost/x:2"}]


def test_the_names_of_an_archive_are_found_in_both_formats() -> None:
    named = {
        "annotations": {"io.containerd.image.name": "localhost/a/b:dev", "org.opencontainers.image.ref.name": "dev"}
    }
    plain = {"annotations": {"org.opencontainers.image.ref.name": "quay.io/c:1"}}
    docker = [{"RepoTags": ["busybox:1", "bitnami/x:1", "localhost/y:2", "ghcr.io/z:3"]}, {"RepoTags": None}]
    assert images.image_names({"manifests": [named, plain, {}]}, {}) == {"localhost/a/b:dev", "quay.io/c:1"}
    assert images.image_names({}, docker) == {
        "docker.io/library/busybox:1",
        "docker.io/bitnami/x:1",
        "localhost/y:2",
        "ghcr.io/z:3",
    }


def test_an_image_is_imported_once(tmp_path: Path, program: Path, ctr: list[str]) -> None:
    archive = build(tmp_path / "x.tar", program)
    for _ in range(2):
        assert images.load(archive, ctr, tmp_path) == [NAME]
    assert imports(tmp_path) == 1


def test_a_name_that_moved_to_another_build_moves_back(tmp_path: Path, program: Path, ctr: list[str]) -> None:
    old, new = build(tmp_path / "1.tar", program, b"1"), build(tmp_path / "2.tar", program, b"2")
    for archive in (old, new, old):
        images.load(archive, ctr, tmp_path)
    assert imports(tmp_path) == 3


def test_an_image_that_the_store_lost_is_imported_again(tmp_path: Path, program: Path, ctr: list[str]) -> None:
    archive = build(tmp_path / "x.tar", program)
    images.load(archive, ctr, tmp_path)
    (tmp_path / "names").unlink()
    images.load(archive, ctr, tmp_path)
    assert imports(tmp_path) == 2


def test_a_name_that_does_not_arrive_is_an_error(tmp_path: Path, program: Path, ctr: list[str]) -> None:
    archive = build(tmp_path / "x.tar", program, name="latest")
    with pytest.raises(ClusterError, match="does not know latest"):
        images.load(archive, ctr, tmp_path)
