"""swiftop-defaults: how they are read, and how they fill in what a spec does not say."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.errors import Invalid, Problem
from swiftop.swift.releases import RELEASES
from swiftop.workload import plain_yaml
from swiftop.workload.defaults import defaults_of
from swiftop.workload.resolve import merged
from tests.support.objects import ON_CPU, PLATFORM, SAMPLES, TWO_NODES, children_of, run_of


def config_map(namespace: str = "swiftop-system", **data: str) -> dict[str, Any]:
    return {"metadata": {"name": "swiftop-defaults", "namespace": namespace}, "data": data}


def test_the_namespace_overrides_the_cluster_key_by_key_and_env_by_name() -> None:
    cluster = config_map(image="a", env="{A: 1, B: 2}", swiftVersion="3.12")
    defaults = defaults_of(cluster, None, config_map("team", env="{B: 3}", image="b"))
    assert (defaults.image, defaults.swift_version) == ("b", "3.12")
    assert {item.name: item.value for item in defaults.env} == {"A": "1", "B": "3"}


def test_the_spec_always_wins() -> None:
    defaults = defaults_of(
        config_map(
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


def pod_of(spec: dict[str, Any], **data: str) -> dict[str, Any]:
    """Spec of the pod of a run under these defaults."""
    job = children_of(run_of(spec), defaults_of(config_map(**data)))[-1]
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


def test_what_a_platform_says_of_all_pods() -> None:
    pod = pod_of(
        {**TWO_NODES, "resources": {"gpus": 2, "memory": "8Gi"}},
        imagePullSecrets="[{name: registry}]",
        resources="{cpu: 4, memory: 128Gi, sharedMemory: 2Gi}",
        gpuResource="nvidia.com/mig-1g.10gb",
        runtimeClassName="nvidia",
        securityContext="{runAsUser: 2000, supplementalGroups: [7]}",
        caBundle="{name: trust, key: root.pem}",
        podPatch="{spec: {hostAliases: [{ip: 10.0.0.1, hostnames: [hub]}]}}",
    )
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {
        "cpu": "4",
        "memory": "8Gi",
        "ephemeral-storage": "300Gi",
        "nvidia.com/mig-1g.10gb": "2",
    }
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}} in pod["volumes"]
    assert pod["runtimeClassName"] == "nvidia"
    user = {key: pod["securityContext"][key] for key in ("runAsUser", "runAsGroup", "fsGroup", "supplementalGroups")}
    assert user == {"runAsUser": 2000, "runAsGroup": 2000, "fsGroup": 1000, "supplementalGroups": [7]}
    trusted = {env["name"]: env.get("value") for env in container["env"]}
    assert {trusted[name] for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")} == {"/swiftop/ca.crt"}
    (mount,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/swiftop/ca.crt"]
    assert mount == {"name": mount["name"], "mountPath": "/swiftop/ca.crt", "readOnly": True, "subPath": "root.pem"}
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == mount["name"]]
    assert volume["configMap"] == {"name": "trust", "items": [{"key": "root.pem", "path": "root.pem"}]}
    assert pod["hostAliases"] == [{"ip": "10.0.0.1", "hostnames": ["hub"]}]


def test_a_spec_wins_over_what_a_platform_says_of_all_pods() -> None:
    own = {
        "imagePullSecrets": [{"name": "mine"}],
        "securityContext": {"runAsUser": 5, "fsGroup": 6},
        "caBundle": {"name": "mine", "key": "ca.crt"},
        "podPatch": {"spec": {"runtimeClassName": "mine"}},
    }
    spec = {**ON_CPU, "runtime": {"image": "a", **own}, "resources": {"gpus": 1, "gpuResource": "nvidia.com/gpu"}}
    found = merged(
        run_of({**spec, "lifecycle": {"stallSeconds": 60, "maxRetries": 0}}).spec,
        defaults_of(
            config_map(
                imagePullSecrets="[{name: registry}]",
                gpuResource="nvidia.com/mig-1g.10gb",
                runtimeClassName="nvidia",
                securityContext="{runAsUser: 2000, fsGroup: 2000}",
                caBundle="{name: trust, key: root.pem}",
                podPatch="{spec: {priority: 3.0, runtimeClassName: other}}",  # a whole number, as kubectl sends it
                stallSeconds="900",
            )
        ),
    )
    wire = found.model_dump(by_alias=True, exclude_none=True)
    assert {key: wire["runtime"][key] for key in own} == {
        **own,
        "imagePullSecrets": ({"name": "mine"},),
        "securityContext": {"runAsUser": 5, "fsGroup": 6, "supplementalGroups": ()},
        "podPatch": {"spec": {"priority": 3, "runtimeClassName": "mine"}},
    }
    assert '"priority":3.0' not in found.model_dump_json()
    assert found.resources.gpu_resource == "nvidia.com/gpu"
    assert (found.lifecycle.stall_seconds, found.lifecycle.max_retries) == (60, 0)


def test_a_platforms_patience_is_that_of_what_does_not_say() -> None:
    found = merged(run_of({**ON_CPU, "lifecycle": {"maxRetries": 0}}).spec, defaults_of(config_map(stallSeconds="900")))
    assert (found.lifecycle.stall_seconds, found.lifecycle.max_retries) == (900, 0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"podPatch": "{spec: {hostNetwork: true}}"}, "podPatch.spec.hostNetwork: would give the pod more rights"),
        ({"podPatch": "{spec: {containers: [{name: swift, image: x}]}}"}, "podPatch.spec.containers[0].image: use"),
        ({"securityContext": "{runAsUser: 0}"}, "securityContext.runAsUser: must be at least 1"),
        ({"gpuResource": "gpu"}, "gpuResource: the value must be the name of a resource"),
        ({"stallSeconds": "5"}, "stallSeconds: must be at least 60"),
        ({"resources": "{gpus: 1}"}, "resources.gpus: unknown field"),
        ({"caBundle": "{name: a}"}, "caBundle.key: required"),
        ({"imagePullSecrets": "{name: a}"}, "imagePullSecrets: must be a list"),
        ({"imagee": "x"}, "imagee: unknown field (did you mean image?)"),
        ({"image": "a b"}, "image: the value must be without blanks"),
        ({"image": "5"}, "image: must be a text"),
        ({"env": "[1]"}, "env: must be a map"),
        ({"env": "{A: null}"}, 'env.A: has no value (write "" for an empty text'),
        ({"env": "{A: [1]}"}, "env.A: must be a text"),
        ({"env": "{A: 2026-13-45}"}, "env: is not valid YAML"),
        ({"env": "{A.B: x}"}, "env[0].name: the value must be made of letters"),
        ({"cache": "{"}, "cache: is not valid YAML"),
        ({"cache": "{persistentVolumeClaim: {}}"}, "cache.persistentVolumeClaim.claimName: required"),
        ({"env": "{HF_TOKEN: abc}"}, "env.HF_TOKEN: a secret"),
        ({"env": "{USE_HF: 1}"}, "env.USE_HF: this variable is set by swiftop"),
        (
            {"swiftVersion": "4.0"},
            "swiftVersion: this version of ms-swift is not supported (use one of 3.7, 3.12, 4.6)",
        ),
        ({"images": "{4.7: x}"}, "images.4.7: this version of ms-swift is not supported"),
        ({"image.x": "a"}, "image.x: unknown field"),
        ({".image": "a"}, "image: unknown field"),
        ({"a.b-c_d": "[x]"}, "a.b-c_d: unknown field"),
        ({"cache": "!!bool x"}, "cache: is not valid YAML: a value does not have the form of its type"),
        ({"cache": "!!timestamp x"}, "cache: is not valid YAML: a value does not have the form of its type"),
        ({"cache": "[a,\n  b"}, "cache: is not valid YAML: line 3: did not find expected ',' or ']'"),
        ({"placement": "{affinity: {nodeAffinty: {}}}"}, "placement.affinity.nodeAffinty: unknown field"),
        ({"placement": "{affinity: {nodeAffinity: gpu}}"}, "placement.affinity.nodeAffinity: must be an object"),
    ],
)
def test_a_mistake_names_its_place(data: dict[str, str], words: str) -> None:
    with pytest.raises(Invalid) as caught:
        defaults_of(config_map("swiftop-system", image="good"), config_map("team", **data))
    assert str(caught.value).startswith(f"ConfigMap team/swiftop-defaults: {words}")
    assert {problem.reason for problem in caught.value.problems} == {"InvalidDefaults"}


@pytest.mark.parametrize(
    "data",
    [
        {"cache": "internal-claim"},
        {"imagePullSecrets": "internal-registry"},
        {"imagePullSecrets": "[internal-registry]"},
        {"cache": "{persistentVolumeClaim: internal-claim}"},
        {"placement": "{schedulerName: {internal: x}}"},
        {"placement": "{nodeSelector: {a: 4711}}"},
    ],
)
def test_no_suggestion_shows_a_tenant_what_the_platform_wrote(data: dict[str, str]) -> None:
    with pytest.raises(Invalid) as caught:
        defaults_of(config_map("swiftop-system", **data))
    assert "internal" not in str(caught.value)
    assert "4711" not in str(caught.value)


def refusal(**data: str) -> str:
    """The one problem of such a ConfigMap."""
    with pytest.raises(Invalid) as caught:
        defaults_of(config_map(**data))
    (problem,) = caught.value.problems
    assert problem.reason == "InvalidDefaults"
    place, _, path = problem.path.partition(": ")
    assert place == "ConfigMap swiftop-system/swiftop-defaults"
    return f"{path} {problem.message}"


def test_an_alias_is_refused_where_it_stands() -> None:
    """A few hundred bytes of them stand for gigabytes."""
    told = "is not valid YAML: line 1: an alias is not allowed here"
    assert refusal(env="{A: &a x, B: *a}").startswith(f"env {told}")
    laughs = "[&a [x], " + ", ".join(f"&{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]" for n in range(20)) + "]"
    assert refusal(placement=laughs).startswith(f"placement {told}")
    anchored = defaults_of(config_map(env="{A: &a x}"))  # what nobody refers to is harmless
    assert {item.name: item.value for item in anchored.env} == {"A": "x"}


def test_a_config_map_has_a_limit() -> None:
    most = 8 * 1024
    assert refusal(image="x", storageClassName="y" * most) == f"data is longer than {most} characters"
    text = "{A: x}"
    whole = defaults_of(config_map(env=text + " " * (most - len("env" + text))))
    assert {item.name: item.value for item in whole.env} == {"A": "x"}


@pytest.mark.parametrize("text", ["[" * 8_000, "[" * 51, "{a: " * 2_000, "- " * 4_000])
def test_yaml_that_is_too_deep_is_told_and_ends_nothing(text: str) -> None:
    told = "more than 50 levels deep|exceeded maximum nesting depth"  # the second is libyaml's, which reads ahead
    assert re.search(f"^placement is not valid YAML: .*({told})", refusal(placement=text), re.DOTALL)


def test_a_mistake_is_found_once_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run of a namespace reads its ConfigMap, and all other work of the operator waits for the parser."""
    texts: list[str] = []
    load = plain_yaml.load

    def noted(text: str) -> Any:
        texts.append(text)
        return load(text)

    monkeypatch.setattr(plain_yaml, "load", noted)
    wrong = config_map("remembered", image="[" + "a," * 2_000 + "]")
    told = []
    for _ in range(3):
        with pytest.raises(Invalid) as caught:
            defaults_of(wrong)
        told.append(str(caught.value))
    assert len(texts) == len(set(told)) == 1
    assert defaults_of(config_map("remembered", image="a")).image == "a"  # mended


def test_a_mistake_is_blamed_on_the_one_that_made_it() -> None:
    with pytest.raises(Invalid, match="ConfigMap swiftop-system/swiftop-defaults: swiftVersion"):
        defaults_of(config_map(swiftVersion="9.9"), config_map("team", image="good"))


def test_texts_stay_as_they_are_written_and_empty_keys_say_nothing() -> None:
    env = "{A: true, B: 010, C: 1e3, D: '', E: null-like}"
    defaults = defaults_of(config_map(env=env, swiftVersion="", image="", storageClassName="", cache=""))
    assert {item.name: item.value for item in defaults.env} == {
        "A": "true",
        "B": "010",
        "C": "1e3",
        "D": "",
        "E": "null-like",
    }
    assert defaults == Defaults(env=defaults.env)
    assert defaults_of(config_map(swiftVersion="3.12")).swift_version == "3.12"
    assert defaults_of(config_map(swiftVersion='"3.12"')).swift_version == "3.12"


@pytest.mark.parametrize(
    ("data", "version", "image"),
    [
        ({"image": "mine"}, None, "mine"),
        ({"image": "mine"}, "4.6", "mine"),
        ({"image": "mine"}, "3.12", RELEASES["3.12"].image),
        ({"image": "mine", "swiftVersion": "3.12"}, None, "mine"),
        ({"image": "mine", "swiftVersion": "3.12"}, "4.6", None),
        ({"image": "mine", "images": "{3.12: theirs}"}, "3.12", "theirs"),
        ({"images": "{4.6: theirs}"}, None, "theirs"),
        ({}, "3.7", RELEASES["3.7"].image),
        ({}, None, None),
    ],
)
def test_an_image_goes_with_its_version(data: dict[str, str], version: str, image: str | None) -> None:
    spec = {**ON_CPU, "runtime": {"swiftVersion": version} if version else {}}
    assert merged(run_of(spec).spec, defaults_of(config_map(**data))).runtime.image == image


def test_the_sample_is_right_as_it_is_and_with_every_comment_taken_away() -> None:
    text = (SAMPLES / "swiftop-defaults.yaml").read_text("utf-8")
    assert defaults_of(yaml.safe_load(text)) == Defaults(image="registry.example.com/swiftop/trainer:4.6")
    whole = defaults_of(yaml.safe_load(re.sub(r"(?m)^  #(\w|  )", r"  \1", text)))
    assert {name for name in Defaults.model_fields if not getattr(whole, name)} == set()


def test_a_run_without_any_image_is_told_what_to_do() -> None:
    with pytest.raises(Invalid) as caught:
        children_of(run_of({**ON_CPU, "runtime": {}}))
    (problem,) = caught.value.problems
    assert (problem.path, problem.reason) == ("spec.runtime.image", "ImageMissing")
    assert "4.6" in problem.message
    assert "manifests/samples/swiftop-defaults.yaml" in problem.suggestion


def test_a_run_on_the_cpu_asks_for_little_and_a_gpu_for_what_feeds_it() -> None:
    small, large = (merged(run_of(spec).spec, defaults_of()).resources for spec in (ON_CPU, TWO_NODES))
    assert (small.cpu, small.memory, small.shared_memory) == ("1", "4Gi", None)
    assert (large.cpu, large.memory, large.shared_memory) == ("64", "512Gi", "64Gi")


@pytest.mark.parametrize(
    "data",
    [
        {"image": "Secret Words here"},
        {"swiftVersion": "SecretWords"},
        {"cache": "{persistentVolumeClaim: {claimName: 'Secret Words'}}"},
        {"placement": "{tolerations: [{key: a, operator: SecretWords}]}"},
        {"env": "{A: [x,\nSecret Words: {"},
        {"env": "A: !!float SecretWords"},
        {"env": "A: !SecretWords x"},
        {"env": "{<<: SecretWords}"},
        {"env": "A: b\n\tSecretWords: x"},
        {"env": "{'Secret Words': x}"},
        {"storageClassName": '"Secret\\"Words"'},
    ],
)
def test_what_the_platform_writes_is_not_shown_to_tenants(data: dict[str, str]) -> None:
    with pytest.raises(Invalid) as caught:
        defaults_of(config_map("swiftop-system", **data), config_map("team"))
    assert "Words" not in str(caught.value)
    assert str(caught.value).startswith(f"ConfigMap swiftop-system/swiftop-defaults: {next(iter(data))}")


@given(
    st.dictionaries(
        st.sampled_from(["image", "images", "env", "cache", "placement", "credentials", "swiftVersion", "x.y", "a[0]"])
        | st.text("abz.-_", min_size=1, max_size=8),
        st.text(max_size=60)
        | st.sampled_from(["{a: b}", "[1]", "{A: 1e400}", "? [a]\n: b", "!!set {a}", "- - -", "\0"]),
        max_size=4,
    )
)
def test_any_content_is_read_or_blamed_on_its_place(data: dict[str, str]) -> None:
    problems: tuple[Problem, ...] = ()
    try:
        defaults_of(config_map("team", **data))
    except Invalid as error:
        problems = error.problems
    assert {problem.reason for problem in problems} <= {"InvalidDefaults"}
    assert all(problem.path.startswith("ConfigMap team/swiftop-defaults: ") for problem in problems)
