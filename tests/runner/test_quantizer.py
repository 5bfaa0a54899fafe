"""The program ``export`` with a quantization, as PID 1: merged by real ms-swift, quantized by a stand-in for a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swiftop.runner.protocol import Quantize
from tests.runner.exports import ADAPTER, FULL, Exports
from tests.runner.harness import Execution, wait_until
from tests.runner.trainer import ASSETS, FAKES, WORK

PACKAGES = "user"  # a folder of packages beside those of the image
QUANTIZING = 3
SLOW = 400  # seconds: ms-swift is imported six times on the way


@pytest.fixture(scope="module")
def quantizing(exports: Exports) -> Exports:
    """With what quantizes, and what that needs."""
    (exports.assets / "quantize_fp8.py").write_bytes((FAKES / "quantize_fp8.py").read_bytes())
    _install(exports.assets / PACKAGES / "lib" / "python3.13" / "site-packages")
    return exports


def _install(site: Path) -> None:
    """The compiler that fp8 is checked for; nothing is compiled."""
    (site / "triton-3.5.0.dist-info").mkdir(parents=True)
    (site / "triton-3.5.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: triton\nVersion: 3.5.0\n")
    (site / "triton").mkdir()
    (site / "triton" / "__init__.py").write_text("")


def quantize(exports: Exports, name: str, source: str, *, fault: str = "", method: str = "fp8") -> Execution:
    folder = f"{WORK}/{name}"
    full, partial = f"{folder}/model.full/Qwen2.5-0.5B-Instruct", f"{folder}/model.quantized"
    command = ("python", f"{ASSETS}/quantize_fp8.py", "--model", full, "--output_dir", partial, "--fault", fault)
    wanted = Quantize(command, full, partial, method, 4 if method == "awq" else None)
    return exports.export(name, source, packages=f"{ASSETS}/{PACKAGES}", dtype="bfloat16", quantize=wanted)


def merges(execution: Execution) -> int:
    """How often ms-swift has merged."""
    return execution.log.count("Successfully merged LoRA")


def test_a_merged_model_is_quantized_verified_again_and_put_in_place(quantizing: Exports) -> None:
    execution = quantize(quantizing, "quantized", ADAPTER)
    code, told = execution.end(SLOW)
    assert (code, told["reason"]) == (0, "Completed"), told
    progress: dict[str, Any] = told["progress"]
    known = {name: progress[name] for name in ("phase", "artifactQuantization", "artifactDtype", "merged", "verified")}
    assert known == {
        "phase": 5, "artifactQuantization": "fp8", "artifactDtype": "bfloat16", "merged": 1, "verified": 1,
    }  # fmt: skip
    assert 0 < progress["compared"] < progress["tensors"]  # factors belong to no weight
    assert progress["templateEqual"] in (0, 1)
    files = quantizing.files("quantized")
    assert {"config.json", "model.safetensors", "chat_template.jinja"} <= files.keys()
    assert set(files.values()) == {0o644}
    config = json.loads(quantizing.bench.local("quantized", "model", "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "fp8"
    assert {path.name for path in quantizing.bench.local("quantized").iterdir()} == {
        "model", "swiftop-export.json", "swiftop-run.json",
    }  # fmt: skip


def test_what_is_merged_once_is_kept_for_all_attempts_until_one_succeeds(quantizing: Exports) -> None:
    """Killed while it is quantized, without a GPU, and with a damaged result."""
    folder = quantizing.bench.local("kept")
    execution = quantize(quantizing, "kept", ADAPTER, fault="slow")
    wait_until((folder / "model.quantized" / "config.json").is_file, seconds=SLOW, what="files")
    progress = execution.progress()
    assert (progress["phase"], progress["merged"]) == (QUANTIZING, 1)
    execution.kill()
    assert merges(execution) == 1

    code, told = (execution := quantize(quantizing, "kept", ADAPTER, fault="no-gpu")).end(SLOW)
    assert (code, told["reason"], merges(execution)) == (3, "GPUMissing", 0), told

    code, told = (execution := quantize(quantizing, "kept", ADAPTER, fault="dropped")).end(SLOW)
    assert (code, told["reason"], merges(execution)) == (12, "VerificationFailed", 0), told
    assert told["message"] == "the quantized model: tensor model.norm.weight is missing"
    assert not (folder / "model").exists()

    code, told = (execution := quantize(quantizing, "kept", ADAPTER)).end(SLOW)
    assert (code, told["reason"], merges(execution)) == (0, "Completed", 0), told
    assert told["progress"]["artifactQuantization"] == "fp8"


def test_a_missing_package_is_told_before_the_merge(quantizing: Exports) -> None:
    code, told = (execution := quantize(quantizing, "packages", ADAPTER, method="awq")).end(60)
    assert (code, told["reason"]) == (3, "PackageMissing"), told
    assert "quantization with awq needs autoawq" in told["message"]
    assert merges(execution) == 0


def test_a_full_checkpoint_is_converted_and_quantized(quantizing: Exports) -> None:
    code, told = quantize(quantizing, "converted-and-quantized", FULL, fault="untold").end(SLOW)
    assert (code, told["progress"].get("artifactQuantization")) == (0, "fp8"), told
