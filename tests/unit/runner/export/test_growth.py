"""How far a merge is, by the size of what is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from swiftop.runner.export.growth import Growth
from swiftop.runner.export.weights import Tensor, write_header

LAYOUTS = (
    "modelscope/models/Qwen--Qwen2.5-7B/snapshots/master",
    "modelscope/models/Qwen/Qwen2___5-7B",
    "modelscope/hub/models/Qwen/Qwen2___5-7B",
    "huggingface/hub/models--Qwen--Qwen2.5-7B/snapshots/0a1b",
)


def model(folder: Path) -> Path:
    """200 bytes of weights in bfloat16."""
    folder.mkdir(parents=True)
    with (folder / "model.safetensors").open("wb") as file:
        write_header(file, [Tensor("w", "BF16", (10, 10), "model.safetensors")])
        file.write(bytes(200))
    return folder


def growth(directory: Path, base: str, dtype: str = "") -> Growth:
    homes = {"MODELSCOPE_CACHE": str(directory / "modelscope"), "HF_HOME": str(directory / "huggingface")}
    return Growth(directory / "partial", base, dtype, homes)


def test_it_counts_what_is_written_and_no_more_than_there_will_be(tmp_path: Path) -> None:
    found = growth(tmp_path, str(model(tmp_path / "base")), "float32")
    assert found.progress() == {}
    (tmp_path / "partial").mkdir()
    assert found.progress() == {"bytesDone": 0, "bytesTotal": 400}
    (tmp_path / "partial" / ".tmpAbC").write_bytes(bytes(100))
    assert found.progress() == {"bytesDone": 100, "bytesTotal": 400}
    (tmp_path / "partial" / "tokenizer.json").write_bytes(bytes(1000))
    assert found.progress() == {"bytesDone": 400, "bytesTotal": 400}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_model_of_a_hub_is_found_in_its_cache(layout: str, tmp_path: Path) -> None:
    model(tmp_path / layout)
    (tmp_path / "partial").mkdir()
    assert growth(tmp_path, "Qwen/Qwen2.5-7B").progress() == {"bytesDone": 0, "bytesTotal": 200}


@pytest.mark.parametrize("base", ["", "Qwen/Other", "/nowhere"])
def test_without_the_model_nothing_is_told(base: str, tmp_path: Path) -> None:
    (tmp_path / "partial").mkdir()
    assert growth(tmp_path, base).progress() == {}
