"""What a build borrows from the machine it runs on: its CA bundle, pip settings and apt settings.

A machine behind a TLS-inspecting proxy or a package mirror cannot build without them, and an image must not keep them.
So they travel as build secrets, which both engines mount for one RUN step and leave out of every layer.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

SYSTEM_BUNDLES = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pki/tls/certs/ca-bundle.crt"))
BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
# Settings that say where packages come from; anything else (find-links, user, target, …) belongs to the machine alone.
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
APT_SETTING = re.compile(r"^Acquire::(https?::Proxy|Check-Valid-Until|Retries)\b")
CA_IN_BUILD = "/run/secrets/ca.crt"


def ca_bundle(
    environ: Mapping[str, str], files: Sequence[Path] = (), bundles: Sequence[Path] = SYSTEM_BUNDLES
) -> Path | None:
    """The bundle that this machine's own clients trust: pip's `cert` first, from a variable or from its `files`."""
    named = [pip_options(environ, files, ("cert",)).get("cert"), *(environ.get(name) for name in BUNDLE_VARIABLES)]
    candidates = [Path(name).expanduser() for name in named if name]
    return next((path for path in (*candidates, *bundles) if path.is_file()), None)


def pip_config_files(environ: Mapping[str, str]) -> list[Path]:
    """pip's own search order, weakest first."""
    home = Path(environ.get("HOME", "/root"))
    files = [Path("/etc/pip.conf"), home / ".pip/pip.conf", home / ".config/pip/pip.conf"]
    return [*files, *([Path(environ["PIP_CONFIG_FILE"])] if environ.get("PIP_CONFIG_FILE") else [])]


def pip_settings(environ: Mapping[str, str], files: Sequence[Path]) -> dict[str, str]:
    """The package sources of this machine."""
    return pip_options(environ, files, PIP_SETTINGS)


def pip_options(environ: Mapping[str, str], files: Sequence[Path], wanted: Collection[str]) -> dict[str, str]:
    """Options of pip as pip itself reads them: files first, PIP_* variables above them."""
    found: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        parser.read(file)
        for section in ("global", "install"):
            if parser.has_section(section):
                items = ((key.replace("_", "-"), value) for key, value in parser.items(section))
                found.update({key: value for key, value in items if key in wanted})
    for key in wanted:
        variable = key.upper().replace("-", "_")
        value = environ.get(f"PIP_{variable}") or environ.get(f"PIP_DEFAULT_{variable}")
        if value:
            found[key] = value
    return found


def pip_conf(settings: Mapping[str, str], *, with_ca: bool) -> str:
    """The pip.conf that the build mounts."""
    lines = [f"{key} = {value}".replace("\n", "\n    ") for key, value in settings.items()]
    return "\n".join(["[global]", *lines, *([f"cert = {CA_IN_BUILD}"] if with_ca else []), ""])


def apt_conf(dump: str) -> str:
    """The lines of `apt-config dump` that say how to reach the archive."""
    return "".join(f"{line}\n" for line in dump.splitlines() if APT_SETTING.match(line))


def apt_dump() -> str:
    """This machine's apt settings, or nothing where there is no apt."""
    if shutil.which("apt-config") is None:
        return ""
    return subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout


def write_secrets(directory: Path, environ: Mapping[str, str] = os.environ) -> dict[str, Path]:
    """Write the secrets of one build, readable by nobody else; returns id -> file."""
    files = pip_config_files(environ)
    bundle = ca_bundle(environ, files)
    texts = {
        "pip.conf": pip_conf(pip_settings(environ, files), with_ca=bundle is not None),
        "apt.conf": apt_conf(apt_dump()),
        "ca.crt": bundle.read_text() if bundle else "",
    }
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in texts.items():
        (directory / name).write_text(text)
    return {name: directory / name for name in texts}


def proxy_arguments(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Proxy variables as build arguments: both engines know them and keep them out of the image's history."""
    return {name: environ[name] for name in PROXY_VARIABLES if environ.get(name)}
