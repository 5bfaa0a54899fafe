"""Which files go with a model, and the type that its configuration names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from swiftop.runner.export import folder
from swiftop.runner.export.weights import Damaged

KEPT = [
    "additional_chat_templates/rag.jinja", "chat_template.jinja", "config.json", "generation_config.json", "merges.txt",
    "modeling_own.py", "preprocessor_config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer.model",
    "tokenizer_config.json", "vocab.json",
]  # fmt: skip
LEFT_OUT = [
    ".tmpa1b2c3", "args.json", "global_step20/zero_pp_rank_0_mp_rank_00_model_states.pt", "latest", "logging.jsonl",
    "model-00001-of-00002.safetensors", "model.safetensors", "model.safetensors.index.json", "optimizer.bin",
    "optimizer.pt", "pytorch_model.bin", "pytorch_model.bin.index.json", "rng_state.pth", "rng_state_0.pth",
    "scaler.pt", "scheduler.pt", "trainer_state.json", "training_args.bin", "zero_to_fp32.py", "images/loss.png",
    "swiftop-run.json",
]  # fmt: skip


def fill(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("{}")
    return path


def test_a_checkpoint_is_stripped_to_the_model(tmp_path: Path) -> None:
    assert folder.accompanying(fill(tmp_path, *KEPT, *LEFT_OUT)) == KEPT


def test_the_card_of_an_adapter_is_an_empty_form(tmp_path: Path) -> None:
    fill(tmp_path, "adapter_config.json", "README.md")
    assert folder.accompanying(tmp_path) == ["README.md", "adapter_config.json"]
    assert folder.accompanying(tmp_path, adapter=True) == ["adapter_config.json"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["global_step20/x.pt", "latest", "zero_to_fp32.py"], "only DeepSpeed's own shards.*zero_to_fp32"),
        (["pytorch_model.bin"], "weights as pickle"),
        (["config.json"], "model.safetensors or model.safetensors.index.json is missing"),
    ],
)
def test_a_folder_without_weights_says_what_to_do(tmp_path: Path, files: list[str], words: str) -> None:
    assert re.search(words, folder.why_without_weights(fill(tmp_path, *files)))


def test_every_part_of_a_configuration_gets_the_new_type() -> None:
    config = {
        "dtype": "float32",
        "text_config": {"torch_dtype": "float32", "layers": 2},
        "quantization_config": {"dtype": "int4"},
        "vision_config": {"dtype": None},
    }
    assert folder.with_type(config, "bfloat16") == {
        "dtype": "bfloat16",
        "text_config": {"torch_dtype": "bfloat16", "layers": 2},
        "quantization_config": {"dtype": "int4"},
        "vision_config": {"dtype": None},
    }
    assert folder.with_type({}, "float16") == {"torch_dtype": "float16"}
    assert folder.type_of({"text_config": {"torch_dtype": "torch.float16"}}) == "float16"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "is missing"), ("{", "not valid JSON"), ("[]", "not a JSON obj"), ("[" * 100_000, "not valid JSON")],
)
def test_a_configuration_that_cannot_be_read_is_damaged(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(Damaged, match=words):
        folder.read_json(tmp_path / "config.json")


def test_a_configuration_is_no_link_to_a_file_of_the_pod(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"auth": "token"}')
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(Damaged, match="leads out of"):
        folder.read_json(tmp_path / "model" / "config.json")
