"""ModelExports that are refused or accepted, as patches to the smallest valid one: one table for both guards."""

from __future__ import annotations

from functools import partial

from tests.apiserver.cases import Case, Patch

MINIMAL: Patch = {
    "apiVersion": "swiftop.dev/v1alpha1",
    "kind": "ModelExport",
    "metadata": {"name": "minimal", "namespace": "default"},
    "spec": {"source": {"sftRunRef": {"name": "run"}}, "output": {"volume": {"size": "40Gi"}}},
}
_case = partial(Case, base=MINIMAL)
_CLAIM = {"persistentVolumeClaim": {"claimName": "data", "path": "adapters/a"}, "sftRunRef": None}


def _push(**target: object) -> Patch:
    return {"push": [{"hub": "modelscope", "repo": "me/model", **target}]}


_ROWS: Patch = {"id": "AI-ModelScope/alpaca-gpt4-data-en", "sample": 1000}
_WITH_ROWS: Patch = {"datasets": [_ROWS]}


def _quantized(
    method: str, bits: int | None = None, *, gpus: int = 1, spec: Patch | None = None, **more: object
) -> Patch:
    quantization = {"method": method, **({"bits": bits} if bits else {}), **more}
    return {"quantization": quantization, "resources": {"gpus": gpus}, **(spec or {})}


REFUSED: tuple[Case, ...] = (
    _case("no source", {"source": {"sftRunRef": None}}, "spec.source", "exactly one of"),
    _case("two sources", {"source": {"id": "a/b"}}, "spec.source", "exactly one of"),
    _case("another checkpoint", {"source": {"sftRunRef": {"checkpoint": "new"}}}, "spec.source.sftRunRef.checkpoint"),
    _case("step 0", {"source": {"sftRunRef": {"checkpoint": 0}}}, "spec.source.sftRunRef.checkpoint"),
    _case("a base of a run", {"source": {"base": {"id": "a/b"}}}, "spec.source.base", "remove it"),
    _case("a revision of a run", {"source": {"revision": "v1"}}, "spec.source", "belong to a source by id"),
    _case("a path upwards", {"source": {**_CLAIM, "persistentVolumeClaim": {"claimName": "a", "path": "../b"}}},
          "spec.source.persistentVolumeClaim.path", "must be relative"),
    _case("an adapter in another type", {"merge": False, "dtype": "float16"}, "spec.dtype", ""),
    _case("two nodes", {"resources": {"gpus": 0, "nodes": 2}}, "spec.resources.nodes", "on one node"),
    _case("a result that is lost", {"output": {"volume": None, "ephemeral": True}}, "spec.output", "lost with the pod"),
    _case("internal on Hugging Face", _push(hub="huggingface", visibility="internal"), "spec.push[0].visibility",
          "private and public only"),
    _case("a repository without owner", _push(repo="model"), "spec.push[0].repo", "must be owner/name"),
    _case("a repository twice", {"push": [{"hub": "modelscope", "repo": "me/model", "revision": revision}
          for revision in ("v1", "v2")]}, "spec.push", "names a repository twice"),
    _case("an unknown field", {"mergeDtype": "float16"}, "spec.mergeDtype"),
    _case("an unknown method", _quantized("hqq", 4), "spec.quantization.method"),
    _case("awq in 8 bits", _quantized("awq", 8, **_WITH_ROWS), "spec.quantization.bits", "set bits: 4"),
    _case("awq without bits", _quantized("awq", **_WITH_ROWS), "spec.quantization.bits", "set bits: 4"),
    _case("gptq without bits", _quantized("gptq", **_WITH_ROWS), "spec.quantization.bits", "2 or 3 or 4 or 8"),
    _case("bnb in 2 bits", _quantized("bnb", 2), "spec.quantization.bits", "set bits: 4 or 8"),
    _case("no method has 5 bits", _quantized("gptq", 5, **_WITH_ROWS), "spec.quantization.bits"),
    _case("fp8 in 8 bits", _quantized("fp8", 8), "spec.quantization.bits", "remove bits"),
    _case("awq without data", _quantized("awq", 4), "spec.quantization.datasets", "calibrate with data"),
    _case("gptq with an empty list", _quantized("gptq", 4, datasets=[]), "spec.quantization.datasets", "with data"),
    _case("gptq_v2 without data", _quantized("gptq_v2", 4), "spec.quantization.datasets", "calibrate with data"),
    _case("fp8 with data", _quantized("fp8", **_WITH_ROWS), "spec.quantization", "look at no data"),
    _case("bnb with samples", _quantized("bnb", 4, samples=64), "spec.quantization", "look at no data"),
    _case("bnb with a group size", _quantized("bnb", 4, groupSize=64), "spec.quantization.groupSize", "remove it"),
    _case("fp8 with a group size", _quantized("fp8", groupSize=128), "spec.quantization.groupSize", "remove it"),
    _case("awq over a column", _quantized("awq", 4, groupSize=-1, **_WITH_ROWS), "spec.quantization.groupSize",
          "set groupSize to 32"),
    _case("a group of 100", _quantized("gptq", 4, groupSize=100, **_WITH_ROWS), "spec.quantization.groupSize"),
    _case("nf4 in 8 bits", _quantized("bnb", 8, quantType="nf4"), "spec.quantization", "bnb with 4 bits"),
    _case("fp8 with a bnb type", _quantized("fp8", computeType="float16"), "spec.quantization", "bnb with 4 bits"),
    _case("no samples", _quantized("awq", 4, samples=0, **_WITH_ROWS), "spec.quantization.samples"),
    _case("blocks of 64 tokens", _quantized("awq", 4, maxLength=64, **_WITH_ROWS), "spec.quantization.maxLength"),
    _case("17 datasets", _quantized("awq", 4, datasets=[_ROWS] * 17), "spec.quantization.datasets"),
    _case("an upload to calibrate with", _quantized("awq", 4, datasets=[{"uploadRef": {"name": "a"}}]),
          "spec.quantization.datasets[0]"),
    _case("rows of two places", _quantized("awq", 4, datasets=[{**_ROWS, "configMap": {"name": "a", "key": "b"}}]),
          "spec.quantization.datasets[0]", "exactly one source"),
    _case("a revision of a file", _quantized("awq", 4, datasets=[
          {"configMap": {"name": "a", "key": "b.jsonl"}, "revision": "v1"}]),
          "spec.quantization.datasets[0].revision", "remove it"),
    _case("awq without a GPU", _quantized("awq", 4, gpus=0, **_WITH_ROWS), "spec.quantization.method", "needs a GPU"),
    _case("gptq without a GPU", _quantized("gptq", 4, gpus=0, **_WITH_ROWS), "spec.quantization.method", "a GPU"),
    _case("fp8 without resources", {"quantization": {"method": "fp8"}}, "spec.quantization.method", "needs a GPU"),
    _case("a quantized adapter", _quantized("fp8", spec={"merge": False}), "spec.quantization", "by itself"),
    _case("fp8 beside float32", _quantized("fp8", spec={"dtype": "float32"}), "spec.dtype", "have 16 bits"),
    _case("awq beside bfloat16", _quantized("awq", 4, spec={"dtype": "bfloat16"}, **_WITH_ROWS), "spec.dtype",
          "awq computes in float16"),
)  # fmt: skip

ACCEPTED: tuple[Case, ...] = (
    _case("minimal", {}),
    _case("a step", {"source": {"sftRunRef": {"checkpoint": 508}}}),
    _case("a step in quotes", {"source": {"sftRunRef": {"checkpoint": "508"}}}),
    _case("best", {"source": {"sftRunRef": {"checkpoint": "best"}}, "dtype": "bfloat16"}),
    _case("a claim", {"source": {**_CLAIM, "base": {"id": "Qwen/Qwen2.5-7B-Instruct"}}}),
    _case("a hub's model", {"source": {"sftRunRef": None, "id": "a/b", "adapters": [{"id": "c/d"}], "revision": "v1"}}),
    _case("nothing kept but on a hub", {"output": {"volume": None, "ephemeral": True}, **_push(visibility="internal")}),
    _case("a name on both hubs", {"push": [{"hub": hub, "repo": "me/model"} for hub in ("modelscope", "huggingface")]}),
    _case("without a look", {"verify": "Skip", "bakeTemplate": True, "merge": True}),
    _case("fp8", _quantized("fp8", spec={"dtype": "bfloat16"})),
    _case("bnb in 8 bits without a GPU", _quantized("bnb", 8, gpus=0)),
    _case("bnb by default on the CPU", {"quantization": {"method": "bnb", "bits": 4}}),
    _case("bnb as it likes it", _quantized("bnb", 4, computeType="bfloat16", quantType="fp4", doubleQuant=False)),
    _case("awq", _quantized("awq", 4, spec={"dtype": "float16", "merge": True}, groupSize=64, **_WITH_ROWS)),
    _case("gptq", _quantized("gptq", 3, groupSize=-1, samples=128, batchSize=4, maxLength=4096, datasets=[
          _ROWS, {"persistentVolumeClaim": {"claimName": "data", "path": "a.jsonl"}, "sample": 100},
          {"configMap": {"name": "chats", "key": "a.jsonl"}}])),
    _case("gptq_v2 beside bfloat16", _quantized("gptq_v2", 8, spec={"dtype": "bfloat16"}, **_WITH_ROWS)),
)  # fmt: skip
