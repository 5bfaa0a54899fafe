"""The start of a pod checks what it starts."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from swiftop import names
from swiftop.runner.bundle import bundle, digest
from swiftop.runner.protocol import TERMINATION_LOG
from swiftop.workload.runner import runner_command

NAME = names.runner_config_map_name(digest())


def started(folder: Path, content: bytes, name: str = NAME) -> subprocess.CompletedProcess[str]:
    """As the pod does it, in a folder with modules of somebody else."""
    (folder / "runner.pyz").write_bytes(content)
    for module in ("json", "enum", "hashlib", "runpy"):
        (folder / f"{module}.py").write_text("raise SystemExit('somebody else')")
    (folder / "termination-log").touch()
    python, option, code, _, config_map = runner_command(name)
    assert python == "python"
    code = code.replace(TERMINATION_LOG, str(folder / "termination-log"))
    command = [sys.executable, option, code, str(folder / "runner.pyz"), config_map]
    return subprocess.run(command, cwd=folder, env={}, capture_output=True, text=True, timeout=60, check=False)


def test_the_runner_is_started_as_python_starts_a_zip_file(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("ours.py", "import sys\nVALUE = __file__")
        archive.writestr("__main__.py", "import ours, sys\nprint(__name__, sys.argv, ours.VALUE)\nraise SystemExit(75)")
    name = names.runner_config_map_name(hashlib.sha256(buffer.getvalue()).hexdigest())
    ended = started(tmp_path, buffer.getvalue(), name)
    path = tmp_path / "runner.pyz"
    assert ended.stdout == f"__main__ ['{path}'] {path}/ours.py\n"
    assert (ended.returncode, ended.stderr) == (75, "")


@pytest.mark.parametrize("content", [bundle() + b"x", b"print('gotcha')", b""])
def test_what_is_not_the_runner_is_not_started(tmp_path: Path, content: bytes) -> None:
    ended = started(tmp_path, content)
    assert (ended.returncode, ended.stdout) == (20, "")
    message = json.loads((tmp_path / "termination-log").read_text())
    assert message["outcome"] == "failed"
    assert message["message"].startswith(f"ConfigMap {NAME} does not hold the runner")


def test_the_name_holds_enough_of_the_digest() -> None:
    assert NAME.rpartition("-")[2] == digest()[:32]
