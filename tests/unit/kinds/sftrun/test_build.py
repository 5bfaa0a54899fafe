"""Rules of the children that a golden file shows but does not explain."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest

from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.kinds.sftrun.kind import KIND
from swiftop.model.kind import Pinned, World
from swiftop.model.verdict import Create
from swiftop.runner.protocol import Owner, Plan, TrainSettings
from swiftop.runner.typed_json import from_json
from swiftop.workload.job import plan_of
from swiftop.workload.pods import decoded, encoded
from tests.support.objects import ON_CPU, PLATFORM, SHARED_VOLUMES, TWO_NODES, children_of, run_of


def job_of(spec: dict[str, Any], create: Create | None = None) -> dict[str, Any]:
    return children_of(run_of(spec), create=create)[-1]


def trainer(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]["containers"][0]
    return found


def env_of(job: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in trainer(job)["env"]}


def expanded(value: str, variables: dict[str, str]) -> str:
    """What the kubelet makes of a value (k8s.io/kubernetes/third_party/forked/golang/expansion)."""

    def put_in(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else variables.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", put_in, value)


def test_the_kubelet_puts_no_secret_into_the_plan() -> None:
    value = env_of(job_of(PLATFORM))["SWIFTOP_PLAN"]
    plan = json.loads(expanded(value, {"SWANLAB_API_KEY": "secret", "NODE_RANK": "7"}))
    assert "costs $(SWANLAB_API_KEY) $5" in plan["command"]


@pytest.mark.parametrize("spec", [ON_CPU, SHARED_VOLUMES, PLATFORM, TWO_NODES])
def test_the_runner_understands_its_plan(spec: dict[str, Any]) -> None:
    job = job_of(spec)
    plan = Plan.from_json(expanded(env_of(job)["SWIFTOP_PLAN"], {}))
    assert plan.command[0] == "python"
    assert plan.attempt == 1
    assert from_json(TrainSettings, plan.settings).resume is (
        spec.get("checkpoints", {}).get("resume", "Auto") == "Auto"
    )
    assert plan.required_env == (("SWANLAB_API_KEY", "HF_TOKEN") if spec is PLATFORM else ())


@pytest.mark.parametrize("text", ["$", "$$", "$(A)", "$$(A)", "a$b$$c", "漢字"])
def test_a_plan_survives_its_escaping(text: str) -> None:
    plan = Plan("train", Owner("SFTRun", "ns", "n", "u"), 1, ("a", text), "/o")
    assert decoded(encoded(plan)) == plan
    assert Plan.from_json(expanded(encoded(plan), {"A": "secret"})) == plan


def test_secrets_stand_in_no_object_but_as_references() -> None:
    env = env_of(job_of(PLATFORM))
    assert env["SWANLAB_API_KEY"] == {"secretKeyRef": {"name": "swan", "key": "key"}}
    assert env["HF_TOKEN"] == {"secretKeyRef": {"name": "hf", "key": "token"}}


def test_the_pod_fits_pod_security_restricted() -> None:
    job = job_of(ON_CPU)
    pod, container = job["spec"]["template"]["spec"], trainer(job)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {kind for volume in pod["volumes"] for kind in volume} <= {
        "name",
        "configMap",
        "emptyDir",
        "persistentVolumeClaim",
    }
    assert pod["automountServiceAccountToken"] is False


@pytest.mark.parametrize(
    ("spec", "asked", "most"),
    [
        (ON_CPU, "1Gi", "100Gi"),  # and its results, which are ephemeral
        (TWO_NODES, "20Gi", "900Gi"),  # the model goes to /tmp
        (SHARED_VOLUMES, "1Gi", "300Gi"),  # it goes to the cache
        ({**TWO_NODES, "resources": {"gpus": 8, "ephemeralStorage": "200Gi"}}, "200Gi", "200Gi"),
    ],
)
def test_a_pod_asks_for_local_disk_and_has_an_end_of_it(spec: dict[str, Any], asked: str, most: str) -> None:
    job = job_of(spec)
    resources = trainer(job)["resources"]
    assert (resources["requests"]["ephemeral-storage"], resources["limits"]["ephemeral-storage"]) == (asked, most)
    volumes = job["spec"]["template"]["spec"]["volumes"]
    sizes = {v["name"]: v["emptyDir"]["sizeLimit"] for v in volumes if "emptyDir" in v and v["name"] != "shm"}
    assert sizes == dict.fromkeys(["tmp", "output"] if spec is ON_CPU else ["tmp"], most)


def test_each_claim_is_one_volume_and_only_output_and_cache_are_writable() -> None:
    job = job_of(SHARED_VOLUMES)
    volumes = job["spec"]["template"]["spec"]["volumes"]
    claims = [v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v]
    assert sorted(claims) == ["adapters", "cache", "eval", "lab"]
    writable = {m["mountPath"] for m in trainer(job)["volumeMounts"] if not m.get("readOnly")}
    assert writable == {"/tmp", "/dev/shm", "/swiftop/output", "/swiftop/cache"}
    paths = [m["mountPath"] for m in trainer(job)["volumeMounts"]]
    assert len(paths) == len(set(paths))


def test_a_claim_of_tokenized_data_is_mounted_where_its_path_says() -> None:
    tokenized = {"name": "cached_dataset", "values": ["/data/tokenized/train", "/data/tokenized/more", "/elsewhere"]}
    job = job_of({**ON_CPU, "datasets": [], "extraArgs": [tokenized]})
    claims = [v["persistentVolumeClaim"] for v in job["spec"]["template"]["spec"]["volumes"] if v["name"] == "claim-0"]
    assert claims == [{"claimName": "tokenized"}]
    assert {"name": "claim-0", "mountPath": "/data/tokenized", "readOnly": True} in trainer(job)["volumeMounts"]


@pytest.mark.parametrize(
    "claim", [{"resourceClaimTemplateName": "one-gpu"}, {"resourceClaimName": "gpus-of-the-team"}], ids=str
)
def test_gpus_of_a_claim_take_the_place_of_counted_ones(claim: dict[str, str]) -> None:
    job = job_of({**ON_CPU, "resources": {"gpus": 2, "gpuClaim": claim}})
    assert job["spec"]["template"]["spec"]["resourceClaims"] == [{"name": "gpus", **claim}]
    resources = trainer(job)["resources"]
    assert resources["claims"] == [{"name": "gpus"}]
    assert set(resources["limits"]) == set(resources["requests"]) == {"cpu", "memory", "ephemeral-storage"}
    plan = plan_of(job)
    assert plan is not None
    assert (plan.gpus, plan.world_size) == (2, 2)
    assert "--use_cpu" not in plan.command


@pytest.mark.parametrize(
    ("env", "domain"),
    [
        ({"MODELSCOPE_ENDPOINT": "https://hub.example.com/"}, "hub.example.com"),
        ({"MODELSCOPE_ENDPOINT": "https://hub.example.com:8443"}, "hub.example.com:8443"),
        ({"MODELSCOPE_ENDPOINT": "https://hub.example.com", "MODELSCOPE_DOMAIN": "other"}, "other"),
        ({"MODELSCOPE_ENDPOINT": "http://hub.example.com"}, None),
        ({"MODELSCOPE_ENDPOINT": "https://hub.example.com/mirror"}, None),
        ({}, None),
    ],
)
def test_older_clients_of_modelscope_are_told_of_a_mirror_too(env: dict[str, str], domain: str | None) -> None:
    """They read no MODELSCOPE_ENDPOINT, and would go past the mirror."""
    runtime = {"image": "a", "env": [{"name": name, "value": value} for name, value in env.items()]}
    found = {item["name"]: item.get("value") for item in trainer(job_of({**ON_CPU, "runtime": runtime}))["env"]}
    assert found.get("MODELSCOPE_DOMAIN") == domain


def test_the_allocators_setting_can_be_switched_off() -> None:
    runtime = {"image": "a", "env": [{"name": "PYTORCH_CUDA_ALLOC_CONF", "value": ""}]}
    job = job_of({**ON_CPU, "resources": {"gpus": 1}, "runtime": runtime})
    (item,) = [item for item in trainer(job)["env"] if item["name"] == "PYTORCH_CUDA_ALLOC_CONF"]
    assert item["value"] == ""


DISRUPTED = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
ENDED = {
    "action": "FailJob",
    "onExitCodes": {
        "containerName": "swift",
        "operator": "In",
        "values": [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 20, 75],
    },
}


@pytest.mark.parametrize(
    ("spec", "rules"),
    [
        (ON_CPU, [DISRUPTED, ENDED]),
        (SHARED_VOLUMES, [ENDED]),  # resume: Never
        (TWO_NODES, [ENDED]),
    ],
    ids=["one pod", "resume Never", "two nodes"],
)
def test_a_disrupted_pod_is_replaced_only_where_its_successor_can_go_on_alone(
    spec: dict[str, Any], rules: list[dict[str, Any]]
) -> None:
    assert job_of(spec)["spec"]["podFailurePolicy"] == {"rules": rules}


def test_what_a_job_was_made_with_can_be_read_back() -> None:
    prepared = KIND.prepare(run_of(PLATFORM), World(defaults=Defaults(), runner_config_map="swiftop-runner-0"))
    pinned = KIND.pinned(KIND.build(prepared, Create(1))[-1])
    command = shlex.join(prepared.rendered.command)
    assert pinned == Pinned("registry.example/trainer@sha256:0", "4.6", command, prepared.digest)
    assert "--system 'costs $(SWANLAB_API_KEY) $5'" in command
    assert KIND.pinned({"metadata": {}, "spec": {}}) is None


def test_the_plan_names_every_variable_that_comes_from_a_secret() -> None:
    added = {"name": "WANDB_API_KEY", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "k"}}}
    plain = {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    patch = {"spec": {"containers": [{"name": "swift", "env": [added, plain]}]}}
    spec = {**PLATFORM, "runtime": {**PLATFORM["runtime"], "podPatch": patch}}
    env = trainer(job_of(spec))["env"]
    assert env[0]["name"] == "SWIFTOP_PLAN"
    assert added in env
    plan = decoded(env[0]["value"])
    assert plan is not None
    assert plan.secret_env == ("SWANLAB_API_KEY", "HF_TOKEN", "WANDB_API_KEY")
