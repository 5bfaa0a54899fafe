"""The check inside the CUDA image, on made-up facts: neither CUDA nor flash-attn is here."""

import importlib.util
from pathlib import Path

import pytest

from images.catalog import ROOT

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
