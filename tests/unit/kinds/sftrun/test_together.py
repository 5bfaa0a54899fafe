"""What does not go together is told before a GPU is taken, with a step that is taken when it is tried."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop.errors import Problem
from swiftop.kinds.sftrun import check
from tests.support.objects import problems_of
from tests.support.objects import spec_of as spec

FILES = [{"configMap": {"name": "code", "key": "mine.py"}}]


def problems(version: str = "4.6", **members: Any) -> list[Problem]:
    return problems_of(spec(**members), version)


def flag(name: str, value: str) -> list[dict[str, Any]]:
    return [{"name": name, "value": value}]


@pytest.mark.parametrize(
    ("name", "value", "suggestion"),
    [
        ("external_plugins", "mine.py", "write /swiftop/files/mine.py"),
        ("external_plugins", "./mine.py", "write /swiftop/files/mine.py"),
        ("custom_register_path", "code/other.py", "write /swiftop/files/other.py, and add it to spec.files"),
        ("external_plugins", "/swiftop/files/other.py", "add it to spec.files"),
        ("new_special_tokens", "/swiftop/files/tokens.txt", "add it to spec.files"),
        ("cached_dataset", "tokenized/train", "write /data/<claimName>/<folder>"),
        ("cached_dataset", "./tokenized/train", "write /data/<claimName>/<folder>"),
    ],
)
def test_a_file_that_is_not_in_the_pod(name: str, value: str, suggestion: str) -> None:
    (problem,) = problems(files=FILES, extraArgs=flag(name, value))
    assert (problem.path, problem.suggestion) == ("spec.extraArgs[0]", suggestion)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("external_plugins", "/swiftop/files/mine.py"),
        ("external_plugins", "/opt/in-the-image.py"),
        ("cached_dataset", "/data/tokenized/train"),
        ("vit_lr", "1e-5"),
    ],
)
def test_a_file_that_is(name: str, value: str) -> None:
    assert problems(files=FILES, extraArgs=flag(name, value)) == []


VALIDATED: dict[str, Any] = {"validation": {"splitRatio": "0.1"}}
BEST: dict[str, Any] = {"checkpoints": {"saveStrategy": "best"}}


def test_the_best_checkpoint_needs_evaluations() -> None:
    """Without any, transformers would write none; after saveStrategy: best ms-swift knows no time for one."""
    (problem,) = problems(**BEST, training={"evalStrategy": "epoch"})
    assert problem.suggestion == "set spec.validation, or use steps or epoch"
    (problem,) = problems(**BEST, **VALIDATED)
    assert problem.suggestion == "set training.evalStrategy to steps or epoch"
    assert problems(**BEST, **VALIDATED, training={"evalStrategy": "epoch"}) == []
    assert problems(**BEST, training={"evalStrategy": "steps"}, extraArgs=flag("cached_val_dataset", "/data/t/v")) == []


def test_the_best_model_at_the_end_needs_evaluations_as_often_as_checkpoints() -> None:
    wanted = flag("load_best_model_at_end", "true")
    assert [p.suggestion for p in problems(extraArgs=wanted)] == ["set spec.validation, or remove it"]
    (problem,) = problems(extraArgs=wanted, **VALIDATED, training={"evalStrategy": "epoch"})
    assert problem.suggestion == "set training.evalStrategy to steps, or remove it"
    assert problems(extraArgs=wanted, **VALIDATED) == []
    assert problems(extraArgs=flag("load_best_model_at_end", "false")) == []


@pytest.mark.parametrize(
    ("version", "value", "right"),
    [
        ("4.6", "fsdp2", True), ("4.6", "/opt/fsdp.json", True), ("4.6", "full_shard auto_wrap", False),
        ("3.12", "fsdp2", True), ("3.12", "full_shard", False),
        ("3.7", "full_shard auto_wrap", True), ("3.7", "fsdp2", False),
    ],
)  # fmt: skip
def test_fsdp_is_said_in_the_words_of_the_version(version: str, value: str, right: bool) -> None:
    assert (problems(version, extraArgs=flag("fsdp", value)) == []) is right


def test_fsdp2_saves_in_shards() -> None:
    (problem,) = problems(extraArgs=flag("fsdp", "fsdp2"), checkpoints={"saveOnlyModel": True})
    assert problem.suggestion == "remove saveOnlyModel"
    assert problems(extraArgs=flag("fsdp", "/opt/fsdp.json"), checkpoints={"saveOnlyModel": True}) == []


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("all", "did you mean all-linear?"),
        ("ALL", "did you mean all-linear?"),
        ("All-Linear", "did you mean all-linear?"),
        ("DEFAULT", "did you mean all-linear?"),
        ("q_proj,v_proj", "write [q_proj, v_proj]"),
        (r"model\.layers\.\d+\.q_proj$", "use extraArgs target_regex for a pattern"),
    ],
)
def test_what_names_no_module(name: str, suggestion: str) -> None:
    (problem,) = problems(tuner={"targetModules": [name]})
    assert (problem.path, problem.suggestion) == ("spec.tuner.targetModules[0]", suggestion)


@pytest.mark.parametrize(("type_", "part"), [("qlora", "quantization"), ("dora", "use_dora"), ("freeze", "type: full")])
def test_a_relative_of_a_method_is_told_how_ms_swift_has_it(type_: str, part: str) -> None:
    (problem,) = problems(tuner={"type": type_})
    assert part in problem.suggestion


def test_a_name_that_others_have_for_a_field_leads_to_the_field() -> None:
    args = [*flag("batch_size", "1"), *flag("lr", "1e-5"), *flag("sft_type", "lora"), *flag("cutoff_len", "1")]
    assert [problem.suggestion for problem in problems(extraArgs=args)] == [
        "use spec.training.perDeviceBatchSize",
        "use spec.training.learningRate",
        "use spec.tuner.type",
        "use spec.training.maxLength",
    ]


def test_what_has_no_effect_is_a_warning() -> None:
    (warning,) = check.warnings(spec(tuner={"type": "full", "rank": 8, "targetModules": ["all-linear"]}))
    assert "rank, targetModules have no effect" in warning.message
    tokenized: dict[str, Any] = {"datasets": [], "extraArgs": flag("cached_dataset", "/data/t/a")}
    (warning,) = check.warnings(spec(**tokenized, **VALIDATED))
    assert (warning.path, warning.suggestion) == ("spec.validation.splitRatio", "use extraArgs cached_val_dataset")
    assert check.warnings(spec(**VALIDATED)) == check.warnings(spec(**tokenized)) == []


def test_a_pattern_is_no_name_of_files() -> None:
    (problem,) = problems(datasets=[{"persistentVolumeClaim": {"claimName": "d", "path": "train/*.jsonl"}}])
    assert problem.path == "spec.datasets[0].persistentVolumeClaim.path"
    assert problem.suggestion == "name a folder of such files, or each file as a dataset"


def test_on_modelscope_every_model_has_an_owner() -> None:
    members: dict[str, Any] = {"id": "gpt2", "adapters": [{"id": "mine"}]}
    assert [p.path for p in problems(model=members)] == ["spec.model.id", "spec.model.adapters[0].id"]
    assert problems(model={**members, "hub": "huggingface"}) == []


def test_one_adapter_is_trained_on_or_none() -> None:
    two: dict[str, Any] = {"id": "a/b", "adapters": [{"id": "a/c"}, {"id": "a/d"}]}
    assert [p.message for p in problems(model=two)] == ["the training goes on with one adapter"]
    one: dict[str, Any] = {"id": "a/b", "adapters": [{"id": "a/c"}]}
    (problem,) = problems(model=one, tuner={"type": "full"})
    assert problem.suggestion == "merge it by a ModelExport first, or use tuner.type: lora"
    assert problems(model=one) == []


def test_a_chat_is_not_cut_in_pieces() -> None:
    cut = flag("truncation_strategy", "split")
    (problem,) = problems(extraArgs=cut)
    assert problem.path == "spec.extraArgs[0]"
    assert problems(extraArgs=cut, training={"useChatTemplate": False}) == []
    assert problems(extraArgs=flag("truncation_strategy", "left")) == []


def test_a_quantization_that_needs_a_gpu() -> None:
    eetq: dict[str, Any] = {"tuner": {"quantization": {"method": "eetq", "bits": 8}}}
    (problem,) = problems(**eetq, resources={"gpus": 0})
    assert problem.suggestion == "set resources.gpus, or use method: bnb"
    assert problems(**eetq, resources={"gpus": 1}) == []


@pytest.mark.parametrize(
    ("members", "path", "words"),
    [
        ({"checkpoints": {"saveStrategy": "no"}}, "checkpoints.saveStrategy", "leaves nothing"),
        ({"checkpoints": {"saveStrategy": "epoch", "saveSteps": 9}}, "checkpoints.saveSteps", "has no effect"),
        ({**VALIDATED, "training": {"evalStrategy": "epoch", "evalSteps": 9}}, "training.evalSteps", "no effect"),
    ],
)
def test_what_another_strategy_leaves_without_effect(members: dict[str, Any], path: str, words: str) -> None:
    (warning,) = check.warnings(spec(**members))
    assert warning.path == f"spec.{path}"
    assert words in warning.message


def test_evaluation_follows_the_checkpoints_that_are_not_written() -> None:
    _, warning = check.warnings(spec(**VALIDATED, checkpoints={"saveStrategy": "no"}))
    assert warning.suggestion == "set training.evalStrategy to steps or epoch"
