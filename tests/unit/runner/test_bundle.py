"""The zip file: same bytes always, complete, and standing on the standard library alone."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from swiftop.runner.bundle import ACCELERATION, PACKAGE, bundle, digest
from swiftop.runner.protocol import PLAN_VARIABLE, TERMINATION_LOG

LIBRARIES = {  # of the image, for tasks that run in a process of their own
    f"{PACKAGE}/export/convert.py": ("torch",),
    f"{PACKAGE}/export/dequantize.py": ("torch",),
    f"{PACKAGE}/export/forward.py": ("peft", "torch", "transformers"),
    f"{PACKAGE}/export/quantized.py": ("torch",),
    f"{PACKAGE}/export/template.py": ("transformers",),
    f"{PACKAGE}/export/tensors.py": ("safetensors", "torch"),
    f"{PACKAGE}/export/verify.py": ("torch", "transformers"),
    f"{PACKAGE}/serve/engines.py": ("peft", "torch", "transformers"),
    f"{PACKAGE}/serve/prompt.py": ("transformers",),
    f"{PACKAGE}/serve/serving.py": ("uvicorn",),
    f"{PACKAGE}/rows/tokens.py": ("huggingface_hub", "modelscope", "transformers"),
    f"{PACKAGE}/hub/huggingface.py": ("huggingface_hub",),
    f"{PACKAGE}/hub/modelscope.py": ("modelscope_hub",),
    f"{PACKAGE}/hub/own_host.py": ("httpx", "requests"),
}
OF_TRAINING = ("peft", "torch", "transformers", "triton")  # in ms-swift's process, where the acceleration runs


def run(zip_file: Path, members: Mapping[str, bytes], plan: str = "") -> subprocess.CompletedProcess[str]:
    """Run the bundle as a pod does, with these members in place of its own."""
    with zipfile.ZipFile(io.BytesIO(bundle())) as ours, zipfile.ZipFile(zip_file, "w") as changed:
        for name in ours.namelist():
            changed.writestr(name, members.get(name, ours.read(name)))
    command = [sys.executable, str(zip_file)]
    environ = {PLAN_VARIABLE: plan}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("plan", "told"),
    [("", "unusable plan: "), ("{", "unusable plan: "), ("[]", "unusable plan: ")],
)
def test_it_runs_and_says_what_is_wrong_with_its_plan(tmp_path: Path, plan: str, told: str) -> None:
    log = tmp_path / "termination-log"
    log.touch()  # as the kubelet does
    name = f"{PACKAGE}/protocol.py"
    with zipfile.ZipFile(io.BytesIO(bundle())) as archive:
        source = archive.read(name).replace(TERMINATION_LOG.encode(), str(log).encode())
    ended = run(tmp_path / "runner.pyz", {name: source}, plan)
    assert (ended.returncode, ended.stdout) == (20, "")
    assert ended.stderr.startswith(f"swiftop: {told}")
    message = json.loads(log.read_text())
    assert (message["outcome"], message["reason"]) == ("failed", "Unknown")
    assert f"swiftop: {message['message']}\n" == ended.stderr


def test_it_ends_at_once_when_it_is_told_to_stop_before_it_has_imported_anything(tmp_path: Path) -> None:
    """PID 1 would ignore the signal and sit out its grace period."""
    importing = b"import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nraise SystemExit('nothing heard the signal')"
    ended = run(tmp_path / "runner.pyz", {f"{PACKAGE}/main.py": importing})
    assert (ended.returncode, ended.stderr) == (75, "")


def test_bytes_are_deterministic() -> None:
    first = bundle()
    bundle.cache_clear()
    assert bundle() == first
    assert len(digest()) == 64
    assert len(first) < 900_000  # a ConfigMap holds 1 MiB, counted before base64, and etcd takes 1.5 MiB of it


def test_members_are_sorted_and_have_no_time() -> None:
    with zipfile.ZipFile(io.BytesIO(bundle())) as archive:
        names = archive.namelist()
        assert names == sorted(names)
        assert "__main__.py" in names
        assert f"{PACKAGE}/main.py" in names
        assert f"{PACKAGE}/bundle.py" not in names
        assert f"{ACCELERATION}/plugin.py" in names
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_pid_1_imports_no_library(tmp_path: Path) -> None:
    (tmp_path / "runner.pyz").write_bytes(bundle())
    names = sorted({library for libraries in (*LIBRARIES.values(), OF_TRAINING) for library in libraries})
    code = f"import sys, {PACKAGE}.main, {PACKAGE}.hub.request; print(sorted(set({names}) & set(sys.modules)))"
    command = [sys.executable, "-c", code]
    environ = {"PYTHONPATH": str(tmp_path / "runner.pyz")}
    assert subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_each_file_imports_what_is_there_and_the_oldest_python_can_read_it() -> None:
    with zipfile.ZipFile(io.BytesIO(bundle())) as archive:
        for name in archive.namelist():
            accelerates = name.startswith(f"{ACCELERATION}/") and not name.endswith("/memory.py")
            tree = ast.parse(archive.read(name), name, feature_version=(3, 10) if accelerates else (3, 9))
            libraries = OF_TRAINING if accelerates else LIBRARIES.get(name, ())
            for node in ast.walk(tree):
                if isinstance(node, ast.Import):
                    modules = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    modules = [node.module or ""]
                else:
                    continue
                found = {module.partition(".")[0] for module in modules}
                assert found <= {*sys.stdlib_module_names, PACKAGE, *libraries}, (name, modules)
