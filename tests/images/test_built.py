"""The real images, looked into. Built by the first test that needs them, then found in the cache."""

import functools
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from images import build, catalog, engines, host
from images.catalog import IMAGES
from tests.images import layers

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


@functools.cache
def look(name: str) -> Look:
    settings = host.pip_settings(os.environ, host.pip_config_files(os.environ))
    sources = [value.strip().encode() for value in settings.values() if "/" in value]  # a bare number says nothing
    seen = Look()
    for member, content in layers.files(built(name)):
        seen.names.add(member.name)
        if member.name == "etc/ssl/certs/ca-certificates.crt":
            seen.bundle |= certificates(content)
        if member.name.startswith("usr/share/ca-certificates/"):
            seen.debians |= certificates(content)
        if member.name == "etc/resolv.conf":
            seen.resolv_conf += content
        if any(source in content for source in sources):
            seen.holders.append(member.name)
    return seen


@pytest.mark.parametrize("name", ["operator", "trainer-cpu"])
def test_settings_of_the_build_machine_do_not_stay(name: str) -> None:
    seen = look(name)
    assert len(seen.names) > 1000, "the archive was not read"
    assert [file for file in seen.names if PLACES.match(file)] == []
    assert seen.holders == []
    assert seen.resolv_conf == b""
    assert len(seen.bundle) > 100
    assert seen.bundle <= seen.debians, "the image trusts a certificate authority of the build machine"
    settings = layers.config(built(name))
    assert not re.search(r"proxy|BEGIN CERTIFICATE", str(settings["config"]), re.IGNORECASE)


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


STEP = r"""FROM {base}
RUN --mount=type=secret,id=pip.conf --mount=type=secret,id=ca.crt --mount=type=secret,id=apt.conf \
    grep -q {pattern} /run/secrets/pip.conf && grep -q {pattern} /run/secrets/ca.crt && test -e /run/secrets/apt.conf
"""
LEAK = """RUN --mount=type=secret,id=ca.crt cp /run/secrets/ca.crt /opt/left
RUN rm /opt/left
"""


@pytest.mark.parametrize(("leak", "found"), [("", []), (LEAK, ["opt/left"])], ids=["honest", "leaking"])
def test_a_secret_reaches_its_step_and_nothing_else(tmp_path: Path, leak: str, found: list[str]) -> None:
    """The canary is every secret; the second image leaks it on purpose, so that the search proves itself."""
    image = IMAGES["operator"]
    dockerfile = tmp_path / image.dockerfile
    dockerfile.parent.mkdir(parents=True)
    pattern = CANARY.replace("canary", "[c]anary")  # the image's history shows the command: it must not match itself
    dockerfile.write_text(STEP.format(base=catalog.DEBIAN, pattern=pattern) + leak)
    secrets = {name: tmp_path / name for name in ("pip.conf", "ca.crt", "apt.conf")}
    for file in secrets.values():
        file.write_text(CANARY)
    with build.Progress("test", tmp_path / "log", lambda line: None) as progress:
        engine = engines.choose(None, catalog.cache_directory(), progress.run)
        request = engines.Request(image, tmp_path, ("localhost/swiftop/test:canary",), {}, secrets)
        engine.build(request, tmp_path / "image.tar", progress.run)
    assert layers.holding(tmp_path / "image.tar", [CANARY.encode()]) == found
