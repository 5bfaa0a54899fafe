"""ModelDeployments that are refused or accepted, as patches to the smallest valid one: one table for both guards."""

from __future__ import annotations

from functools import partial

from tests.apiserver.cases import Case, Patch

MINIMAL: Patch = {
    "apiVersion": "swiftop.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "minimal", "namespace": "default"},
    "spec": {"model": {"id": "a/b"}, "engine": "transformers", "resources": {"gpus": 0}},
}
_case = partial(Case, base=MINIMAL)
_ADAPTER: Patch = {"name": "tuned", "sftRunRef": {"name": "run"}}
_PROMPT: Patch = {"prompt": "Who are you?", "contains": "swift"}
_CHECKPOINT: Patch = {"model": {"id": None, "sftRunRef": {"name": "a"}}}
_GPU: Patch = {"resources": {"gpus": 1}}


def _adapter(**members: object) -> Patch:
    return {"adapters": [{**_ADAPTER, **members}]}


def _gate(**members: object) -> Patch:
    return {"rollout": {"gate": members}}


def _arg(name: str, **value: object) -> Patch:
    return {"engineArgs": [{"name": name, **(value or {"value": "1"})}]}


REFUSED: tuple[Case, ...] = (
    _case("no model", {"model": {"id": None}}, "spec.model", "exactly one of"),
    _case("two models", {"model": {"exportRef": {"name": "a"}}}, "spec.model", "exactly one of"),
    _case("a revision of an export", {"model": {"id": None, "exportRef": {"name": "a"}, "revision": "v1"}},
          "spec.model.revision", "belongs to a model by id"),
    _case("no engine", {"engine": None}, "spec.engine"),
    _case("another engine", {"engine": "tgi"}, "spec.engine"),
    _case("a field as Python spells it", {"served_model_name": "a"}, "spec.served_model_name"),
    _case("a flag for a field", {"infer_backend": "vllm"}, "spec.infer_backend"),
    _case("an adapter without source", _adapter(sftRunRef=None), "spec.adapters[0]", "exactly one of"),
    _case("an adapter of two sources", _adapter(id="a/b"), "spec.adapters[0]", "exactly one of"),
    _case("an adapter with a sign of ms-swift's own", _adapter(name="a=b"), "spec.adapters[0].name", "write letters"),
    _case("an adapter of the object's name", _adapter(name="minimal"), "spec.adapters", "has the name of the model"),
    _case("an adapter of the model's name", {**_adapter(name="base"), "servedModelName": "base"}, "spec.adapters",
          "has the name of the model"),
    _case("adapters with sglang", {**_adapter(), **_GPU, "engine": "sglang"}, "spec.adapters",
          "Name the run of the adapter in model.sftRunRef"),
    _case("adapters with lmdeploy", {**_adapter(), **_GPU, "engine": "lmdeploy"}, "spec.adapters",
          "Name the run of the adapter in model.sftRunRef"),
    _case("a merge of nothing", {"merge": {}}, "spec.merge", "only the adapter of model.sftRunRef"),
    _case("a merged model that is lost", {**_CHECKPOINT, "merge": {"output": {"ephemeral": True}}},
          "spec.merge.output", "would be lost"),
    _case("lmdeploy without a GPU", {"engine": "lmdeploy"}, "spec.engine", "run on GPUs only"),
    _case("parallel transformers", {**_GPU, "tensorParallelSize": 1}, "spec.tensorParallelSize", "by itself"),
    _case("more parallel than GPUs", {**_GPU, "engine": "vllm", "tensorParallelSize": 2}, "spec.tensorParallelSize",
          "at most resources.gpus"),
    _case("memory of no GPU", {"engine": "vllm", "gpuMemoryUtilization": "0.9"}, "spec.gpuMemoryUtilization",
          "reserve GPU memory"),
    _case("all of the memory", {**_GPU, "engine": "vllm", "gpuMemoryUtilization": "1.0"},
          "spec.gpuMemoryUtilization", "below 1"),
    _case("a GPU by its number", {"runtime": {"env": [{"name": "CUDA_VISIBLE_DEVICES", "value": "6"}]}},
          "spec.runtime.env[0].name", "a pod has the GPUs that resources.gpus asks for"),
    _case("memory without a unit", {"resources": {"gpus": 0, "memory": "64"}}, "spec.resources.memory",
          "a size with its unit"),
    _case("two nodes", {"resources": {"gpus": 0, "nodes": 2}}, "spec.resources.nodes", "on one node"),
    _case("two processes", {"resources": {"gpus": 2, "processesPerNode": 2}}, "spec.resources.processesPerNode",
          "is one server"),
    _case("a key as a flag", _arg("api_key"), "spec.engineArgs[0].name", "must not be a flag"),
    _case("a flag of a field", _arg("vllm_max_model_len"), "spec.engineArgs[0].name",
          "engineArgs.vllm_max_model_len: use spec.maxModelLength instead"),
    _case("a flag of swiftop's", _arg("merge_lora"), "spec.engineArgs[0].name", "set by swiftop, remove it"),
    _case("a port", _arg("port"), "spec.engineArgs[0].name", "use spec.service instead"),
    _case("fewer than none", {"replicas": -1}, "spec.replicas"),
    _case("at most fewer than at least", {"autoscaling": {"min": 3, "max": 2, "target": 4}}, "spec.autoscaling.min",
          "at most max"),
    _case("no end of loading", {"timeouts": {"loadSeconds": 0}}, "spec.timeouts.loadSeconds"),
    _case("port 0", {"service": {"port": 0}}, "spec.service.port"),
    _case("another server", {"server": "Other"}, "spec.server"),
    _case("transformers' own server", {"server": "Native"}, "spec.server", "transformers has no server of its own"),
    _case("an empty gate", {"rollout": {"gate": {"prompts": []}}}, "spec.rollout.gate", "needs prompts or maxEvalLoss"),
    _case("a prompt for a name that is not served", _gate(prompts=[{**_PROMPT, "name": "other"}]),
          "spec.rollout.gate.prompts", "names nothing that is served"),
    _case("a prompt without an answer", _gate(prompts=[{"prompt": "a"}]), "spec.rollout.gate.prompts[0].contains"),
    _case("17 prompts", _gate(prompts=[_PROMPT] * 17), "spec.rollout.gate.prompts"),
    _case("no token", _gate(prompts=[{**_PROMPT, "maxTokens": 0}]), "spec.rollout.gate.prompts[0].maxTokens"),
    _case("a loss of nothing", {**_gate(maxEvalLoss="0"), **_CHECKPOINT}, "spec.rollout.gate.maxEvalLoss", "above 0"),
    _case("a loss without a run", _gate(maxEvalLoss="1.5"), "spec.rollout.gate.maxEvalLoss", "name one by sftRunRef"),
)  # fmt: skip

ACCEPTED: tuple[Case, ...] = (
    _case("minimal", {}),
    _case("adapters with transformers", {"adapters": [_ADAPTER, {"name": "b", "exportRef": {"name": "e"}}]}),
    _case("adapters with vllm", {**_adapter(rank=64), **_GPU, "engine": "vllm"}),
    _case("vllm on the CPU", {"engine": "vllm"}),
    _case("vllm's own server", {"engine": "vllm", "server": "Native"}),
    _case("whichever server", {"server": "Auto"}),
    _case("merged with lmdeploy", {**_GPU, "engine": "lmdeploy", "model": {"id": None, "exportRef": {"name": "a"}}}),
    _case("a checkpoint", {"model": {"id": None, "sftRunRef": {"name": "a", "checkpoint": 508}}}),
    _case("a gate for the model and an adapter", {
        **_adapter(), **_gate(prompts=[_PROMPT, {**_PROMPT, "name": "tuned"}, {**_PROMPT, "name": "minimal"}]),
    }),
    _case("a gate for the model by its name", {
        **_gate(prompts=[{**_PROMPT, "name": "base"}]), "servedModelName": "base",
    }),
    _case("a highest loss", {**_gate(maxEvalLoss="1.5"), **_CHECKPOINT}),
    _case("a highest loss of an adapter", {**_gate(maxEvalLoss="1.5"), **_adapter()}),
    _case("a merge to a volume of its own", {**_CHECKPOINT, "merge": {
        "output": {"volume": {"size": "20Gi", "retain": "Delete"}}, "resources": {"gpus": 0, "memory": "24Gi"},
    }}),
    _case("a folder", {"model": {"id": None, "persistentVolumeClaim": {"claimName": "m"}, "type": "qwen2"}}),
    _case("all of it", {
        **_adapter(), "resources": {"gpus": 4}, "engine": "vllm", "servedModelName": "Qwen/Qwen2.5:7b",
        "system": "Be brief.", "template": "qwen2_5", "maxModelLength": 4096, "tensorParallelSize": 4,
        "gpuMemoryUtilization": "0.9", "dtype": "bfloat16", "replicas": 0,
        "autoscaling": {"max": 4, "target": 8}, "apiKey": {"name": "keys", "key": "k"},
        "service": {"type": "NodePort", "port": 80, "annotations": {"a.b/c": "d"}}, "rollout": {"follow": False},
        "timeouts": {"answerSeconds": 30}, **_arg("vllm_max_num_seqs"),
    }),
)  # fmt: skip
