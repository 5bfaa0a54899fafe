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
)
