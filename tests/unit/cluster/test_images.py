"""Image archives: their identity, and that one content is imported once."""

from pathlib import Path

import pytest

from tests.cluster import images


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "program"
    file.write_bytes(b"\x7fELF")
    return file


@pytest.fixture
def ctr(tmp_path: Path) -> Path:
    """A containerd client that notes its calls and knows what it was given to import."""
    script = tmp_path / "ctr"
    script.write_text(
        f"""#!/bin/sh
echo "$2" >> {tmp_path}/calls
case "$2" in
import) echo localhost/x:1 > {tmp_path}/names; printf 'localhost/x:1  \\tsaved\\t\\nImporting\\telapsed: 0.1 s\\t\\n';;
ls) cat {tmp_path}/names 2>/dev/null; true;;
esac
"""
    )
    script.chmod(0o755)
    return script


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().split()


def test_the_same_content_is_the_same_archive(tmp_path: Path, program: Path) -> None:
    for name in ("a.tar", "b.tar"):
        images.write_archive(tmp_path / name, "localhost/x:1", {"bin/x": program}, ["/bin/x"])
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_the_digest_changes_with_content_and_with_name(tmp_path: Path, program: Path) -> None:
    archive = tmp_path / "x.tar"
    digests = set()
    for name, content in (("localhost/x:1", b"1"), ("localhost/x:2", b"1"), ("localhost/x:2", b"2")):
        program.write_bytes(content)
        images.write_archive(archive, name, {"bin/x": program}, ["/bin/x"])
        digests.add(images.archive_digest(archive))
    assert len(digests) == 3


def test_an_image_is_imported_once(tmp_path: Path, program: Path, ctr: Path) -> None:
    archive = tmp_path / "x.tar"
    images.write_archive(archive, "localhost/x:1", {"bin/x": program}, ["/bin/x"])
    for _ in range(2):
        assert images.load(archive, [str(ctr)], tmp_path) == ["localhost/x:1"]
    assert calls(tmp_path) == ["ls", "import", "ls"]


def test_a_changed_image_is_imported_again(tmp_path: Path, program: Path, ctr: Path) -> None:
    archive = tmp_path / "x.tar"
    for content in (b"1", b"2"):
        program.write_bytes(content)
        images.write_archive(archive, "localhost/x:1", {"bin/x": program}, ["/bin/x"])
        images.load(archive, [str(ctr)], tmp_path)
    assert calls(tmp_path).count("import") == 2


def test_an_image_that_the_store_lost_is_imported_again(tmp_path: Path, program: Path, ctr: Path) -> None:
    archive = tmp_path / "x.tar"
    images.write_archive(archive, "localhost/x:1", {"bin/x": program}, ["/bin/x"])
    images.load(archive, [str(ctr)], tmp_path)
    (tmp_path / "names").unlink()
    images.load(archive, [str(ctr)], tmp_path)
    assert calls(tmp_path).count("import") == 2
