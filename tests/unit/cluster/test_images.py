"""Image archives: their identity, and that one content is imported once."""

import json
from pathlib import Path

import pytest

from images.build import BuiltImage
from images.engines import BuildError
from tests.unit.cluster.commands import calls, stand_in
from tools.cluster import images
from tools.cluster.layout import ClusterError

NAME = "localhost/swiftop/long-name-that-a-progress-display-would-cut:1"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "program"
    file.write_bytes(b"\x7fELF")
    return file


@pytest.fixture
def store(tmp_path: Path) -> images.Store:
    """A containerd that knows the names in a file after its first import."""
    ctr = stand_in(
        tmp_path / "bin",
        "ctr",
        f"""case "$*" in
"images import"*) echo {NAME} application/vnd.oci.image.manifest.v1+json sha256:1 >> {tmp_path}/names;;
"images ls") echo REF TYPE DIGEST SIZE PLATFORMS LABELS; cat {tmp_path}/names 2>/dev/null; true;;
"containers ls") echo CONTAINER IMAGE RUNTIME; echo c0ffee localhost/pause:1 io.containerd.runc.v2;;
esac""",
    )
    return images.Store([str(ctr)], [str(ctr), "images", "import", "x.tar"], tmp_path / "store" / "names.json")


def build(archive: Path, program: Path, content: bytes = b"1", name: str = NAME) -> Path:
    program.write_bytes(content)
    images.write_archive(archive, name, {"bin/x": program}, ["/bin/x"])
    return archive


def imports(tmp_path: Path) -> int:
    return calls(tmp_path / "bin").count("ctr images import x.tar")


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


def test_an_image_is_imported_once(tmp_path: Path, program: Path, store: images.Store) -> None:
    archive = build(tmp_path / "x.tar", program)
    for _ in range(2):
        assert images.load(archive, store) == [NAME]
    assert imports(tmp_path) == 1


def test_a_name_that_moved_to_another_build_moves_back(tmp_path: Path, program: Path, store: images.Store) -> None:
    old, new = build(tmp_path / "1.tar", program, b"1"), build(tmp_path / "2.tar", program, b"2")
    for archive in (old, new, old):
        images.load(archive, store)
    assert imports(tmp_path) == 3


def test_an_image_that_the_store_lost_is_imported_again(tmp_path: Path, program: Path, store: images.Store) -> None:
    archive = build(tmp_path / "x.tar", program)
    images.load(archive, store)
    (tmp_path / "names").unlink()
    images.load(archive, store)
    assert imports(tmp_path) == 2


def test_a_name_that_does_not_arrive_is_an_error(tmp_path: Path, program: Path, store: images.Store) -> None:
    archive = build(tmp_path / "x.tar", program, name="latest")
    with pytest.raises(ClusterError, match="does not know latest"):
        images.load(archive, store)


def test_what_a_build_of_our_own_supersedes_goes(tmp_path: Path, program: Path, store: images.Store) -> None:
    old = "localhost/swiftop/long-name-that-a-progress-display-would-cut:00ff"
    store.record.parent.mkdir()
    store.record.write_text(json.dumps({old: "before"}))
    (tmp_path / "names").write_text(f"{old} type sha256:0\nsha256:00 type sha256:0\n")
    images.load(build(tmp_path / "x.tar", program), store)
    assert calls(tmp_path / "bin")[-1] == f"ctr images rm {old} sha256:00"
    assert list(json.loads(store.record.read_text())) == [NAME]


def test_only_older_builds_of_our_own_images_are_superseded() -> None:
    own = "localhost/swiftop/operator"
    listed = {
        f"{own}:dev": "sha256:3",
        f"{own}:3333": "sha256:3",
        f"{own}:3334": "sha256:3",  # the same content by another name: it costs nothing
        f"{own}:2222": "sha256:2",
        f"{own}:1111": "sha256:1",
        f"{own}-ui:1111": "sha256:7",
        "localhost/swiftop/trainer-cpu:1111": "sha256:4",
        "localhost/busybox:1": "sha256:5",
        "localhost/pause:1": "sha256:6",
        "sha256:c1": "sha256:1",
        "sha256:c2": "sha256:2",
        "sha256:c3": "sha256:3",
        "sha256:c5": "sha256:5",
        "import-2026-01-01@sha256:2": "sha256:2",
    }
    loaded = {f"{own}:dev", f"{own}:3333"}
    two = [f"{own}:2222", "sha256:c2", "import-2026-01-01@sha256:2"]
    one = [f"{own}:1111", "sha256:c1"]
    assert images.superseded(listed, loaded, {"localhost/pause:1"}) == sorted([*one, *two])
    assert images.superseded(listed, loaded, {f"{own}:2222"}) == sorted(one)
    assert images.superseded(listed, loaded, {"sha256:c2"}) == sorted(one)
    assert images.superseded(listed, {"localhost/busybox:1"}, set()) == []


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache without anything built, and neither docker nor buildah."""
    monkeypatch.setenv("SWIFTOP_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


@pytest.mark.parametrize("tag", ["", ":dev"])
def test_our_own_images_are_built_when_they_are_asked_for(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tag: str
) -> None:
    built = BuiltImage("operator", "", "", cache / "operator-1.tar", "", cached=False)
    monkeypatch.setattr(images, "build", lambda name: {"operator": built}[name])
    assert images.find(f"localhost/swiftop/operator{tag}", cache / "x.tar") == built.archive


def test_an_older_build_is_found_as_long_as_the_cache_keeps_it(cache: Path) -> None:
    with pytest.raises(ClusterError, match="operator:0123 is in the cache no more"):
        images.find("localhost/swiftop/operator:0123", cache / "x.tar")
    (cache / "operator-0123.tar").touch()
    assert images.find("localhost/swiftop/operator:0123", cache / "x.tar") == cache / "operator-0123.tar"


def test_an_image_of_ours_that_cannot_be_built_says_why(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> BuiltImage:
        raise BuildError(f"{name} needs a registry")

    monkeypatch.setattr(images, "build", refuse)
    with pytest.raises(ClusterError, match="trainer needs a registry"):
        images.find("localhost/swiftop/trainer", cache / "x.tar")


@pytest.mark.parametrize("name", ["busybox:1", "localhost/swiftop/unknown:dev"])
def test_a_name_that_nothing_knows_is_an_error(cache: Path, name: str) -> None:
    with pytest.raises(ClusterError, match=f"{name} is neither an archive nor an image that docker or buildah knows"):
        images.find(name, cache / "x.tar")
    stand_in(cache.parent / "bin", "docker", "exit 1")
    with pytest.raises(ClusterError, match="neither an archive"):
        images.find(name, cache / "x.tar")


def test_an_image_that_docker_knows_is_exported(cache: Path) -> None:
    bin_ = cache.parent / "bin"
    stand_in(bin_, "docker", "exit 0")
    assert images.find("busybox:1", cache / "x.tar") == cache / "x.tar"
    assert calls(bin_) == ["docker image inspect busybox:1", f"docker save --output {cache}/x.tar busybox:1"]
