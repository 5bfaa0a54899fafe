"""The check inside the CUDA image: on made-up facts, as neither CUDA nor flash-attn is here, and on a real ms-swift."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

from images.catalog import ROOT
from tests.runner.trainer import ASSETS, ENVIRON, WORK, enter

_SPEC = importlib.util.spec_from_file_location("trainer_check", ROOT / "images/trainer/check.py")
assert _SPEC is not None
assert _SPEC.loader is not None
check = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(check)

GOOD = {"ms-swift": "4.6.0"}


def test_a_complete_image_passes() -> None:
    assert check.problems(GOOD, "13.0", {}, "4.6.0") == []


def test_a_torch_without_cuda_fails() -> None:
    (problem,) = check.problems(GOOD, None, {}, None)
    assert "without CUDA" in problem


def test_another_ms_swift_fails() -> None:
    assert check.problems({"ms-swift": "4.3.2"}, "13.0", {}, "4.6.0") == ["ms-swift is 4.3.2, not 4.6.0"]
    assert check.problems({"ms-swift": None}, "13.0", {}, "4.6.0") == ["ms-swift is None, not 4.6.0"]


def test_a_flash_attn_for_another_torch_fails_and_says_what_to_give() -> None:
    why = "ImportError: flash_attn_2_cuda.so: undefined symbol: _ZN3c104impl"
    (problem,) = check.problems(GOOD, "13.0", {"flash_attn_2_cuda": why}, "4.6.0")
    assert problem.startswith(f"packing with flash attention cannot work: import flash_attn_2_cuda: {why}")
    assert "--build-arg FLASH_ATTN=" in problem


@pytest.mark.parametrize("feature", check.FEATURES)
def test_every_feature_can_fail(feature: str) -> None:
    for module in check.FEATURES[feature]:
        (problem,) = check.problems(GOOD, "13.0", {module: "ModuleNotFoundError"}, None)
        assert problem.startswith(f"{feature} cannot work: import {module}")


def test_the_report_names_versions_and_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real run of the script with a fake torch: a CPU build, beside none of the other packages' real parts."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("from . import version\n")
    (tmp_path / "torch/version.py").write_text("cuda = None\n")
    (tmp_path / "torch-2.11.0.dist-info").mkdir()
    (tmp_path / "torch-2.11.0.dist-info/METADATA").write_text("Name: torch\nVersion: 2.11.0\n")
    (tmp_path / "flash_attn.py").write_text("")
    (tmp_path / "flash_attn_2_cuda.py").write_text("raise ImportError('undefined symbol: x')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert check.main(["--swift", "4.6.0"]) == 1
    output = capsys.readouterr()
    assert "torch 2.11.0\n" in output.out
    assert "CUDA of torch -\n" in output.out
    assert "import flash_attn_2_cuda: ImportError: undefined symbol: x" in output.err
    assert "torch is built without CUDA" in output.err


def distribution(site: Path, name: str, version: str) -> None:
    """What pip leaves of an installed package, reduced to what tells its version."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")


def test_what_the_base_brings_is_held_even_when_it_came_from_a_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`pip freeze` prints such a torch as `torch @ URL`, which holds nothing."""
    site = tmp_path / "site"
    site.mkdir()
    distribution(site, "torch", "2.11.0+cu130")
    (site / "torch-2.11.0+cu130.dist-info/direct_url.json").write_text('{"url": "file:///w.whl", "archive_info": {}}')
    distribution(site, "NVIDIA_cublas", "13.0")
    distribution(site, "numpy", "2.0")
    monkeypatch.setattr(check.sys, "path", [str(site)])
    assert check.main(["--freeze"]) == 0
    before = capsys.readouterr().out
    assert before == "nvidia-cublas==13.0\ntorch==2.11.0+cu130\n"
    assert check.replaced(before, check.frozen()) == []
    now = {"torch": "2.12.0"}
    assert check.replaced(before, now) == [
        "nvidia-cublas of the base was 13.0, now it is gone: give versions that fit the base",
        "torch of the base was 2.11.0+cu130, now it is 2.12.0: give versions that fit the base",
    ]


def test_a_real_ms_swift_lacks_exactly_what_only_the_cuda_image_has(tmp_path: Path) -> None:
    """In the CPU trainer, as the build would run it: all that is not about GPUs works, and its torch is the base's."""
    tmp_path.chmod(0o755)
    base = in_the_cpu_trainer(tmp_path, "--freeze").stdout
    assert re.search(r"^torch==2\.6\.\d+\S*$", base, re.MULTILINE)
    (tmp_path / "base.txt").write_text(base)
    done = in_the_cpu_trainer(tmp_path, "--swift", "4.6.0", "--base", f"{WORK}/base.txt")
    assert done.returncode == 1
    assert "\nms-swift 4.6.0\n" in done.stdout
    lacking = {
        "packing with flash attention": "flash_attn",
        "DeepSpeed": "deepspeed",
        "liger kernels": "liger_kernel.transformers",
    }
    assert done.stderr.splitlines() == [
        "FAILED: torch is built without CUDA: use the official ModelScope image as BASE, or images/trainer-cpu",
        *(
            f"FAILED: {feature} cannot work: import {module}: "
            f"ModuleNotFoundError: No module named '{module.partition('.')[0]}'; {check.ADVICE[feature]}"
            for feature, module in lacking.items()
        ),
    ]


def in_the_cpu_trainer(work: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The check as a program in the CPU trainer's file system, as the user that pods run as."""
    command = [*enter(work, ROOT / "images/trainer"), "python", f"{ASSETS}/check.py", *words]
    return subprocess.run(command, env=ENVIRON, capture_output=True, text=True, check=False)
