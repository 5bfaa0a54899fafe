"""Rules of the children that a golden file shows but does not explain."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import find, given, settings
from hypothesis import strategies as st
from tests.unit.workload.specs import IMAGE, MINIMAL, PLATFORM, SAMPLES, SHARED_VOLUMES, TWO_NODES, run_of

from swiftop.api.pod_patch import CONTAINER_MERGE_KEYS, POD_MERGE_KEYS, pod_patch_problems
from swiftop.errors import Invalid
from swiftop.kinds.sftrun.build import Context, build, deadline, resolved_of
from swiftop.kinds.sftrun.plan import decoded, encoded
from swiftop.runner.protocol import Owner, Plan, TrainSettings, from_json
from swiftop.workload.patch import strategic_merge
from swiftop.workload.resolve import IMAGES, Defaults, defaults_of, merged

CONTEXT = Context(runner_config_map="swiftop-runner-0")

# Patches on the lists that are merged, most of them of a wrong form.
_MERGE_KEYS = {**POD_MERGE_KEYS, **CONTAINER_MERGE_KEYS}
_NAMES = st.sampled_from(sorted({*_MERGE_KEYS, *_MERGE_KEYS.values(), "valueFrom", "secretKeyRef", "envFrom"}))
_VALUES = st.recursive(
    st.sampled_from(["trainer", "tmp", "/tmp", 8080, None, True, "secretKeyRef"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=6,
)
_TRAINERS = st.dictionaries(_NAMES, _VALUES, max_size=3).map(lambda fields: [{**fields, "name": "trainer"}])
PATCHES = st.fixed_dictionaries({"spec": st.dictionaries(_NAMES, _VALUES, max_size=2)}) | st.fixed_dictionaries(
    {"spec": st.fixed_dictionaries({"containers": _TRAINERS})}
)


def job_of(spec: dict[str, Any]) -> dict[str, Any]:
    return build(run_of(spec), CONTEXT)[-1]


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


@pytest.mark.parametrize("spec", [MINIMAL, SHARED_VOLUMES, PLATFORM, TWO_NODES])
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
    job = job_of(MINIMAL)
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


def test_each_claim_is_one_volume_and_only_output_and_cache_are_writable() -> None:
    job = job_of(SHARED_VOLUMES)
    volumes = job["spec"]["template"]["spec"]["volumes"]
    claims = [v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v]
    assert sorted(claims) == ["adapters", "cache", "eval", "lab"]
    writable = {m["mountPath"] for m in trainer(job)["volumeMounts"] if not m.get("readOnly")}
    assert writable == {"/tmp", "/dev/shm", "/swiftop/output", "/swiftop/cache"}
    paths = [m["mountPath"] for m in trainer(job)["volumeMounts"]]
    assert len(paths) == len(set(paths))


def test_a_disrupted_pod_is_replaced_only_where_its_successor_can_go_on_alone() -> None:
    assert "podFailurePolicy" in job_of(MINIMAL)["spec"]
    assert "podFailurePolicy" not in job_of(SHARED_VOLUMES)["spec"]  # resume: Never
    assert "podFailurePolicy" not in job_of(TWO_NODES)["spec"]


def test_what_a_job_was_made_with_can_be_read_back() -> None:
    resolved = resolved_of(job_of(PLATFORM))
    assert resolved is not None
    assert resolved.image == "registry.example/trainer@sha256:0"
    assert resolved.swift_version == "4.6"
    assert "--system 'costs $(SWANLAB_API_KEY) $5'" in resolved.command
    assert resolved_of({"spec": {}}) is None


def test_only_a_changed_deadline_is_applied_to_a_job() -> None:
    job = job_of(PLATFORM)
    assert deadline(job, 3600) is None
    change = deadline(job, 60)
    assert change is not None
    assert change["spec"] == {"activeDeadlineSeconds": 60}
    removed = deadline(job, None)
    assert removed is not None
    assert deadline({**job, "spec": {**job["spec"], **removed["spec"]}}, None) is None
    assert deadline(job_of(MINIMAL), None) is None


class TestDefaults:
    """swiftop-defaults."""

    @staticmethod
    def config_map(namespace: str = "swiftop-system", **data: str) -> dict[str, Any]:
        return {"metadata": {"name": "swiftop-defaults", "namespace": namespace}, "data": data}

    def test_the_namespace_overrides_the_cluster_key_by_key_and_env_by_name(self) -> None:
        cluster = self.config_map(image="a", env="{A: 1, B: 2}", swiftVersion="3.12")
        defaults = defaults_of(cluster, None, self.config_map("team", env="{B: 3}", image="b"))
        assert (defaults.image, defaults.swift_version) == ("b", "3.12")
        assert {item.name: item.value for item in defaults.env} == {"A": "1", "B": "3"}

    def test_the_spec_always_wins(self) -> None:
        defaults = defaults_of(
            self.config_map(
                image="theirs",
                env="{NCCL_DEBUG: WARN, OTHER: x}",
                placement="{nodeSelector: {a: b}, schedulerName: s, priorityClassName: p}",
                credentials="{secretName: shared}",
                cache="{persistentVolumeClaim: {claimName: cache}}",
                storageClassName="slow",
            )
        )
        spec = merged(run_of(PLATFORM).spec, defaults)
        assert spec.runtime.image == "registry.example/trainer@sha256:0"
        assert {item.name: item.value for item in spec.runtime.env}["NCCL_DEBUG"] == "INFO"
        assert "OTHER" in {item.name for item in spec.runtime.env}
        assert spec.placement.node_selector == {"gpu": "h100"}
        assert spec.placement.scheduler_name == "other"
        assert spec.output.volume is not None
        assert spec.output.volume.storage_class_name == "fast"
        assert spec.credentials.secret_name == "shared"
        assert spec.cache is not None

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            ({"imagee": "x"}, "imagee: unknown field (did you mean image?)"),
            ({"image": "a b"}, "image: 'a b' does not match"),
            ({"image": "5"}, "image: must be a text"),
            ({"env": "[1]"}, "env: must be a map"),
            ({"env": "{A: null}"}, 'env.A: has no value (write "" for an empty text'),
            ({"env": "{A: [1]}"}, "env.A: must be a text"),
            ({"env": "{A: 2026-13-45}"}, "env: is no YAML"),
            ({"env": "{A.B: x}"}, "env[0].name: 'A.B' does not match"),
            ({"cache": "{"}, "cache: is no YAML"),
            ({"cache": "{persistentVolumeClaim: {}}"}, "cache.persistentVolumeClaim.claimName: required"),
            ({"env": "{HF_TOKEN: abc}"}, "env.HF_TOKEN: a secret"),
            ({"env": "{USE_HF: 1}"}, "env.USE_HF: this variable is set by swiftop"),
            ({"swiftVersion": "4.0"}, "swiftVersion: ms-swift 4.0 is not supported (use one of 3.7, 3.12, 4.6)"),
            ({"images": "{4.7: x}"}, "images.4.7: ms-swift 4.7 is not supported"),
            ({"placement": "{affinity: {nodeAffinty: {}}}"}, "placement.affinity.nodeAffinty: unknown field"),
            ({"placement": "{affinity: {nodeAffinity: gpu}}"}, "placement.affinity.nodeAffinity: must be an object"),
        ],
    )
    def test_a_mistake_names_its_place(self, data: dict[str, str], words: str) -> None:
        with pytest.raises(Invalid) as caught:
            defaults_of(self.config_map("swiftop-system", image="good"), self.config_map("team", **data))
        assert str(caught.value).startswith(f"ConfigMap team/swiftop-defaults: {words}")
        assert {problem.reason for problem in caught.value.problems} == {"InvalidDefaults"}

    def test_a_mistake_is_blamed_on_the_one_that_made_it(self) -> None:
        with pytest.raises(Invalid, match="ConfigMap swiftop-system/swiftop-defaults: swiftVersion"):
            defaults_of(self.config_map(swiftVersion="9.9"), self.config_map("team", image="good"))

    def test_texts_stay_as_they_are_written_and_empty_keys_say_nothing(self) -> None:
        env = "{A: true, B: 010, C: 1e3, D: '', E: null-like}"
        defaults = defaults_of(self.config_map(env=env, swiftVersion="", image="", storageClassName="", cache=""))
        assert {item.name: item.value for item in defaults.env} == {
            "A": "true",
            "B": "010",
            "C": "1e3",
            "D": "",
            "E": "null-like",
        }
        assert defaults == Defaults(env=defaults.env)
        assert defaults_of(self.config_map(swiftVersion="3.12")).swift_version == "3.12"
        assert defaults_of(self.config_map(swiftVersion='"3.12"')).swift_version == "3.12"

    @pytest.mark.parametrize(
        ("data", "version", "image"),
        [
            ({"image": "mine"}, None, "mine"),
            ({"image": "mine"}, "4.6", "mine"),
            ({"image": "mine"}, "3.12", IMAGES["3.12"]),
            ({"image": "mine", "swiftVersion": "3.12"}, None, "mine"),
            ({"image": "mine", "swiftVersion": "3.12"}, "4.6", None),
            ({"image": "mine", "images": "{3.12: theirs}"}, "3.12", "theirs"),
            ({"images": "{4.6: theirs}"}, None, "theirs"),
            ({}, "3.7", IMAGES["3.7"]),
            ({}, None, None),
        ],
    )
    def test_an_image_goes_with_its_version(self, data: dict[str, str], version: str, image: str | None) -> None:
        spec = {**MINIMAL, "runtime": {"swiftVersion": version} if version else {}}
        assert merged(run_of(spec).spec, defaults_of(self.config_map(**data))).runtime.image == image

    def test_the_sample_is_right_as_it_is_and_with_every_comment_taken_away(self) -> None:
        text = (SAMPLES / "swiftop-defaults.yaml").read_text("utf-8")
        assert defaults_of(yaml.safe_load(text)) == Defaults(image="registry.example.com/swiftop/trainer:4.6")
        whole = defaults_of(yaml.safe_load(re.sub(r"(?m)^  #(\w|  )", r"  \1", text)))
        assert {name for name in Defaults.model_fields if not getattr(whole, name)} == set()

    def test_a_run_without_any_image_is_told_what_to_do(self) -> None:
        with pytest.raises(Invalid) as caught:
            build(run_of({**MINIMAL, "runtime": {}}), CONTEXT)
        (problem,) = caught.value.problems
        assert (problem.path, problem.reason) == ("spec.runtime.image", "ImageMissing")
        assert "4.6" in problem.message
        assert "manifests/samples/swiftop-defaults.yaml" in problem.suggestion

    def test_a_run_on_the_cpu_asks_for_little_and_a_gpu_for_what_feeds_it(self) -> None:
        small, large = (merged(run_of(spec).spec, defaults_of()).resources for spec in (MINIMAL, TWO_NODES))
        assert (small.cpu, small.memory, small.shared_memory) == ("1", "4Gi", None)
        assert (large.cpu, large.memory, large.shared_memory) == ("64", "512Gi", "64Gi")


class TestStrategicMerge:
    """runtime.podPatch."""

    def test_named_items_are_merged_in_place_and_new_ones_follow(self) -> None:
        base = {"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]}
        patch = {"containers": [{"name": "c"}, {"name": "a", "env": [{"name": "X", "value": "2"}, {"name": "Y"}]}]}
        assert strategic_merge(base, patch) == {
            "containers": [
                {"name": "a", "env": [{"name": "X", "value": "2"}, {"name": "Y"}]},
                {"name": "b"},
                {"name": "c"},
            ]
        }

    def test_other_lists_are_replaced_and_inputs_stay(self) -> None:
        base, patch = {"args": [1, 2], "m": {"a": 1}}, {"args": [3], "m": {"b": 2}}
        assert strategic_merge(base, patch) == {"args": [3], "m": {"a": 1, "b": 2}}
        assert base == {"args": [1, 2], "m": {"a": 1}}

    @settings(max_examples=300, deadline=None)
    @given(PATCHES)
    def test_whatever_is_not_refused_can_be_merged(self, patch: dict[str, Any]) -> None:
        if pod_patch_problems(patch) == ():
            job_of({**MINIMAL, "runtime": {**IMAGE, "podPatch": patch}})

    def test_some_of_these_patches_are_not_refused(self) -> None:
        """Otherwise the property above would hold of nothing."""
        assert find(PATCHES, lambda patch: patch["spec"].keys() == {"containers"} and pod_patch_problems(patch) == ())


def test_the_plan_names_every_variable_that_comes_from_a_secret() -> None:
    added = {"name": "WANDB_API_KEY", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "k"}}}
    plain = {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    patch = {"spec": {"containers": [{"name": "trainer", "env": [added, plain]}]}}
    spec = {**PLATFORM, "runtime": {**PLATFORM["runtime"], "podPatch": patch}}
    env = trainer(job_of(spec))["env"]
    assert env[0]["name"] == "SWIFTOP_PLAN"
    assert added in env
    plan = decoded(env[0]["value"])
    assert plan is not None
    assert plan.secret_env == ("SWANLAB_API_KEY", "HF_TOKEN", "WANDB_API_KEY")


def test_a_job_tells_the_generation_of_the_spec_that_it_was_made_from() -> None:
    run = run_of(MINIMAL)
    assert "annotations" not in build(run, CONTEXT)[-1]["metadata"]
    later = run.model_copy(update={"metadata": run.metadata.model_copy(update={"generation": 7})})
    job = build(later, CONTEXT)[-1]
    assert job["metadata"]["annotations"] == {"swiftop.dev/generation": "7"}
    resolved = resolved_of(job)
    assert resolved is not None
    assert resolved.generation == 7
