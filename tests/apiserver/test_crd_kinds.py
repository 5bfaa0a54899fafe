"""The CRDs of exports, uploads and deployments on a real API server: refused and accepted is what Python does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.apiserver import deployment_cases, export_cases, upload_cases
from tests.apiserver.cases import Case
from tests.cluster.fixture import KubectlError

pytestmark = pytest.mark.cluster

REFUSED = [*upload_cases.REFUSED, *export_cases.REFUSED, *deployment_cases.REFUSED]
ACCEPTED = [*upload_cases.ACCEPTED, *export_cases.ACCEPTED, *deployment_cases.ACCEPTED]

ROOT = Path(__file__).parents[2]
START = "2026-01-01T00:00:00Z"


def create(cluster: Any, namespace: str, obj: dict[str, Any], *options: str) -> str:
    """What kubectl prints; raises ``KubectlError``."""
    metadata = {**obj["metadata"], "namespace": namespace}
    text = json.dumps({**obj, "metadata": metadata})
    answer: str = cluster.kubectl("create", "--validate=strict", *options, "-f", "-", stdin=text)
    return answer


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refused(case: Case, cluster: Any, kubeconfig: Path) -> None:
    with pytest.raises(KubectlError) as caught:
        create(cluster, "default", case.object(), "--dry-run=server")
    assert case.path in str(caught.value)
    assert case.message in str(caught.value)


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_accepted(case: Case, cluster: Any, kubeconfig: Path) -> None:
    assert "created" in create(cluster, "default", case.object(), "--dry-run=server")


def test_what_has_started_is_fixed_but_for_suspend_and_lifecycle(cluster: Any, namespace: str) -> None:
    create(cluster, namespace, upload_cases.MINIMAL)

    def patch(change: dict[str, Any], *options: str) -> None:
        words = ("patch", "datasetupload", "minimal", "-n", namespace, "--type=merge", "-p", json.dumps(change))
        cluster.kubectl(*words, *options)

    patch({"spec": {"maxBadRows": 3}})
    patch({"status": {"startTime": START}}, "--subresource=status")
    patch({"spec": {"suspend": True, "lifecycle": {"maxRetries": 1}}})
    for change in ({"maxBadRows": 4}, {"columns": {"a": "messages"}}, {"destination": {"repo": "me/other"}}):
        with pytest.raises(KubectlError, match="is fixed since the first container has started"):
            patch({"spec": change})


def test_short_name_category_and_columns(cluster: Any, namespace: str) -> None:
    create(cluster, namespace, upload_cases.MINIMAL)
    assert cluster.kubectl("get", "dsup", "-n", namespace).split()[:6] == [
        *("NAME", "STATUS", "REASON", "ROWS", "DESTINATION", "PROGRESS"),
    ]
    assert "datasetupload.swiftop.dev/minimal" in cluster.kubectl("get", "swift", "-n", namespace, "-o", "name")


def test_an_export_is_printed_by_its_short_name(cluster: Any, namespace: str) -> None:
    create(cluster, namespace, export_cases.MINIMAL)
    printed = cluster.kubectl("get", "mexp", "-n", namespace).split()[:8]
    assert printed == ["NAME", "STATUS", "REASON", "SOURCE", "DTYPE", "TARGETS", "SIZE", "AGE"]
    patch = ("patch", "mexp", "minimal", "-n", namespace, "--type=merge", "-p")
    cluster.kubectl(*patch, json.dumps({"status": {"startTime": START}}), "--subresource=status")
    with pytest.raises(KubectlError, match="is fixed since the first container has started"):
        cluster.kubectl(*patch, json.dumps({"spec": {"dtype": "float16"}}))


def test_a_deployment_is_printed_and_scaled(cluster: Any, namespace: str) -> None:
    create(cluster, namespace, deployment_cases.MINIMAL)
    printed = cluster.kubectl("get", "mdep", "-n", namespace).split("\n")[0].split()
    assert printed == ["NAME", "READY", "REASON", "REPLICAS", "ENGINE", "MODEL", "URL", "TOKENS/S", "AGE"]
    cluster.kubectl("scale", "modeldeployment/minimal", "-n", namespace, "--replicas=3")
    spec = json.loads(cluster.kubectl("get", "mdep", "minimal", "-n", namespace, "-o", "json"))["spec"]
    assert spec["replicas"] == 3


def test_the_example_overlay_installs_into_any_namespace(cluster: Any, tmp_path: Path) -> None:
    example = ROOT / "manifests" / "overlays" / "example"
    overlay = {"namespace": "elsewhere", "resources": [os.path.relpath(example, tmp_path.resolve())]}
    (tmp_path / "kustomization.yaml").write_text(json.dumps(overlay))
    made = list(yaml.safe_load_all(cluster.kubectl("kustomize", str(tmp_path))))
    namespaces = {obj["metadata"]["namespace"] for obj in made if "namespace" in obj["metadata"]}
    named = {obj["metadata"]["name"] for obj in made if obj["kind"] == "Namespace"}
    subjects = {subject["namespace"] for obj in made for subject in obj.get("subjects", ())}
    assert namespaces == named == subjects == {"elsewhere"}
    (deployment,) = (obj for obj in made if obj["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith("registry.example.com/swiftop/operator@sha256:")
    (account,) = (obj for obj in made if obj["kind"] == "ServiceAccount")
    assert account["imagePullSecrets"] == [{"name": "registry"}]
