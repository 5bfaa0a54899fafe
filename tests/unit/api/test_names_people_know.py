"""Names of ms-swift's flags in place of fields, and words in place of objects, are answered with the field."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml
from pydantic.alias_generators import to_camel

from swiftop.api.crd import schema_of
from swiftop.api.fields import model_at
from swiftop.api.v1alpha1.elsewhere import FIELD_OF_NAME
from swiftop.api.v1alpha1.sft_args import FIELD_OF_FLAG
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.cli.preview import previews
from swiftop.errors import Invalid
from swiftop.kinds.registry import MODELS
from tests.apiserver.deployment_cases import MINIMAL as DEPLOYMENT
from tests.apiserver.export_cases import MINIMAL as EXPORT
from tests.apiserver.sftrun_patches import MINIMAL
from tests.apiserver.upload_cases import MINIMAL as UPLOAD
from tests.support.mutations import changed, places, values

OF_SWIFTOP_ALONE = "swiftop sets it: remove it"
SECTIONS = ("", "training", "tuner", "checkpoints")


def told(path: str, value: Any) -> str:
    place = tuple(int(part) if part.isdecimal() else part for part in path.split("."))
    with pytest.raises(Invalid) as caught:
        list(previews(json.dumps(changed(MINIMAL, place, value))))
    (problem,) = caught.value.problems
    assert problem.path.startswith(path.replace(".0", "[0]"))
    return str(problem).partition(": ")[2]


def is_field(path: str) -> bool:
    *above, last = ("spec", *path.split("."))
    model = model_at(SFTRun, tuple(above))
    return model is not None and last in {field.alias for field in model.model_fields.values()}


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("flag", sorted(FIELD_OF_FLAG))
def test_a_flag_leads_to_its_field(flag: str, section: str) -> None:
    fields = FIELD_OF_FLAG[flag].split(" or ") if FIELD_OF_FLAG[flag] else []
    for name in (flag, to_camel(flag)):
        path = f"{section}.{name}".lstrip(".")
        if is_field(path):
            continue
        said = told(f"spec.{path}", "x")
        if not fields:
            assert said in (f"unknown field ({OF_SWIFTOP_ALONE})",)
            continue
        meant = {field.removeprefix(f"{section}.") if field.startswith(section) else field for field in fields}
        named = said.replace("?", " ").replace(")", " ").replace(":", " ").split()
        assert {*meant, *(f"spec.{field}" for field in fields)} & {*named}, (said, meant)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("spec.num_train_epochs", "unknown field (did you mean training.epochs?)"),
        ("spec.training.num_train_epochs", "unknown field (did you mean epochs?)"),
        ("spec.training.attn_impl", "unknown field (did you mean attention?)"),
        ("spec.training.bf16", "unknown field (did you mean precision: bf16?)"),
        ("spec.training.lora_rank", "unknown field (use spec.tuner.rank)"),
        ("spec.training.loraRank", "unknown field (use spec.tuner.rank)"),
        ("spec.training.save_total_limit", "unknown field (use spec.checkpoints.keep)"),
        ("spec.training.saveSteps", "unknown field (use spec.checkpoints.saveSteps)"),
        ("spec.tuner.bf16", "unknown field (use spec.training.precision: bf16)"),
        ("spec.lora", "unknown field (use spec.tuner: {type: lora, rank: 8, alpha: 32})"),
        ("spec.training.lr", "unknown field (use learningRate)"),
        ("spec.train_type", "unknown field (did you mean tuner.type?)"),
        ("spec.training.output_dir", "unknown field (use spec.output)"),
        ("spec.training.push_to_hub", f"unknown field ({OF_SWIFTOP_ALONE})"),
        (
            "spec.training.vit_lr",
            'unknown field (a flag of ms-swift without a field: add {name: vit_lr, value: "..."} to spec.extraArgs)',
        ),
    ],
)
def test_names_of_ms_swift(path: str, words: str) -> None:
    assert told(path, "x") == words


A_MAP = "must be a map of fields"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("spec.model", "Qwen/Qwen2.5-7B-Instruct", f"{A_MAP} (write {{id: Qwen/Qwen2.5-7B-Instruct}})"),
        ("spec.model", "HF::a/b", f"{A_MAP} (write {{id: a/b, hub: huggingface}})"),
        ("spec.model", "/a b", f'{A_MAP} (write {{persistentVolumeClaim: {{claimName: CLAIM, path: "a b"}}}})'),
        ("spec.tuner.targetModules", "all-linear", "must be a list: start each item with - on a line of its own, or "
         "write [...] (write [all-linear])"),
        ("spec.training.evalStrategy", False, "unsupported value false: use 'no', 'steps' or 'epoch' (put it in "
         "quotes: YAML reads it as false)"),
        ("spec.runtime.securityContext.supplementalGroups.0", True, "true must be a whole number"),
        ("spec.runtime.securityContext.supplementalGroups.0", "5", "'5' must be a whole number"),
        ("spec.tuner.quantization", {"method": "hqq", "bits": True}, "true must be a whole number"),
        ("spec.training.learningRate", 0.0002, 'must be a text (put it in quotes: "0.0002")'),
        ("spec.training.maxLength", "8k", "'8k' must be a whole number"),
        ("spec.training.freeze.vit", "yes", "'yes' must be true or false"),
        ("spec.training.maxSteps", -1, "must be at least 1 (remove it, if -1 is to say that it is not set)"),
        ("spec.tuner.targetModules", "q_proj, v_proj", "must be a list: start each item with - on a line of its own, "
         "or write [...] (write [q_proj, v_proj])"),
        ("spec.tuner.quantization", {"method": "bnb", "bits": "4"}, "unsupported value '4': use 1, 2, 3, 4 or 8 "
         "(write it without quotes)"),
        ("spec.checkpoints.resume", True, "unsupported value true: use 'Auto' or 'Never'"),
        ("spec.extraArgs", {"vit_lr": "1e-5"}, "must be a list: start each item with - on a line of its own, or write "
         "[...] (write [{name: vit_lr, value: \"1e-5\"}])"),
        ("spec.extraArgs", ["--vit_lr 1e-5"], f'{A_MAP} (write {{name: vit_lr, value: "1e-5"}})'),
        ("spec.extraArgs", [{"name": "model_kwargs", "value": {"a": 1}}], "must be a text (use json: '{\"a\": 1}')"),
        ("spec.runtime.env", {"A": True}, "must be a list: start each item with - on a line of its own, or write "
         "[...] (write [{name: A, value: \"true\"}])"),
        ("spec.runtime.imagePullSecrets", "acr", "must be a list: start each item with - on a line of its own, or "
         "write [...] (write [{name: acr}])"),
    ],
)  # fmt: skip
def test_a_value_in_another_form(path: str, value: Any, words: str) -> None:
    assert told(path, value) == words


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.training.deepspeed", 3),
        ("spec.validation.splitRatio", 10),
        ("spec.training.epochs", -1),
        ("spec.resources.memory", 64),
        ("spec.tuner.quantization", "4bit"),
        ("spec.extraArgs", ["--hub_token=abc"]),
        ("spec.runtime.env", {"HF_TOKEN": "abc"}),
        ("spec.credentials.hfToken", "abc"),
    ],
)
def test_no_form_is_suggested_that_would_be_refused(path: str, value: Any) -> None:
    """Nor is what may be a secret written once more."""
    said = told(path, value)
    assert "put it in quotes" not in said
    assert "(write " not in said
    assert "abc" not in said


_ONE_WORD = [
    ("spec.tuner", "lora"),
    ("spec.training.task", "embedding"),
    ("spec.tracking.swanlab", "my-project"),
    ("spec.output.volume", "50Gi"),
    ("spec.output.persistentVolumeClaim", "out"),
    ("spec.cache", "models"),
    ("spec.checkpoints.from", "other"),
    ("spec.checkpoints.from.sftRunRef", "other"),
]


@pytest.mark.parametrize(("path", "word"), _ONE_WORD)
def test_one_word_for_an_object_is_written_out_so_that_it_is_taken(path: str, word: str) -> None:
    written = told(path, word).partition("(write ")[2].removesuffix(")")
    obj = changed(MINIMAL, tuple(path.split(".")), yaml.safe_load(written))
    if path.startswith("spec.output"):
        obj["spec"]["output"] = {path.rpartition(".")[2]: yaml.safe_load(written)}
    assert list(previews(json.dumps(obj)))


def test_names_of_other_trainers_lead_to_fields_that_there_are() -> None:
    for name, field in FIELD_OF_NAME.items():
        path = field.partition(":")[0].replace("[]", "")
        assert is_field(path), name
        assert told(f"spec.{name}", "x") in (f"unknown field (use spec.{field})", "unknown field (use hub)"), name


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("spec.validation.dataset", "unknown field (did you mean datasets?)"),
        ("spec.training.cutoff_len", "unknown field (use spec.training.maxLength)"),
        ("spec.tuner.r", "unknown field (use rank)"),
        ("spec.tracking.swanlab", "unknown field (put it into the Secret that spec.credentials names, as "
         "SWANLAB_API_KEY)"),
        ("spec.lifecycle.backoffLimit", "unknown field (use maxRetries)"),
    ],
)  # fmt: skip
def test_a_likely_name_does_not_lead_to_another_field(path: str, words: str) -> None:
    value: Any = {"project": "p", "apiKey": "x"} if path.endswith("swanlab") else "x"
    assert told(path, value) == words


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("a/b", "{id: a/b}"),
        ("a/b#500", "{id: a/b, sample: 500}"),
        ("HF::a/b:c/d#5", "{id: a/b, hub: huggingface, sample: 5, subsets: [c, d]}"),
        ("./chats/train.jsonl#5", "{persistentVolumeClaim: {claimName: CLAIM, path: chats/train.jsonl}}"),
    ],
)
def test_a_dataset_in_one_word(word: str, written: str) -> None:
    obj = copy.deepcopy(MINIMAL)
    obj["spec"]["datasets"] = [word]
    with pytest.raises(Invalid) as caught:
        list(previews(json.dumps(obj)))
    assert [str(problem) for problem in caught.value.problems] == [f"spec.datasets[0]: {A_MAP} (write {written})"]


@pytest.mark.parametrize("word", ["swift/GQA#500", "HF::a/b", "a/b:c", "./a"])
def test_an_id_with_more_in_it(word: str) -> None:
    obj = copy.deepcopy(MINIMAL)
    obj["spec"]["datasets"] = [{"id": word}]
    with pytest.raises(Invalid) as caught:
        list(previews(json.dumps(obj)))
    (problem,) = caught.value.problems
    assert all(
        field in problem.message for field in ("sample: 500", "subsets: [name]", "use hub", "persistentVolumeClaim")
    )


@pytest.mark.parametrize(
    ("path", "word", "written"),
    [
        ("spec.datasets.0.id", "swift/GQA#500", "id: swift/GQA, sample: 500"),
        ("spec.datasets.0.id", "HF::a/b:c#5", "id: a/b, hub: huggingface, sample: 5, subsets: [c]"),
        ("spec.datasets.0.id", "https://huggingface.co/datasets/a/b", "id: a/b, hub: huggingface"),
        ("spec.datasets.0.id", "data/a.jsonl#9", "persistentVolumeClaim: {claimName: CLAIM, path: data/a.jsonl}"),
        ("spec.model.id", "https://www.modelscope.cn/models/Qwen/Qwen3-8B/files", "id: Qwen/Qwen3-8B"),
        ("spec.model.id", "HF::a/b", "id: a/b, hub: huggingface"),
        ("spec.model.id", "a/b@v1.0", "id: a/b, revision: v1.0"),
        ("spec.model.id", "a/b ", "id: a/b"),
        ("spec.model.id", "/models/a", "persistentVolumeClaim: {claimName: CLAIM, path: models/a}"),
        ("spec.model.adapters", [{"id": "./a"}], "persistentVolumeClaim: {claimName: CLAIM, path: a}"),
    ],
)
def test_an_id_is_taken_apart(path: str, word: Any, written: str) -> None:
    said = told(path, word)
    assert said.endswith(f" (write {written})")
    owner = tuple(int(part) if part.isdecimal() else part for part in path.removesuffix(".id").split("."))
    members = yaml.safe_load("{" + written.replace("CLAIM", "claim") + "}")
    assert list(previews(json.dumps(changed(MINIMAL, owner, [members] if isinstance(word, list) else members))))


WORDS_OF_THE_PARSER = (
    "does not match",
    "input should",
    "valid",
    "instance",
    "tuple",
    "dictionary",
    "pydantic",
    "none",
    "literal",
    "nan",
)
BASES = {obj["kind"]: obj for obj in (MINIMAL, EXPORT, UPLOAD, DEPLOYMENT)}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.DEFINITION.resource.kind)
def test_no_message_is_in_the_words_of_the_parser(model: Any) -> None:
    base = BASES[model.DEFINITION.resource.kind]
    found: set[str] = set()
    for path, schema in places(schema_of(model)["properties"]["spec"], ("spec",)):
        for value in values(schema):
            try:
                model.from_object(changed(base, path, value))
            except Invalid as error:
                found |= {problem.message for problem in error.problems}
    assert len(found) > 50
    wrong = {m for m in found if any(word in m.lower().replace("valid yaml", "") for word in WORDS_OF_THE_PARSER)}
    assert wrong == set()
