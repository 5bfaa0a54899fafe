"""What the manifests say of the operator and the pods is what the code says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from swiftop import names
from swiftop.kinds.registry import KINDS, MODELS, WATCHED
from swiftop.runner.protocol import SERVE_PORT
from swiftop.shell.config import Config
from swiftop.shell.metrics import Metrics
from tests.support.objects import TWO_NODES, children_of, run_of
from tests.unit.kinds.modeldeployment.deployments import children_of as served_children
from tests.unit.kinds.modeldeployment.deployments import minimal

MANIFESTS = Path(__file__).parents[3] / "manifests"


Rights = dict[str, set[str]]  # verbs by resource


def rights(path: str, name: str) -> Rights:
    """What a ClusterRole grants, by ``group/resource``."""
    documents = yaml.safe_load_all((MANIFESTS / path).read_text())
    (role,) = (o for o in documents if o["kind"] == "ClusterRole" and o["metadata"]["name"] == name)
    return {
        f"{group}/{resource}": set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def of_kinds(verbs: Rights) -> Rights:
    """These rights on every kind of the registry; keys are the subresource, empty for the object itself."""
    resources = [kind.resource for kind in KINDS.values()]
    return {f"{own.group}/{own.plural}{sub}": granted for own in resources for sub, granted in verbs.items()}


def manifest(path: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((MANIFESTS / path).read_text())
    return found


def metrics() -> dict[str, set[str]]:
    """Every metric that has been seen once, with its labels."""
    found = Metrics()
    run = {"metadata": {"namespace": "ns"}, "status": {"state": "Failed", "startTime": "2026-01-01T00:00:00Z"}}
    found.watch_objects(lambda: [("SFTRun", run)])
    ended = {**run, "status": {**run["status"], "completionTime": "2026-01-01T01:00:00Z"}}
    found.object_changed("SFTRun", run, ended)
    found.reconciled("SFTRun", 1.0, ValueError())
    found.wrote("POST", "Job")
    found.pulled("page", True)
    samples: dict[str, set[str]] = {}
    for line in found.exposition().decode().splitlines():
        if match := re.match(r"(\w+)(?:\{(.*)\})? ", line):
            samples[match[1]] = set(re.findall(r"(\w+)=", match[2] or ""))
    return samples


def test_alerts_ask_for_what_there_is() -> None:
    known = metrics()
    rules = [rule for group in manifest("monitoring/alerts.yaml")["spec"]["groups"] for rule in group["rules"]]
    assert rules
    for rule in rules:
        asked = set(re.findall(r"swiftop_\w+", rule["expr"]))
        assert asked <= known.keys(), rule["alert"]
        grouped = {label for by in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in by.split(", ")}
        matched = set(re.findall(r"[{,] ?(\w+)[!=~]+\"", rule["expr"]))
        shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert shown <= grouped, rule["alert"]
        for metric in asked:
            assert grouped | matched <= known[metric], rule["alert"]


def test_the_namespace_of_an_object_survives_the_scrape() -> None:
    (endpoint,) = manifest("monitoring/podmonitor.yaml")["spec"]["podMetricsEndpoints"]
    assert "namespace" in metrics()["swiftop_objects"]
    assert endpoint["honorLabels"] is True


def test_the_network_policy_lets_the_operator_reach_the_runners() -> None:
    policy = manifest("samples/networkpolicy.yaml")["spec"]
    job = children_of(run_of(TWO_NODES))[-1]
    pod, operator = job["spec"]["template"], manifest("base/deployment.yaml")["spec"]["template"]
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    from_operator, from_nodes = policy["ingress"]
    (peer,) = from_operator["from"]
    assert peer["podSelector"]["matchLabels"].items() <= operator["metadata"]["labels"].items()
    namespace = manifest("base/kustomization.yaml")["namespace"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": namespace}
    assert namespace == names.OPERATOR_NAMESPACE
    ports = {port["containerPort"] for c in pod["spec"]["containers"] for port in c.get("ports", [])}
    assert [port["port"] for port in from_operator["ports"]] == [names.PROGRESS_PORT]
    assert names.PROGRESS_PORT in ports
    (other_node,) = from_nodes["from"]
    assert other_node["podSelector"] == policy["podSelector"]
    assert "ports" not in from_nodes  # torchrun and NCCL choose theirs


def test_clients_are_let_in_to_what_serves() -> None:
    policy = manifest("samples/networkpolicy-serving.yaml")["spec"]
    pod = served_children(minimal())[-1]["spec"]["template"]
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (ingress,) = policy["ingress"]
    assert [port["port"] for port in ingress["ports"]] == [SERVE_PORT]


def test_pods_and_probes_find_the_operator_s_page() -> None:
    deployment, service = manifest("base/deployment.yaml")["spec"], manifest("base/service.yaml")["spec"]
    (container,) = deployment["template"]["spec"]["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == Config().port
    for probe, page in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"] == {"path": page, "port": port["name"]}
    labels = deployment["template"]["metadata"]["labels"]
    monitor = manifest("monitoring/podmonitor.yaml")["spec"]
    for selector in (service["selector"], monitor["selector"]["matchLabels"], deployment["selector"]["matchLabels"]):
        assert selector.items() <= labels.items()
    assert [p["targetPort"] for p in service["ports"]] == [port["name"]]


def test_the_operator_may_do_with_each_kind_what_the_engine_does() -> None:
    """No more and no less, and with no kind that is not in the registry."""
    granted = rights("base/rbac.yaml", "swiftop")
    ours = {resource: verbs for resource, verbs in granted.items() if resource.startswith(f"{names.GROUP}/")}
    reading = {"get", "list", "watch"}
    made = f"{names.MODELEXPORT.group}/{names.MODELEXPORT.plural}"  # for deployments
    assert ours.pop(made) == {*reading, "create", "delete"}
    assert {**ours, made: reading} == of_kinds({"": reading, "/status": {"patch"}, "/finalizers": {"update"}})


@pytest.mark.parametrize("resource", WATCHED, ids=lambda resource: resource.plural)
def test_the_operator_may_watch_what_it_watches(resource: names.Resource) -> None:
    granted = rights("base/rbac.yaml", "swiftop")
    assert granted.get(f"{resource.group}/{resource.plural}", set()) >= {"list", "watch"}


def test_no_volume_and_nothing_that_serves_is_deleted() -> None:
    granted = rights("base/rbac.yaml", "swiftop")
    deleted = [resource for resource, verbs in granted.items() if {"delete", "deletecollection"} & verbs]
    assert deleted == [
        "swiftop.dev/modelexports", "batch/jobs", "policy/poddisruptionbudgets", "autoscaling/horizontalpodautoscalers",
        "/configmaps",
    ]  # fmt: skip


def test_people_may_read_and_write_each_kind_but_no_status() -> None:
    reading = {"get", "list", "watch"}
    scaled = [model.DEFINITION.resource for model in MODELS if model.DEFINITION.scale]
    scales = [f"{resource.group}/{resource.plural}/scale" for resource in scaled]
    shown = {**of_kinds({"": reading, "/status": reading}), **dict.fromkeys(scales, reading)}
    assert rights("base/user-roles.yaml", "swiftop-viewer") == shown
    writing = {"create", "update", "patch", "delete", "deletecollection"}
    written = {**of_kinds({"": writing}), **{scale: {"update", "patch"} for scale in scales}}
    assert rights("base/user-roles.yaml", "swiftop-editor") == written


def documents(folder: str) -> list[dict[str, Any]]:
    """All objects of a folder of manifests, as its kustomization lists them."""
    listed = [name for name in manifest(f"{folder}/kustomization.yaml")["resources"] if name.endswith(".yaml")]
    return [obj for name in listed for obj in yaml.safe_load_all((MANIFESTS / folder / name).read_text())]


def test_bindings_follow_an_overlay_to_another_namespace() -> None:
    """Kustomize changes a subject's namespace where an account of that name and namespace is among the resources."""
    accounts = {
        (obj["metadata"]["name"], obj["metadata"].get("namespace"))
        for obj in documents("base")
        if obj["kind"] == "ServiceAccount"
    }
    subjects = [subject for obj in documents("base") for subject in obj.get("subjects", ())]
    assert len(subjects) == 2
    assert {(subject["name"], subject["namespace"]) for subject in subjects} == accounts


def test_nobody_can_own_the_name_of_the_image_that_an_overlay_has_to_give() -> None:
    (container,) = manifest("base/deployment.yaml")["spec"]["template"]["spec"]["containers"]
    example = manifest("overlays/example/kustomization.yaml")
    (image,) = example["images"]
    assert container["image"] == image["name"]
    assert image["name"].startswith("registry.invalid/")  # RFC 2606
    assert image["digest"].startswith("sha256:")
    assert "images" not in manifest("base/kustomization.yaml"), "a tracked file that everybody would have to edit"
    trainers = [
        example["configMapGenerator"][0]["literals"][0],
        manifest("samples/swiftop-defaults.yaml")["data"]["image"],
    ]
    assert [name for name in trainers if "registry.example.com/" not in name] == []


def test_objects_carry_the_standard_labels_with_the_version_of_the_package() -> None:
    pairs = manifest("base/kustomization.yaml")["labels"][0]["pairs"]
    version = tomllib.loads((MANIFESTS.parent / "pyproject.toml").read_text())["project"]["version"]
    assert {name.removeprefix("app.kubernetes.io/"): value for name, value in pairs.items()} == {
        "name": "swiftop",
        "instance": "swiftop",
        "part-of": "swiftop",
        "version": version,
    }


def test_the_operator_has_a_budget_and_a_priority_of_its_own() -> None:
    (budget,) = (obj for obj in documents("base") if obj["kind"] == "PodDisruptionBudget")
    deployment = manifest("base/deployment.yaml")["spec"]
    assert budget["spec"]["selector"] == deployment["selector"]
    assert budget["spec"]["maxUnavailable"] == 1 < deployment["replicas"]
    (priority,) = (obj for obj in documents("base") if obj["kind"] == "PriorityClass")
    assert deployment["template"]["spec"]["priorityClassName"] == priority["metadata"]["name"]
    assert 0 < priority["value"] < 1_000_000_000  # above is the cluster's own
    assert not priority.get("globalDefault")


def test_prometheus_finds_the_pages_of_the_pods_that_work() -> None:
    monitor = manifest("monitoring/podmonitor-work.yaml")["spec"]
    assert monitor["namespaceSelector"] == {"any": True}
    (endpoint,) = monitor["podMetricsEndpoints"]
    read = {rule["sourceLabels"][0] for rule in endpoint["relabelings"]}
    for template in (
        children_of(run_of(TWO_NODES))[-1]["spec"]["template"],
        served_children(minimal())[-1]["spec"]["template"],
    ):
        labels = template["metadata"]["labels"]
        assert monitor["selector"]["matchLabels"].items() <= labels.items()
        ports = [port["name"] for c in template["spec"]["containers"] for port in c["ports"]]
        assert endpoint["port"] in ports
        known = {"__meta_kubernetes_pod_label_" + re.sub(r"[^A-Za-z0-9]", "_", label) for label in labels}
        assert read - known <= {"__meta_kubernetes_pod_label_swiftop_dev_attempt"}  # what serves has none
