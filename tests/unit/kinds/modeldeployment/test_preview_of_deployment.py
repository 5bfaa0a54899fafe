"""`swiftop preview` of a deployment: with what it refers to in the same file, and without."""

from __future__ import annotations

import pytest
import yaml

from swiftop.cli.preview import previews
from swiftop.errors import Invalid
from tests.support.objects import SAMPLES


def sample(name: str) -> str:
    return (SAMPLES / f"{name}.yaml").read_text("utf-8")


def test_the_sample() -> None:
    ((text, warnings),) = previews(sample("modeldeployment"))
    command, *documents = text.split("---\n")
    assert command == (
        "# python -m swift.cli.deploy --model Qwen/Qwen2.5-7B-Instruct --adapters "
        "'mh-sft-7b=/swiftop/source/mh-sft-7b-lora-output/mh-sft-7b-lora-<uid>/checkpoint-<last>' "
        "--infer_backend vllm --served_model_name qwen2-5-7b --vllm_max_model_len 4096\n"
    )
    assert [yaml.safe_load(document)["kind"] for document in documents] == ["Service", "Deployment"]
    assert [warning.reason for warning in warnings] == ["ImageMissing"]


def test_beside_the_export_that_it_serves() -> None:
    found = list(previews(sample("modelexport") + "---\n" + sample("modeldeployment-merged")))
    deployment = next(text for text, _ in found if "swift.cli.deploy" in text)
    assert "--model '/swiftop/source/mh-sft-7b-mexp-output/mh-sft-7b-<uid>/model'" in deployment.splitlines()[0]
    kinds = [document["kind"] for document in yaml.safe_load_all(deployment.partition("---")[2])]
    assert kinds == ["Service", "PodDisruptionBudget", "Deployment"]


def test_beside_the_run_whose_adapter_it_merges() -> None:
    spec = yaml.safe_load(sample("modeldeployment-merged"))
    spec["spec"]["model"] = {"sftRunRef": {"name": "mh-sft-7b-lora"}}
    found = list(previews(sample("sftrun-7b") + "---\n" + yaml.safe_dump(spec)))
    deployment = next(text for text, _ in found if "swift.cli.deploy" in text)
    command, *documents = deployment.split("---\n")
    export = yaml.safe_load(documents[0])
    name = export["metadata"]["name"]
    assert f"--model '/swiftop/source/mh-sft-7b-lora-output/{name}-<uid>/model'" in command
    assert export["spec"] == {
        "source": {"sftRunRef": {"name": "mh-sft-7b-lora", "checkpoint": "<last>"}},
        "output": {"persistentVolumeClaim": {"claimName": "mh-sft-7b-lora-output"}},
        "runtime": {"image": "IMAGE"},  # the word for what the platform alone knows
    }
    kinds = [yaml.safe_load(document)["kind"] for document in documents]
    assert kinds == ["ModelExport", "Service", "PodDisruptionBudget", "Deployment"]


def test_for_another_release() -> None:
    ((text, _),) = previews(sample("modeldeployment-tiny"), swift_version="3.7")
    assert "--infer_backend pt " in text.splitlines()[0]


def test_an_open_door_is_warned_of() -> None:
    spec = yaml.safe_load(sample("modeldeployment-tiny"))
    spec["spec"]["service"] = {"type": "LoadBalancer"}
    ((_, warnings),) = previews(yaml.safe_dump(spec))
    assert "spec.apiKey" in [warning.path for warning in warnings]


def test_a_question_to_what_no_training_changes_is_warned_of() -> None:
    spec = yaml.safe_load(sample("modeldeployment"))
    prompts = [{"prompt": "a", "contains": "b"}, {"name": "mh-sft-7b", "prompt": "a", "contains": "b"}]
    spec["spec"]["rollout"] = {"gate": {"prompts": prompts}}
    ((_, warnings),) = previews(yaml.safe_dump(spec))
    assert [warning.path for warning in warnings if "gate" in warning.path] == ["spec.rollout.gate.prompts[0]"]


def test_what_the_pods_follow_is_among_the_objects() -> None:
    spec = yaml.safe_load(sample("modeldeployment"))
    spec["spec"]["server"] = "Native"
    ((output, _),) = previews(yaml.safe_dump(spec))
    children = {child["kind"]: child for child in yaml.safe_load_all(output.partition("---")[2])}
    assert "--adapters" not in output.partition("---")[0]
    assert "mh-sft-7b" in str(children["ConfigMap"]["data"])


def test_what_is_wrong_is_told_with_its_place() -> None:
    spec = yaml.safe_load(sample("modeldeployment-merged"))
    spec["spec"]["engineArgs"] = [{"name": "lmdeploy_tpp", "value": "1"}]
    with pytest.raises(Invalid, match=r"spec.engineArgs\[0\].name: .* has no flag --lmdeploy_tpp .did you mean"):
        list(previews(yaml.safe_dump(spec)))
