"""What names a build, and that the table of images agrees with the Dockerfiles."""

import re
import shutil
from pathlib import Path

import pytest

from images import catalog
from images.catalog import IMAGES, ROOT, content_hash, input_files, stage_context

OPERATOR = IMAGES["operator"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout with every input of the operator image."""
    for entry in OPERATOR.inputs:
        target = tmp_path / entry
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("x") if target.suffix or "Dockerfile" in entry or "LICENSE" in entry else target.mkdir()
    (tmp_path / "operator/swiftop").mkdir()
    (tmp_path / "operator/swiftop/names.py").write_text("A = 1\n")
    return tmp_path


def key(root: Path, arguments: dict[str, str] | None = None, recipe: str = "") -> str:
    return content_hash(OPERATOR, arguments or {}, recipe, root)


def test_same_inputs_give_the_same_name(checkout: Path) -> None:
    assert key(checkout) == key(checkout)


@pytest.mark.parametrize("changed", ["operator/swiftop/names.py", "images/operator/Dockerfile", "pyproject.toml"])
def test_every_input_counts(checkout: Path, changed: str) -> None:
    before = key(checkout)
    (checkout / changed).write_text("A = 2\n")
    assert key(checkout) != before


def test_new_files_modes_arguments_and_base_count(checkout: Path) -> None:
    keys = [key(checkout), key(checkout, {"BASE": "other"}), key(checkout, recipe="another")]
    (checkout / "operator/swiftop/names.py").chmod(0o755)
    keys.append(key(checkout))
    (checkout / "operator/swiftop/more.py").write_text("")
    keys.append(key(checkout))
    assert len(set(keys)) == len(keys)


def test_leftovers_of_tools_do_not_count(checkout: Path) -> None:
    before = key(checkout)
    (checkout / "operator/swiftop/__pycache__").mkdir()
    (checkout / "operator/swiftop/__pycache__/names.cpython-313.pyc").write_text("x")
    (checkout / "README.zh-CN.md").write_text("no input")
    assert key(checkout) == before


def test_the_context_holds_the_inputs_and_nothing_else(checkout: Path, tmp_path: Path) -> None:
    (checkout / ".env").write_text("SWANLAB_API_KEY=secret")
    context = tmp_path / "context"
    stage_context(OPERATOR, context, checkout)
    staged = {file.relative_to(context) for file in context.rglob("*") if file.is_file()}
    assert staged == {file.relative_to(checkout) for file in input_files(OPERATOR, checkout)}
    assert Path(".env") not in staged


@pytest.mark.parametrize("image", IMAGES.values(), ids=lambda image: image.name)
def test_dockerfiles_copy_only_hashed_inputs(image: catalog.Image) -> None:
    text = (ROOT / image.dockerfile).read_text()
    lines = re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
    copied = {source.rstrip("/") for line in lines for source in line.split()[:-1]}
    known = set(image.sources)
    assert copied, "an image that copies nothing would not need a hash"
    assert all(any(entry == source or entry.startswith(f"{source}/") for entry in known) for source in copied)
    assert all((ROOT / entry).exists() for entry in image.inputs)


@pytest.mark.parametrize("image", IMAGES.values(), ids=lambda image: image.name)
def test_dockerfiles_know_exactly_the_build_arguments(image: catalog.Image) -> None:
    text = (ROOT / image.dockerfile).read_text()
    assert set(re.findall(r"^ARG (\w+)", text, re.MULTILINE)) == set(image.arguments)


@pytest.mark.parametrize("image", IMAGES.values(), ids=lambda image: image.name)
def test_secrets_are_shown_to_pip_and_apt_alone(image: catalog.Image) -> None:
    text = (ROOT / image.dockerfile).read_text()
    shown = re.findall(r"export (?:PIP_CONFIG_FILE=/run/secrets/pip\.conf|APT_CONFIG=/run/secrets/apt\.conf) ", text)
    assert len(shown) == text.count("/run/secrets") > 0


@pytest.mark.parametrize("image", IMAGES.values(), ids=lambda image: image.name)
def test_images_end_as_a_plain_user(image: catalog.Image) -> None:
    users = re.findall(r"^USER (\S+)$", (ROOT / image.dockerfile).read_text(), re.MULTILINE)
    assert int(users[-1].split(":")[0]) >= 1000


def test_docker_may_send_the_inputs_and_no_more() -> None:
    """For a plain `docker build .`; our own builds stage their inputs."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert sent == {entry.split("/")[0] for image in IMAGES.values() for entry in image.inputs}


def test_versions_are_pinned() -> None:
    for name in ("operator", "trainer-cpu", "server-vllm-cpu"):
        lines = (ROOT / f"images/{name}/constraints.txt").read_text().splitlines()
        pins = [line for line in lines if not line.startswith("#")]
        assert len(pins) > 30
        assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", pin) for pin in pins)


def test_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SWIFTOP_CACHE", str(tmp_path))
    assert catalog.cache_directory() == tmp_path / "images"
    monkeypatch.delenv("SWIFTOP_CACHE")
    monkeypatch.setenv("HOME", "/home/someone")
    assert catalog.cache_directory() == Path("/home/someone/.cache/swiftop/images")


def test_a_staged_context_keeps_executable_bits(checkout: Path, tmp_path: Path) -> None:
    tool = checkout / "operator/swiftop/tool"
    shutil.copy(checkout / "LICENSE", tool)
    tool.chmod(0o755)
    stage_context(OPERATOR, tmp_path / "context", checkout)
    assert (tmp_path / "context/operator/swiftop/tool").stat().st_mode & 0o111
