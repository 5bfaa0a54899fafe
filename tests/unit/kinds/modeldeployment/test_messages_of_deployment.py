"""What typical mistakes are answered with: what is wrong in the words of who made them, and a step that works."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from swiftop.cli.preview import previews
from swiftop.errors import Invalid
from tests.unit.kinds.modeldeployment.test_preview_of_deployment import sample

SPEC: dict[str, Any] = {"model": {"id": "a/b"}, "engine": "vllm", "resources": {"gpus": 1}}


def document(**members: Any) -> str:
    spec = {name: value for name, value in {**SPEC, **members}.items() if value is not None}
    api = {"apiVersion": "swiftop.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "served"}}
    return yaml.safe_dump({**api, "spec": spec})


def told(**members: Any) -> list[str]:
    with pytest.raises(Invalid) as caught:
        list(previews(document(**members)))
    return [str(problem) for problem in caught.value.problems]


def warned(text: str) -> list[str]:
    return [str(warning) for _, warnings in previews(text) for warning in warnings if warning.reason != "ImageMissing"]


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("served_model_name", "servedModelName"),  # as Python and flags have it, and no API server
        ("tensor_parallel_size", "tensorParallelSize"),
        ("torch_dtype", "dtype"),
        ("infer_backend", "engine"),
        ("use_hf", "model.hub"),
        ("image", "runtime.image"),
        ("port", "service.port"),
        ("gate", "rollout.gate"),
        ("follow", "rollout.follow"),
        ("nodeSelector", "placement.nodeSelector"),
        ("gpus", "resources.gpus"),
        ("extraArgs", "engineArgs"),
        ("args", "engineArgs"),
        ("systemPrompt", "system"),
    ],
)
def test_a_field_by_another_name(name: str, field: str) -> None:
    assert told(**{name: "x"}) == [f"spec.{name}: unknown field (did you mean {field}?)"]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"tp": 1}, "spec.tp: unknown field (kubectl explain modeldeployment.spec tells all fields)"),
        (
            {"model": {"name": "a/b", "id": "a/b"}},
            "spec.model.name: unknown field (fields here: exportRef, sft",
        ),
        ({"autoscaling": {"max": 3, "target": 1, "minReplicas": 1}}, "minReplicas: unknown field (did you mean min?)"),
        ({"apiKey": "sk-1"}, "(fields here: name, key: one key of a Secret in the same namespace)"),
        (
            {"model": {"sftRunRef": {"name": "qwen2.5"}}},
            "'qwen2.5' must be made of small letters, digits and '-', and b",
        ),
        (
            {"apiKey": {"name": "My_Key", "key": "k"}},
            "'My_Key' must be made of small letters, digits and '-', with '.'",
        ),
        (
            {"model": {"sftRunRef": {"name": "r", "checkpoint": "checkpoint-508"}}},
            "spec.model.sftRunRef.checkpoint: 'checkpoint-508' must be last, best or a number (last (the newest",
        ),
        ({"system": ["a"]}, "spec.system: must be a text"),
        ({"runtime": {"env": [{"name": "CUDA_VISIBLE_DEVICES", "value": "6"}]}}, "a pod has the GPUs that resources.g"),
    ],
)
def test_other_mistakes(members: dict[str, Any], words: str) -> None:
    (message,) = told(**members)
    assert words in message


def test_vllm_without_a_gpu_needs_its_own_image() -> None:
    (warning,) = warned(document(resources={"gpus": 0}))
    assert warning.startswith("spec.runtime.image: without a GPU vLLM needs an image of its own")
    assert warned(document(resources={"gpus": 0}, runtime={"image": "a/server-vllm-cpu:1"})) == []
    assert warned(document(resources={"gpus": 0}, engine="transformers")) == []


def test_no_gpus_at_all_hides_them_from_nobody() -> None:
    env = [{"name": "CUDA_VISIBLE_DEVICES", "value": ""}]
    assert warned(document(runtime={"env": env})) == []


@pytest.mark.parametrize("server", ["Swift", "Native", "Auto"])
@pytest.mark.parametrize(
    ("engine", "flag", "words"),
    [
        ("vllm", "max_num_seqs", "has no flag --max_num_seqs (did you mean vllm_max_num_seqs?)"),
        ("vllm", "maxNumSeqs", "has no flag --maxNumSeqs (did you mean vllm_max_num_seqs?)"),
        ("vllm", "--max-num-seqs", "'--max-num-seqs': write the flag without leading dashes"),
        ("vllm", "tensor_parallel_size", "(use spec.tensorParallelSize)"),
        ("vllm", "dtype", "(use spec.dtype)"),
        ("lmdeploy", "tp", "has no flag --tp (use spec.tensorParallelSize)"),
        ("lmdeploy", "session_len", "(use spec.maxModelLength)"),
        ("lmdeploy", "cache_max_entry_count", "(use spec.gpuMemoryUtilization)"),
        ("sglang", "quantization", "has no flag --quantization"),
        ("sglang", "vllm_max_num_seqs", "is a flag of vllm, and nobody reads it with engine sglang (remove it)"),
        ("vllm", "max_batch_size", "set by swiftop, remove it"),
    ],
)
def test_a_flag_of_an_engine(server: str, engine: str, flag: str, words: str) -> None:
    (message,) = told(engine=engine, server=server, engineArgs=[{"name": flag, "value": "2"}])
    assert message.startswith("spec.engineArgs[0].name: ")
    assert words in message


def test_a_flag_of_another_engine_is_never_proposed() -> None:
    (message,) = told(engine="sglang", engineArgs=[{"name": "quantization", "value": "awq"}])
    assert "vllm" not in message


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"resources": {"gpus": 4}, "tensorParallelSize": 1}, "each replica takes 4 GPUs and uses 1 of them"),
        ({"resources": {"gpus": 3}}, "few models have attention heads that can be shared among 3 GPUs"),
    ],
)
def test_gpus_that_cannot_be_used(members: dict[str, Any], words: str) -> None:
    (warning,) = warned(document(**members))
    assert words in warning


@pytest.mark.parametrize(
    "members",
    [
        {"resources": {"gpus": 4}},
        {"resources": {"gpus": 3}, "engine": "transformers"},
        {
            "resources": {"gpus": 4},
            "tensorParallelSize": 2,
            "engineArgs": [{"name": "vllm_pipeline_parallel_size", "value": "2"}],
        },
    ],
)
def test_gpus_that_are_used(members: dict[str, Any]) -> None:
    assert warned(document(**members)) == []


@pytest.mark.parametrize(
    ("members", "number"),
    [({}, 0), ({"replicas": 2}, 1), ({"autoscaling": {"max": 2, "target": 4}}, 1)],
)
def test_replicas_on_a_volume_of_one_node(members: dict[str, Any], number: int) -> None:
    merge = {"output": {"volume": {"size": "20Gi"}}}
    text = document(model={"sftRunRef": {"name": "r"}}, merge=merge, **members)
    assert [warning.partition(":")[0] for warning in warned(text)] == ["spec.merge.output.volume.accessMode"] * number
    assert warned(text.replace("size:", "accessMode: ReadWriteMany\n        size:")) == []


def test_a_run_that_is_not_in_the_file_is_taken_for_one_that_trains_an_adapter() -> None:
    ((text, _),) = previews(sample("modeldeployment-run"))
    kinds = [one["kind"] for one in yaml.safe_load_all(text.partition("---")[2])]
    assert kinds == ["ModelExport", "Service", "Deployment"]
    assert "checkpoint-" not in text.splitlines()[0]


@pytest.mark.parametrize(
    ("beside", "members", "words"),
    [
        (
            "sftrun-32b",
            {"tuner": {"type": "full"}, "training": {}},
            "trains the whole model, not an adapter (name it",
        ),
        ("modelexport", {"merge": True}, "merges its adapter into a model (name it in spec.model.exportRef)"),
    ],
)
def test_a_source_that_will_not_fit_is_told_before_it_is_made(beside: str, members: dict[str, Any], words: str) -> None:
    other = yaml.safe_load(sample(beside))
    other["spec"].update(members)
    ref = "sftRunRef" if other["kind"] == "SFTRun" else "exportRef"
    adapters = [{"name": "tuned", ref: {"name": other["metadata"]["name"]}}]
    assert [one for one in warned(yaml.safe_dump(other) + "---\n" + document(adapters=adapters)) if words in one]


def test_beside_adapters_an_unknown_run_is_taken_for_one_that_trains_the_model() -> None:
    adapters = [{"name": "tuned", "sftRunRef": {"name": "b"}}]
    ((text, _),) = previews(document(model={"sftRunRef": {"name": "a"}}, adapters=adapters))
    assert "kind: ModelExport" not in text
