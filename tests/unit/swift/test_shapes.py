"""The shapes of models against the numbers of parameters that their hubs tell, in millions."""

from __future__ import annotations

import pytest

from swiftop.swift.shapes import shape

PARAMETERS = {
    "Qwen/Qwen2.5-0.5B-Instruct": 494.03,
    "Qwen/Qwen2.5-1.5B": 1543.71,
    "Qwen/Qwen2.5-Coder-3B-Instruct": 3085.94,
    "Qwen/Qwen2.5-7B-Instruct": 7615.62,
    "Qwen/Qwen2.5-14B-Instruct-1M": 14770.03,
    "Qwen/Qwen2.5-32B-Instruct": 32763.88,
    "Qwen/Qwen2.5-72B-Instruct": 72706.20,
    "Qwen/Qwen2-7B-Instruct": 7615.62,
    "Qwen/QwQ-32B": 32763.88,
    "Qwen/Qwen3-0.6B": 596.05,
    "Qwen/Qwen3-1.7B-Base": 1720.57,
    "Qwen/Qwen3-4B-Instruct-2507": 4022.47,
    "Qwen/Qwen3-8B": 8190.74,
    "Qwen/Qwen3-14B": 14768.31,
    "Qwen/Qwen3-32B": 32762.12,
    "LLM-Research/Meta-Llama-3.1-8B-Instruct": 8030.26,
    "meta-llama/Llama-3.3-70B-Instruct": 70553.71,
    "meta-llama/Llama-3.2-1B": 1235.81,
    "meta-llama/Llama-3.2-3B-Instruct": 3212.75,
    "mistralai/Mistral-7B-Instruct-v0.2": 7241.73,
    "mistralai/Mistral-7B-v0.3": 7248.02,
    "mistralai/Mistral-Nemo-Instruct-2407": 12247.78,
    "mistralai/Mistral-Small-24B-Instruct-2501": 23572.40,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 1777.09,
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": 8030.26,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134.52,
    "HuggingFaceTB/SmolLM2-360M": 361.82,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1711.38,
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": 1100.05,
}


@pytest.mark.parametrize("model", PARAMETERS)
def test_a_shape_has_the_parameters_of_its_model(model: str) -> None:
    found = shape(model)
    assert found is not None
    assert found.parameters / 1e6 == pytest.approx(PARAMETERS[model], rel=2e-4)  # without biases and the norms of q, k


def test_a_folder_has_the_name_of_its_model() -> None:
    assert shape("/models/lab/qwen2.5-7b-instruct/") == shape("Qwen/Qwen2.5-7B-Instruct")


@pytest.mark.parametrize(
    "model",
    [
        "",
        "me/my-model",
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "Qwen/Qwen2.5-7B-Instruct-AWQ",
        "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4",
        "Qwen/Qwen3-30B-A3B",
        "Qwen/Qwen3-8B-FP8",
        "Qwen/Qwen3-7B",
        "meta-llama/Llama-3.2-11B-Vision-Instruct",
        "mistralai/Mixtral-8x7B-v0.1",
        "mistralai/Mistral-7B-Instruct-v0.4",
        "checkpoint-100",
    ],
)
def test_what_is_not_known_has_none(model: str) -> None:
    assert shape(model) is None
