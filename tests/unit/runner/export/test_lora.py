"""What an adapter changes, by its configuration and the names of its tensors."""

from __future__ import annotations

import math

import pytest

from swiftop.runner.export import lora
from swiftop.runner.export.lora import Adapter, Change

Q, GATE = "model.layers.0.self_attn.q_proj", "model.layers.10.mlp.gate_proj"


def pair(module: str) -> tuple[str, str]:
    return f"base_model.model.{module}.lora_A.weight", f"base_model.model.{module}.lora_B.weight"


def test_an_adapter_is_read_as_peft_reads_it() -> None:
    config = {
        "peft_type": "LORA",
        "lora_alpha": 16,
        "alpha_pattern": {"10.mlp.gate_proj": 4, "0.mlp.gate_proj": 99},
        "use_rslora": True,
    }
    names = [
        *pair(Q),
        *pair(GATE),
        "base_model.model.model.embed_tokens.lora_embedding_A",
        "base_model.model.model.embed_tokens.lora_embedding_B",
        "base_model.model.model.embed_tokens.base_layer.weight",
        "base_model.model.lm_head.weight",
    ]
    embedding = "model.embed_tokens"
    assert lora.read(config, names) == Adapter(
        changes={
            f"{Q}.weight": Change(Q, *pair(Q), alpha=16, rank_stabilized=True),
            f"{GATE}.weight": Change(GATE, *pair(GATE), alpha=4, rank_stabilized=True),
            f"{embedding}.weight": Change(
                embedding, names[4], names[5], alpha=16, rank_stabilized=True, transposed=True
            ),
        },
        replaced={f"{embedding}.weight": names[6], "lm_head.weight": names[7]},
        excluded={},
    )


def test_the_scale_is_alpha_by_the_rank_or_its_root() -> None:
    assert Change("m", "a", "b", alpha=16).scale(8) == 2
    assert Change("m", "a", "b", alpha=16, rank_stabilized=True).scale(8) == 16 / math.sqrt(8)


def test_weights_that_lie_turned_are_known() -> None:
    (change,) = lora.read({"fan_in_fan_out": True}, pair("transformer.h.0.attn.c_attn")).changes.values()
    assert change.transposed


@pytest.mark.parametrize(
    ("config", "extra", "why"),
    [
        ({"use_dora": True}, [f"base_model.model.{Q}.lora_magnitude_vector.weight"], "DoRA"),
        ({"init_lora_weights": "pissa_niter_4"}, [], "initialized by pissa_niter_4, which changes the base"),
        ({"peft_type": "ADALORA"}, [f"base_model.model.{Q}.lora_E"], "ADALORA tuner"),
    ],
)
def test_what_cannot_be_calculated_is_excluded_with_its_reason(
    config: dict[str, object], extra: list[str], why: str
) -> None:
    found = lora.read(config, [*pair(Q), *extra])
    assert found == Adapter(changes={}, replaced={}, excluded={f"{Q}.weight": why})


def test_half_a_pair_is_excluded() -> None:
    assert lora.read({}, pair(Q)[:1]).excluded == {f"{Q}.weight": "half of the pair is missing"}


def test_weights_are_found_below_another_prefix() -> None:
    names = ["model.language_model.layers.0.mlp.up.weight", "model.visual.layers.7.mlp.up.weight", "lm_head.weight"]
    wanted = ["language_model.model.layers.0.mlp.up.weight", "visual.layers.7.mlp.up.weight", "lm_head.weight"]
    assert lora.place(wanted, names) == dict(zip(names, wanted, strict=True))


def test_a_weight_that_may_be_one_of_two_is_left_out() -> None:
    names = ["model.language.layers.0.mlp.up.weight", "model.visual.layers.0.mlp.up.weight"]
    assert lora.place(["layers.0.mlp.up.weight"], names) == {}


def test_a_weight_of_that_very_name_is_no_one_elses() -> None:
    names = ["model.visual.layers.0.mlp.up.weight"]
    assert lora.place(["model.language.layers.0.mlp.up.weight", *names], names) == {names[0]: names[0]}
