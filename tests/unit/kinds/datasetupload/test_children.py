"""All children of an upload, compared whole. After a change that is meant: UPDATE_GOLDEN=1 pytest; read the diff."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from swiftop import names
from swiftop.api.v1alpha1.datasetupload import DatasetUpload
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.errors import Invalid
from swiftop.kinds.datasetupload.build import secret_vars
from swiftop.kinds.registry import KINDS
from swiftop.model.kind import Pinned, World
from swiftop.model.verdict import Create
from swiftop.swift.cache import cache_keys
from swiftop.workload.job import plan_of
from tests.support.objects import IMAGE, SAMPLES
from tests.unit.kinds.datasetupload.uploads import MINIMAL, WHOLE, children_of, upload_of

GOLDEN = Path(__file__).parent / "children"
SAMPLE = yaml.safe_load((SAMPLES / "datasetupload.yaml").read_text("utf-8"))
CASES: dict[str, tuple[DatasetUpload, Defaults]] = {
    "sample": (upload_of(SAMPLE["spec"], SAMPLE["metadata"]["name"]), Defaults(image="registry.example/trainer:4.6")),
    "minimal": (upload_of({**MINIMAL, "runtime": IMAGE}), Defaults()),
    "whole": (upload_of(WHOLE), Defaults()),
}
KIND = KINDS["DatasetUpload"]


@pytest.mark.parametrize("name", CASES)
def test_children(name: str) -> None:
    upload, defaults = CASES[name]
    children = children_of(upload, defaults)
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(yaml.safe_dump_all(children, sort_keys=False, width=120, allow_unicode=True), "utf-8")
    assert children == list(yaml.safe_load_all(path.read_text("utf-8")))
    assert yaml.safe_dump_all(children) == yaml.safe_dump_all(children_of(upload, defaults))


def test_the_token_is_required_and_another_hub_s_is_not() -> None:
    def named(**changes: object) -> list[tuple[str, str, str, bool]]:
        found = secret_vars(upload_of({**WHOLE, **changes}).spec)
        return [(secret.name, secret.secret_name, secret.key, secret.optional) for secret in found]

    assert named() == [
        ("HF_TOKEN", "writer", "token", False),
        ("MODELSCOPE_API_TOKEN", "swiftop-credentials", "MODELSCOPE_API_TOKEN", True),
    ]
    assert named(tokenizer=None, destination={"hub": "modelscope", "repo": "a/b", "path": "x.json"}) == [
        ("MODELSCOPE_API_TOKEN", "swiftop-credentials", "MODELSCOPE_API_TOKEN", False),
    ]
    own = {"modelscopeApiToken": {"name": "own", "key": "t"}}
    assert named(credentials=own, destination={"hub": "modelscope", "repo": "a/b", "path": "x.json"}) == [
        ("MODELSCOPE_API_TOKEN", "own", "t", False),
    ]


def test_without_an_image_it_says_where_to_set_one() -> None:
    with pytest.raises(Invalid, match=r"no image with ms-swift 9\.9 is known"):
        children_of(upload_of({**MINIMAL, "runtime": {"swiftVersion": "9.9"}}))


def test_the_image_of_the_first_attempt_stays() -> None:
    world = World(defaults=Defaults(image="new:2"), runner_config_map="x", pinned=Pinned("old:1", "", ""))
    prepared = KIND.prepare(upload_of(MINIMAL), world)
    (job,) = KIND.build(prepared, Create(1))
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == "old:1"
    assert KIND.pinned(job) == Pinned("old:1", "", "", prepared.digest)


def test_its_children_stand_beside_a_run_s_of_the_same_name() -> None:
    (job,) = children_of(upload_of({**MINIMAL, "runtime": IMAGE}, "tiny"))
    assert job["metadata"]["name"] == "tiny-dsup-1"
    assert len(f"{'x' * names.MAX_NAME}-dsup-99") <= 63


def test_the_tokenizer_in_a_shared_cache_is_not_its_model() -> None:
    plan = plan_of(children_of(*CASES["whole"])[-1])
    assert plan is not None
    assert plan.cache_dir == "/swiftop/cache"
    assert len(plan.cache_keys) == 1
    assert plan.cache_keys != cache_keys({"model": ("Qwen/Qwen2.5-7B-Instruct",)})
