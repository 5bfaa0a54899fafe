"""The ModelExport that a deployment makes is one that its own kind takes, and builds a pod of."""

from __future__ import annotations

import yaml

from swiftop.api.v1alpha1.modelexport import ModelExport
from swiftop.api.validate import problems
from swiftop.kinds.modeldeployment.merge import child, name_of
from swiftop.kinds.modeldeployment.source import Found
from swiftop.kinds.modelexport.kind import KIND
from swiftop.model.kind import Object
from swiftop.model.verdict import Create
from swiftop.runner.protocol import Plan
from tests.unit.kinds.modeldeployment.deployments import RUN, TRAINED, deployment_of, minimal, world

ADAPTER = Found(
    ref="SFTRun/mh-sft-7b-lora/last",
    uid=TRAINED["metadata"]["uid"],
    claim_name="mh-sft-7b-lora-output",
    path="mh-sft-7b-lora-9f8e7d6c/checkpoint-508",
    unmerged=True,
)
WHOLE = {
    "model": {"sftRunRef": {"name": RUN.name}},
    "engine": "lmdeploy",
    "resources": {"gpus": 1},
    "merge": {"output": {"volume": {"size": "20Gi", "retain": "Delete"}}, "resources": {"gpus": 0, "memory": "40Gi"}},
    "runtime": {
        "image": "x/y:1",
        "env": [{"name": "HF_ENDPOINT", "value": "https://mirror"}],
        "podPatch": {"metadata": {"annotations": {"a": "b"}}},
    },
    "placement": {"nodeSelector": {"zone": "a"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]},
    "credentials": {"hfToken": {"name": "hf", "key": "token"}},
    "cache": {"persistentVolumeClaim": {"claimName": "cache"}},
}


def children(made: Object) -> list[Object]:
    export = ModelExport.from_object({**made, "metadata": {**made["metadata"], "uid": "5" * 8, "generation": 1}})
    assert list(problems(export)) == []
    return KIND.build(KIND.prepare(export, world(references={RUN: TRAINED})), Create(1))


def test_beside_the_checkpoint_the_claim_is_read_and_written() -> None:
    made = child(minimal(model={"sftRunRef": {"name": RUN.name}}), ADAPTER)
    (job,) = children(made)
    pod = job["spec"]["template"]["spec"]
    claims = [v["persistentVolumeClaim"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
    assert {claim["claimName"] for claim in claims} == {"mh-sft-7b-lora-output"}
    plan = Plan.from_json(pod["containers"][0]["env"][0]["value"])
    assert plan.settings["source"] == "/swiftop/source/mh-sft-7b-lora-output/mh-sft-7b-lora-9f8e7d6c/checkpoint-508"
    assert plan.output_dir.endswith(f"/{made['metadata']['name']}-55555555")
    assert pod["containers"][0]["resources"]["requests"]["memory"] == "30Gi"  # of a 7B model


def test_what_the_pods_that_serve_are_given_it_gets_as_well() -> None:
    made = child(deployment_of(WHOLE), ADAPTER)
    claim, job = children(made)
    assert claim["metadata"]["ownerReferences"]
    pod = job["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"zone": "a"}
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    (container,) = pod["containers"]
    assert container["image"] == "x/y:1"
    assert container["resources"]["requests"]["memory"] == "40Gi"
    env = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert env["HF_ENDPOINT"] == "https://mirror"
    assert "annotations" not in job["spec"]["template"]["metadata"]
    assert yaml.safe_load(yaml.safe_dump(made)) == made


def test_its_name_is_that_of_the_checkpoint() -> None:
    deployment = minimal()
    known = name_of(deployment, ADAPTER.uid, ADAPTER.place)
    assert known == name_of(minimal(system="Be brief."), ADAPTER.uid, ADAPTER.place)
    assert known != name_of(deployment, "another", ADAPTER.place)
    assert known != name_of(deployment, ADAPTER.uid, "mh-sft-7b-lora-output/mh-sft-7b-lora-9f8e7d6c/checkpoint-600")
