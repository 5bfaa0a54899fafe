"""The build cache: what makes a component be built again, and what does not."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from tools.cluster import build, kubectl
from tools.cluster.layout import ClusterError

COMPONENT = next(component for component in build.components() if component.name == "pause")


@pytest.fixture
def module(tmp_path: Path) -> Path:
    return Path(shutil.copytree(build.GO_MODULES / COMPONENT.module, tmp_path / "module"))


def test_the_hash_does_not_depend_on_the_place(module: Path) -> None:
    assert build.content_hash(COMPONENT, module) == build.content_hash(COMPONENT, build.GO_MODULES / COMPONENT.module)


def test_a_changed_or_moved_or_added_file_changes_the_hash(module: Path) -> None:
    hashes = {build.content_hash(COMPONENT, module)}
    source = module / "main.go"
    source.write_text(source.read_text() + "\n")
    hashes.add(build.content_hash(COMPONENT, module))
    source.rename(module / "other.go")
    hashes.add(build.content_hash(COMPONENT, module))
    (module / "more.go").write_text("package main\n")
    hashes.add(build.content_hash(COMPONENT, module))
    assert len(hashes) == 4


def test_another_recipe_changes_the_hash(module: Path) -> None:
    changed = dataclasses.replace(COMPONENT, tags="debug")
    assert build.content_hash(changed, module) != build.content_hash(COMPONENT, module)


def test_a_built_component_is_not_missing(tmp_path: Path) -> None:
    assert build.missing(tmp_path, [COMPONENT]) == [COMPONENT]
    build.directory_of(COMPONENT, tmp_path).mkdir(parents=True)
    assert build.missing(tmp_path, [COMPONENT]) == []


def test_a_failed_build_names_its_log_and_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    broken = dataclasses.replace(COMPONENT, targets=(build.Target("pause", ("./nowhere",)),))
    with pytest.raises(ClusterError, match=r"build-pause\.log"):
        build.ensure_component(broken, tmp_path)
    assert build.missing(tmp_path, [broken]) == [broken]
    assert "nowhere" in (tmp_path / "log" / "build-pause.log").read_text()


@pytest.mark.parametrize("version", ["", "1.35", "1.36"])
def test_every_component_is_a_module_with_pinned_sums(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(build.VERSION_VARIABLE, version)
    for component in (*build.components(), build.KIND):
        module = build.GO_MODULES / component.module
        assert (module / "go.mod").exists()
        assert (module / "go.sum").exists() or "require" not in (module / "go.mod").read_text()


def test_the_newest_go_that_a_module_needs_is_required() -> None:
    assert build.required_go() >= (1, 26, 0)


@pytest.mark.parametrize(("version", "minor"), [("", 37), ("1.36", 36), ("1.35", 35)])
def test_the_environment_chooses_server_and_kubectl(version: str, minor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(build.VERSION_VARIABLE, version)
    module = build.GO_MODULES / build.kubernetes().module
    assert f"k8s.io/kubernetes v1.{minor}." in (module / "go.mod").read_text()
    assert kubectl.server_minor() == minor
    assert (module / "main.go").read_text() == (build.GO_MODULES / "kubernetes" / "main.go").read_text()


def test_a_version_without_a_module_is_refused_with_those_that_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(build.VERSION_VARIABLE, "1.20")
    with pytest.raises(ClusterError, match=r"leave it out for the newest, or take 1\.35 or 1\.36"):
        build.components()
