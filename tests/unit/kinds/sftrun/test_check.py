"""What a version would refuse, with the field to blame and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop.errors import Problem
from swiftop.kinds.sftrun import check
from swiftop.reasons import Reason
from swiftop.swift.releases import table
from tests.support.objects import problems_of
from tests.support.objects import spec_of as spec


def problems(version: str = "4.6", **members: Any) -> list[Problem]:
    return problems_of(spec(**members), version)


def extra(version: str = "4.6", **arg: Any) -> list[Problem]:
    return problems(version, extraArgs=[arg])


def test_a_valid_spec_has_none() -> None:
    assert problems("3.7") == problems("3.12") == problems() == []


def test_an_unknown_version_names_the_supported_ones() -> None:
    assert problems("4.9") == [
        Problem("spec.runtime.swiftVersion", "ms-swift 4.9 is not supported", "use one of 3.7, 3.12, 4.6",
                Reason.UNSUPPORTED_VERSION)
    ]  # fmt: skip


def test_an_unknown_flag_names_the_nearest_one() -> None:
    assert extra(name="vit_lrr", value="1") == [
        Problem("spec.extraArgs[0].name", "ms-swift 4.6 has no flag --vit_lrr", "did you mean vit_lr?",
                Reason.UNKNOWN_FLAG)
    ]  # fmt: skip


def test_a_flag_of_another_version_says_so() -> None:
    (problem,) = extra("3.7", name="packing_strategy", value="binpack")
    assert "ms-swift 4.6 has it" in problem.suggestion


def test_a_flag_of_several_other_versions_says_so() -> None:
    name = min(set(table("3.12").flags) & set(table("4.6").flags) - set(table("3.7").flags))
    (problem,) = extra("3.7", name=name, value="x")
    assert "ms-swift 3.12 and 4.6 have it" in problem.suggestion


def test_every_problem_of_a_spec_is_told_at_once() -> None:
    found = problems(tuner={"type": "lorra"}, extraArgs=[{"name": "vit_rl", "value": "1"}])
    assert [p.path for p in found] == ["spec.tuner.type", "spec.extraArgs[0].name"]


def test_an_abbreviation_of_a_flag_is_unknown() -> None:
    """argparse would complete ``--hub_tok`` to ``--hub_token``."""
    assert extra(name="hub_tok", value="x")[0].reason == Reason.UNKNOWN_FLAG


def test_the_negative_spelling_names_the_flag() -> None:
    (problem,) = extra(name="no_dataset_shuffle", value="true")
    assert problem.suggestion == 'write name: dataset_shuffle with value: "false"'


@pytest.mark.parametrize("name", ["hub_token", "swanlab_token", "swanlab_secret", "swanlab_webhook_url", "api_key"])
def test_secrets_are_refused(name: str) -> None:
    (problem,) = extra(name=name, value="x")
    assert problem.path == "spec.extraArgs[0].name"
    assert "spec.credentials" in problem.message


@pytest.mark.parametrize(
    ("name", "field"), [("learning_rate", "spec.training.learningRate"), ("output_dir", "spec.output"),
                        ("tuner_type", "spec.tuner.type")]
)  # fmt: skip
def test_a_flag_with_a_field_names_the_field(name: str, field: str) -> None:
    (problem,) = extra(name=name, value="x")
    assert field in problem.message


@pytest.mark.parametrize(
    ("arg", "words"),
    [
        ({"name": "truncation_strategy", "value": "middle"}, "not one of delete, left, right, split"),
        ({"name": "max_pixels", "value": "many"}, "not a whole number"),
        ({"name": "max_pixels", "value": "1.5"}, "not a whole number"),
        ({"name": "vit_lr", "value": "fast"}, "not a number"),
        ({"name": "dataset_shuffle", "value": "maybe"}, "neither true nor false"),
        ({"name": "vit_lr", "values": ["1", "2"]}, "takes one value"),
        ({"name": "dataset_shuffle", "json": "{}"}, "takes no JSON"),
        ({"name": "gradient_checkpointing_kwargs", "json": "{use"}, "is not valid JSON"),
        ({"name": "new_special_tokens", "values": ["-a"]}, "cannot start with a dash"),
    ],
)
def test_wrong_values(arg: dict[str, Any], words: str) -> None:
    (problem,) = extra(**arg)
    assert words in problem.message


@pytest.mark.parametrize(
    "arg",
    [
        {"name": "truncation_strategy", "value": "left"},
        {"name": "max_pixels", "value": "1003520"},
        {"name": "dataset_shuffle", "value": "False"},
        {"name": "new_special_tokens", "value": "/opt/tokens.txt"},
        {"name": "lr_scheduler_kwargs", "json": '{"min_lr": 1e-6}'},
        {"name": "enable_jit_checkpoint", "value": "true"},
    ],
)
def test_right_values(arg: dict[str, Any]) -> None:
    assert extra(**arg) == []


def test_the_tuner_is_checked_against_the_version() -> None:
    assert problems(tuner={"type": "lora_llm"}) == []
    (problem,) = problems("3.7", tuner={"type": "lora_llm"})
    assert (problem.path, problem.suggestion) == ("spec.tuner.type", "did you mean lora?")
    (problem,) = problems(tuner={"type": "qqq"})
    assert problem.suggestion.startswith("use one of adalora, ")


def test_an_adapter_that_a_release_would_not_go_on_training() -> None:
    model = {"id": "a/b", "adapters": [{"id": "a/c"}]}
    (problem,) = problems("3.7", model=model)
    assert problem.path == "spec.model.adapters"
    assert problem.suggestion == "set runtime.swiftVersion to one of 3.12, 4.6"
    assert problems("3.12", model=model) == problems("4.6", model=model) == []


def test_an_attention_of_a_later_version() -> None:
    training = {"attention": "flash_attention_4"}
    assert problems(training=training) == []
    (problem,) = problems("3.12", training=training)
    assert problem.path == "spec.training.attention"


def test_a_system_prompt_that_ms_swift_would_take_for_a_path() -> None:
    (problem,) = problems(training={"system": "read me.txt"})
    assert problem.path == "spec.training.system"
    assert problems(training={"system": "sys.txt"}, files=[{"configMap": {"name": "f", "key": "sys.txt"}}]) == []


def test_callbacks_are_known_or_come_from_a_plugin() -> None:
    (problem,) = extra(name="callbacks", value="early_stopp")
    assert problem.suggestion == "did you mean early_stop?"
    plugin = {"name": "external_plugins", "value": "/opt/plugin.py"}
    assert problems(extraArgs=[{"name": "callbacks", "value": "mine"}, plugin]) == []
    assert extra(name="callbacks", values=["early_stop", "early_stopp"])[0].path == "spec.extraArgs[0].values"
    assert extra("3.12", name="callbacks", value="early_stop")[0].reason == Reason.UNKNOWN_FLAG


@pytest.mark.parametrize(
    ("members", "path", "message", "suggestion"),
    [
        ({"training": {"template": "qwen25"}}, "training.template", "no template 'qwen25'", "did you mean qwen2_5?"),
        ({"training": {"agentTemplate": "Hermes"}}, "training.agentTemplate", "no agent template 'Hermes'",
         "did you mean hermes?"),
        ({"training": {"lossScale": "last_rounds"}}, "training.lossScale", "no loss scale 'last_rounds'",
         "did you mean last_round?"),
        ({"training": {"lossScale": "last_round+hermess"}}, "training.lossScale", "no loss scale 'hermess'",
         "did you mean hermes?"),
        ({"training": {"task": {"type": "embedding", "lossType": "infoNCE"}}}, "training.task.lossType",
         "no loss 'infoNCE'", "did you mean infonce?"),
        ({"training": {"scheduler": "cosin"}}, "training.scheduler", "no scheduler 'cosin'", "did you mean cosine?"),
        ({"model": {"id": "me/base", "type": "qwen_2"}}, "model.type", "no model type 'qwen_2'", "did you mean qwen2?"),
        ({"extraArgs": [{"name": "optimizer", "value": "mouon"}]}, "extraArgs[0].value", "no optimizer 'mouon'",
         "did you mean muon?"),
        ({"extraArgs": [{"name": "eval_metric", "value": "x"}]}, "extraArgs[0].value", "no metric 'x'",
         "use one of acc, infonce, nlg, paired, reranker, or register it by external_plugins"),
    ],
)  # fmt: skip
def test_a_name_that_nothing_is_registered_under_is_told_at_once(
    members: dict[str, Any], path: str, message: str, suggestion: str
) -> None:
    """ms-swift looks most of them up when the model is loaded: minutes later, with a bare KeyError."""
    assert problems(**members) == [Problem(f"spec.{path}", f"ms-swift 4.6 has {message}", suggestion)]
    plugin = [{"name": "external_plugins", "value": "/opt/mine.py"}]
    assert problems(**{**members, "extraArgs": [*members.get("extraArgs", []), *plugin]}) == []


@pytest.mark.parametrize(
    ("version", "scale", "right"),
    [
        ("3.7", "default", True), ("3.7", "last_round+hermes", False), ("3.7", "all", True),
        ("3.12", "last_round+hermes", True), ("3.12", "hermes", True), ("3.12", "hermes+qwen", False),
        ("3.12", "all+hermes+qwen", False), ("4.6", "all", True), ("4.6", "hermes+ignore_empty_think", True),
        ("4.6", "last_round+hermes+qwen", True), ("4.6", "hermes+last_round", False),
    ],
)  # fmt: skip
def test_loss_scales_are_joined_as_the_version_joins_them(version: str, scale: str, right: bool) -> None:
    assert (problems(version, training={"lossScale": scale}) == []) is right


def test_evaluation_without_data_is_a_warning() -> None:
    quiet = spec(training={"evalSteps": 5, "evalStrategy": "steps"}, validation={"splitRatio": "0.1"})
    assert check.warnings(quiet) == []
    assert check.warnings(spec(training={"evalStrategy": "no"})) == []
    for name in ("eval_dataset", "cached_val_dataset"):
        data = [{"name": name, "value": "/data/held-out/val"}]
        assert check.warnings(spec(training={"evalStrategy": "epoch"}, extraArgs=data)) == []
    loud = check.warnings(spec(training={"evalSteps": 5, "evalStrategy": "steps"}))
    assert [w.path for w in loud] == ["spec.training.evalSteps", "spec.training.evalStrategy"]


def test_validation_that_never_takes_place_is_a_warning() -> None:
    (warning,) = check.warnings(spec(validation={"splitRatio": "0.1"}, training={"evalStrategy": "no"}))
    assert (warning.path, warning.suggestion) == ("spec.training.evalStrategy", "remove it, or spec.validation")


def test_many_modules_are_written_with_a_dash() -> None:
    assert problems(tuner={"targetModules": ["q_proj", "all_linear"]}) == [
        Problem("spec.tuner.targetModules[1]", "no model has a module 'all_linear'", "did you mean all-linear?")
    ]
    assert problems(tuner={"targetModules": ["all-linear", "all-embedding", "q_proj"]}) == []


_FLASH = {"attention": "flash_attn", "maxLength": 64}


@pytest.mark.parametrize(
    ("name", "value", "members", "words"),
    [
        ("fsdp", "fsdp2", {"training": {"deepspeed": "zero2"}}, "--fsdp does what DeepSpeed does, and excludes"),
        ("fsdp", "fsdp2", {"resources": {"gpus": 4, "processesPerNode": 2}}, "FSDP drives one GPU per process"),
        ("lazy_tokenize", "true", {"training": {"packing": True, **_FLASH}}, "excludes spec.training.packing"),
        ("lazy_tokenize", "true", {"training": {"streaming": True, "maxSteps": 9}}, "excludes spec.training.streaming"),
        ("cached_dataset", "/data/t/a", {"training": {"streaming": True, "maxSteps": 9}}, "excludes spec.training"),
        ("cached_val_dataset", "/data/t/a", {"training": {"streaming": True, "maxSteps": 9}}, "excludes spec.training"),
        ("warmup_steps", "100", {"training": {"warmupRatio": "0.1"}}, "excludes spec.training.warmupRatio"),
    ],
)
def test_what_ms_swift_would_refuse_together_is_told_at_once(
    name: str, value: str, members: dict[str, Any], words: str
) -> None:
    arg = [{"name": name, "value": value}]
    (problem,) = problems(extraArgs=arg, **members)
    assert problem.path == "spec.extraArgs[0]"
    assert words in problem.message
    assert problem.suggestion
    assert problems(extraArgs=arg) == []
    assert problems(**members) == []


def test_what_is_switched_off_excludes_nothing() -> None:
    off = [{"name": "lazy_tokenize", "value": "false"}]
    assert problems(extraArgs=off, training={"packing": True, **_FLASH}) == []
    assert problems(extraArgs=[{"name": "warmup_steps", "value": "5"}], training={"warmupRatio": "0"}) == []


def test_self_cognition_is_a_name_and_a_dataset() -> None:
    data, who = [{"id": "a/b"}, {"id": "swift/self-cognition"}], {"selfCognition": {"name": "n", "author": "a"}}
    assert check.warnings(spec(datasets=data, training=who)) == []
    assert [w.path for w in check.warnings(spec(datasets=data))] == ["spec.datasets"]
    assert [w.path for w in check.warnings(spec(training=who))] == ["spec.training.selfCognition"]


def test_a_flag_of_some_releases_of_transformers_is_a_warning() -> None:
    args = [{"name": "vit_lr", "value": "1"}, {"name": "enable_jit_checkpoint", "value": "true"}]
    (warning,) = check.warnings(spec(extraArgs=args))
    assert warning.path == "spec.extraArgs[1].name"
    assert "with transformers 5.19.0 only" in warning.message
    assert check.warnings(spec(extraArgs=args, runtime={"swiftVersion": "3.7"})) == []
    assert check.warnings(spec(extraArgs=args, runtime={"swiftVersion": "9.9"})) == []


@pytest.mark.parametrize(
    ("tracking", "arg"),
    [
        ({"tensorboard": True}, {"value": "none"}),
        ({"swanlab": {"project": "p"}}, {"values": ["none"]}),
        ({}, {"values": ["none", "wandb"]}),
    ],
)
def test_reporting_to_none_excludes_trackers(tracking: dict[str, Any], arg: dict[str, Any]) -> None:
    (problem,) = problems(tracking=tracking, extraArgs=[{"name": "report_to", **arg}])
    assert problem.path == "spec.extraArgs[0]"
    assert problems(extraArgs=[{"name": "report_to", "value": "none"}]) == []


def pinned(id_: str = "me/data", **more: Any) -> dict[str, Any]:
    return {"id": id_, "revision": "v1", **more}


def test_a_dataset_that_would_be_taken_for_a_pinned_one() -> None:
    (problem,) = problems(datasets=[pinned(), {"id": "you/Data"}])
    assert problem == Problem(
        "spec.datasets[1]",
        "ms-swift would read it at the revision of the dataset that has the same name",
        "set its revision",
    )
    (problem,) = problems(datasets=[{"id": "me/data"}], validation={"datasets": [pinned()]})
    assert problem.path == "spec.datasets[0]"
    assert problems(datasets=[pinned(), pinned("you/data", sample=5), {"id": "me/other"}]) == []


def test_a_revision_of_a_dataset_that_is_prepared_in_its_own_way() -> None:
    (problem,) = problems(datasets=[pinned("swift/self-cognition")])
    assert problem == Problem(
        "spec.datasets[0].revision",
        "ms-swift 4.6 prepares swift/self-cognition in a way of its own, but not at a revision",
        "remove it",
    )
    assert problems(datasets=[pinned("me/self-cognition")]) == []


@pytest.mark.parametrize("version", ["3.7", "3.12"])
def test_a_dataset_of_the_other_hub_that_3_x_would_not_find(version: str) -> None:
    mixed: dict[str, Any] = {
        "model": {"id": "a/b", "hub": "huggingface"},
        "datasets": [{"id": "me/data", "hub": "huggingface"}, {"id": "me/data", "hub": "modelscope"}],
    }
    (problem,) = problems(version, **mixed)
    assert problem == Problem(
        "spec.datasets[1]",
        f"ms-swift {version} reads all datasets from Hugging Face when model.hub is huggingface",
        "set runtime.swiftVersion to one of 4.6",
    )
    assert problems(**mixed) == []
    assert problems(version, datasets=[{"id": "me/data", "hub": "huggingface"}]) == []


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"resources": {"gpus": 0}}, "nothing is accelerated without GPUs"),
        ({"runtime": {"swiftVersion": "3.7"}}, "ms-swift 3.7 is not accelerated"),
        ({"runtime": {"swiftVersion": "3.12"}}, ""),
        ({"tuner": {"type": "full"}}, "only tuner.type: lora is accelerated"),
        ({}, ""),
        ({"tuner": {"quantization": {"method": "bnb", "bits": 4}}}, ""),
    ],
)
def test_an_acceleration_that_there_is_none_of(members: dict[str, Any], why: str) -> None:
    found = check.warnings(spec(training={"acceleration": "Auto"}, **members))
    assert [(problem.path, problem.message) for problem in found] == (
        [("spec.training.acceleration", f"{why}, so it has no effect")] if why else []
    )
    assert check.warnings(spec(training={"acceleration": "Off"}, **members)) == []
    assert check.warnings(spec(**members)) == []
