"""The model card: front matter that both hubs read, and a page that people read."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from swiftop.runner.export import card
from swiftop.runner.export.card import Card, Source

TOLD: dict[str, Any] = {
    "name": "qwen2.5-7b-sharegpt",
    "base": {"name": "Qwen/Qwen2.5-7B-Instruct", "revision": "master", "hub": "modelscope"},
    "datasets": [
        {"name": "CodyWhy/mh-sharegpt-20250820", "revision": "5f1c0de", "hub": "modelscope"},
        {"name": "datasets/own|chats.jsonl"},
    ],
    "license": "apache-2.0",
    "pipeline": "text-generation",
    "dtype": "bfloat16",
    "tags": ["chat"],
    "hyperparameters": {"learning_rate": "1e-4", "lora_rank": 8, "target_modules": ["all-linear"], "system": "Be `me`"},
    "swiftVersion": "4.6.0",
    "image": "registry.example/trainer:4.6",
    "tracker": "https://swanlab.cn/@alice/x/runs/1",
    "result": {"loss": 1.2346, "steps": 1000},
    "lineage": ["SFTRun chat/qwen2.5, checkpoint 1000", "merged and converted by ModelExport chat/qwen"],
    "unknown": "is left out",
}
GOLDEN = """\
---
base_model: "Qwen/Qwen2.5-7B-Instruct"
base_model_relation: "finetune"
datasets:
- "CodyWhy/mh-sharegpt-20250820"
license: "apache-2.0"
library_name: "transformers"
pipeline_tag: "text-generation"
tags:
- "ms-swift"
- "swiftop"
- "chat"
---

# qwen2.5-7b-sharegpt

Model fine-tuned from `Qwen/Qwen2.5-7B-Instruct` with [ms-swift](https://github.com/modelscope/ms-swift) on Kubernetes \
by swiftop.

## Where it comes from

|  | name | revision | hub |
| --- | --- | --- | --- |
| base model | `Qwen/Qwen2.5-7B-Instruct` | `master` | modelscope |
| dataset | `CodyWhy/mh-sharegpt-20250820` | `5f1c0de` | modelscope |
| dataset | `datasets/own\\|chats.jsonl` |  |  |

## How it was made

|  |  |
| --- | --- |
| ms-swift | `4.6.0` |
| image | `registry.example/trainer:4.6` |
| type of the weights | `bfloat16` |
| experiment | <https://swanlab.cn/@alice/x/runs/1> |

## Hyperparameters

|  |  |
| --- | --- |
| `learning_rate` | `1e-4` |
| `lora_rank` | `8` |
| `system` | `` Be `me` `` |
| `target_modules` | `["all-linear"]` |

## Result

|  |  |
| --- | --- |
| `loss` | `1.2346` |
| `steps` | `1000` |

## Lineage

1. SFTRun chat/qwen2.5, checkpoint 1000
2. merged and converted by ModelExport chat/qwen
"""


def front_matter(text: str) -> Any:
    return yaml.safe_load(text.split("---\n")[1])


def test_the_whole_card() -> None:
    assert card.render(card.read(TOLD)) == GOLDEN


def test_the_front_matter_is_valid_yaml() -> None:
    assert front_matter(GOLDEN) == {
        "base_model": "Qwen/Qwen2.5-7B-Instruct",
        "base_model_relation": "finetune",
        "datasets": ["CodyWhy/mh-sharegpt-20250820"],
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["ms-swift", "swiftop", "chat"],
    }


@pytest.mark.parametrize(
    "text",
    ['a"b: [c', "---", "x\n---\nlicense: mit", "no", "1e3", "{{x}}", "é 模型 😀", "a\u2028b\x85c\x7f\ufeff", "\\"],
)
def test_no_name_breaks_out_of_the_front_matter(text: str) -> None:
    found = front_matter(card.render(Card(base=Source(text, hub="modelscope"), tags=(text,), license=text)))
    assert (found["base_model"], found["tags"][-1], found["license"]) == (text, text, text)


def test_a_base_without_a_repository_is_no_link() -> None:
    found = front_matter(card.render(Card(base=Source("/models/own"), adapter=True)))
    assert found == {"library_name": "peft", "tags": ["ms-swift", "swiftop", "lora"]}


def test_a_card_of_which_nothing_is_known_is_whole() -> None:
    assert card.render(card.read({})).startswith('---\nlibrary_name: "transformers"\n')


def test_a_quantized_model_says_so_to_the_hubs_and_to_people() -> None:
    told = {"quantization": "awq, 4 bits, groups of 128", "calibration": [{"name": "me/chats", "hub": "modelscope"}]}
    text = card.render(card.read({**TOLD, **told, "tags": ["awq", "4-bit"]}))
    front = yaml.safe_load(text.split("---")[1])
    assert (front["base_model_relation"], front["tags"][-2:]) == ("quantized", ["awq", "4-bit"])
    assert front["datasets"] == ["CodyWhy/mh-sharegpt-20250820"]  # what it learned from
    assert "| calibration data | `me/chats` |  | modelscope |" in text
    assert "| quantization | `awq, 4 bits, groups of 128` |" in text
    assert "| type of the other weights | `bfloat16` |" in text
