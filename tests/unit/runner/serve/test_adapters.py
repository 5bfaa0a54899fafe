"""Adapters as they lie in the pod, and vLLM's limit of their rank."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swiftop.runner.protocol import ServedAdapter
from swiftop.runner.serve import adapters
from swiftop.runner.serve.adapters import Unfit


def made(folder: Path, **config: Any) -> ServedAdapter:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8, **config}))
    (folder / "adapter_model.safetensors").touch()
    return ServedAdapter(folder.name, str(folder))


def test_a_folder_has_to_hold_one(tmp_path: Path) -> None:
    good, hub = made(tmp_path / "good"), ServedAdapter("hub", "alice/adapter")
    adapters.check([good, hub])
    for name, content in (("none", None), ("broken", "{"), ("empty", "{}")):
        if content is not None:
            (tmp_path / name).mkdir()
            (tmp_path / name / "adapter_config.json").write_text(content)
        with pytest.raises(Unfit, match=f"adapter {name}: ") as unfit:
            adapters.check([good, ServedAdapter(name, str(tmp_path / name))])
        assert unfit.value.name == name


@pytest.mark.parametrize(
    ("ranks", "given", "limit"),
    [
        ([8, 16], [], []),
        ([8, 24], [], ["--vllm_max_lora_rank", "32"]),
        ([64], ["--vllm_max_lora_rank", "16"], ["--vllm_max_lora_rank", "64"]),
        ([8], ["--vllm_max_lora_rank", "64"], ["--vllm_max_lora_rank", "64"]),
        ([8], ["--vllm_max_lora_rank", "8"], ["--vllm_max_lora_rank", "8"]),
        ([16], ["--vllm_max_lora_rank", "8"], ["--vllm_max_lora_rank", "16"]),
        ([512], [], ["--vllm_max_lora_rank", "512"]),
        ([], [], []),
    ],
)
def test_no_rank_is_above_the_limit(tmp_path: Path, ranks: list[int], given: list[str], limit: list[str]) -> None:
    found = [made(tmp_path / f"a{number}", r=rank) for number, rank in enumerate(ranks)]
    words = adapters.with_rank(["--model", "m", *given], found)
    assert words == ("--model", "m", *limit)


def test_a_rank_may_be_told_or_differ_by_layer(tmp_path: Path) -> None:
    pattern = made(tmp_path / "pattern", rank_pattern={"q_proj": 100})
    assert adapters.with_rank([], [pattern]) == ("--vllm_max_lora_rank", "128")
    assert adapters.with_rank([], [ServedAdapter("hub", "alice/a", rank=20)]) == ("--vllm_max_lora_rank", "32")


def test_a_rank_that_vllm_cannot_serve_is_told(tmp_path: Path) -> None:
    good, huge = made(tmp_path / "good", r=512), made(tmp_path / "huge", rank_pattern={"q_proj": 513})
    adapters.check_ranks([good])
    with pytest.raises(Unfit, match="adapter huge: its rank is 513, and vLLM serves none above 512") as unfit:
        adapters.check_ranks([good, huge])
    assert (unfit.value.name, unfit.value.why) == ("huge", "RankTooHigh")


def test_a_layer_that_the_model_does_not_have_is_told(tmp_path: Path) -> None:
    """vLLM leaves it out, and answers with what is left of the adapter."""
    header = json.dumps({f"base_model.model.model.layers.{n}.q_proj.lora_A.weight": {} for n in (0, 10, 3)}).encode()
    (tmp_path / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    told = {}
    for count in (11, 10, None):
        (tmp_path / "config.json").write_text(json.dumps({"num_hidden_layers": count}))
        told[count] = adapters.layers_beyond(str(tmp_path), str(tmp_path))
    assert told == {11: None, 10: "it has a layer 10, and the model has 10 of them", None: None}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"num_hidden_layers": 2}}))
    assert adapters.layers_beyond(str(tmp_path), str(tmp_path)) is not None
    assert adapters.layers_beyond(str(tmp_path / "none"), str(tmp_path)) is None
    assert adapters.layers_beyond(str(tmp_path), "/nowhere") is None
