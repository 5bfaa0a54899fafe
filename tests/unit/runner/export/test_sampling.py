"""The choice of weights that are compared one by one."""

from __future__ import annotations

from swiftop.runner.export.sampling import choose

CHANGED = [f"model.layers.{layer}.self_attn.{kind}.weight" for layer in range(32) for kind in ("q_proj", "v_proj")]
OTHERS = ["lm_head.weight", "model.embed_tokens.weight", *(f"model.layers.{n}.norm.weight" for n in range(32))]


def test_every_kind_is_there_with_its_first_and_last_layer() -> None:
    chosen = choose(CHANGED, OTHERS, count=0)
    assert chosen == {
        *(f"model.layers.{layer}.self_attn.{kind}.weight" for layer in (0, 31) for kind in ("q_proj", "v_proj")),
        "lm_head.weight", "model.embed_tokens.weight", "model.layers.0.norm.weight", "model.layers.31.norm.weight",
    }  # fmt: skip


def test_changed_weights_fill_the_choice_up() -> None:
    chosen = choose(CHANGED, OTHERS, count=40)
    assert len(chosen) == 40
    assert len(chosen & set(CHANGED)) == 36


def test_the_choice_is_the_same_each_time_but_for_another_seed() -> None:
    assert choose(CHANGED, OTHERS, count=40) == choose(reversed(CHANGED), OTHERS, count=40)
    assert choose(CHANGED, OTHERS, count=40) != choose(CHANGED, OTHERS, count=40, seed="b")
