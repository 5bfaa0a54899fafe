"""The CRD on a real API server: what `kubectl apply` refuses, accepts, prints and explains."""

from __future__ import annotations

import json
import ssl
import tempfile
import time
import uuid
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from swiftop.api.crd import crds, definition
from swiftop.api.v1alpha1.sftrun import SFTRun, SFTRunSpec
from swiftop.kinds.registry import MODELS
from tests.apiserver.cases import Case, Patch, merged
from tests.apiserver.sftrun_cases import ACCEPTED, REFUSED
from tests.apiserver.sftrun_patches import MINIMAL

pytestmark = pytest.mark.cluster

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
START = "2026-01-01T00:00:00Z"
CHANGEABLE: tuple[str, ...] = SFTRun.DEFINITION.changeable or ()


# A valid value for each member of the spec that differs from that of MINIMAL: of the fixed ones, and of those that may
# change after the start.
def near(topology: str, labels: Patch | None = None) -> Patch:
    """An affinity between pods."""
    term = {"topologyKey": topology, "labelSelector": {"matchLabels": labels or {"a": "a"}}}
    return {"requiredDuringSchedulingIgnoredDuringExecution": [term]}


CHANGES: dict[str, Any] = {
    "model": {"id": "other/model"},
    "datasets": [{"id": "other/data"}],
    "validation": {"splitRatio": "0.5"},
    "files": [{"configMap": {"name": "a", "key": "b"}}],
    "tuner": {"rank": 64},
    "training": {"learningRate": "1e-5"},
    "checkpoints": {"saveSteps": 5},
    "output": {"volume": {"size": "60Gi"}},
    "cache": {"persistentVolumeClaim": {"claimName": "cache"}},
    "tracking": {"tensorboard": True},
    "credentials": {"secretName": "other"},
    "resources": {"gpus": 2},
    "placement": {"affinity": {"podAffinity": near("zone")}},
    "runtime": {"podPatch": {"metadata": {"annotations": {"a": "b"}}}},
    "extraArgs": [{"name": "vit_lr", "value": "1e-5"}],
}
LATE_CHANGES: dict[str, Any] = {
    "suspend": True,
    "lifecycle": {"maxRetries": 0, "stallSeconds": 600, "ttlSecondsAfterFinished": 60},
}


def _client(kubeconfig: Path) -> httpx.Client:
    """Plain HTTPS from a kubeconfig: a hundred dry runs take seconds, where kubectl would take a minute."""
    config = yaml.safe_load(kubeconfig.read_text())
    server, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    verify = ssl.create_default_context(cadata=_pem(server, "certificate-authority"))
    if server.get("insecure-skip-tls-verify"):
        verify.check_hostname, verify.verify_mode = False, ssl.CERT_NONE
    verify.check_hostname = verify.check_hostname and "tls-server-name" not in server
    if certificate := _pem(user, "client-certificate"):
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(f"{certificate}\n{_pem(user, 'client-key')}")
            file.flush()
            verify.load_cert_chain(file.name)
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    return httpx.Client(base_url=server["server"], verify=verify, headers=headers, timeout=30)


def _pem(entry: dict[str, str], key: str) -> str | None:
    if data := entry.get(f"{key}-data"):
        return b64decode(data).decode()
    return Path(entry[key]).read_text() if key in entry else None


class Api:
    """SFTRuns of one namespace."""

    def __init__(self, client: httpx.Client, namespace: str) -> None:
        self.client = client
        self.runs = f"/apis/swiftop.dev/v1alpha1/namespaces/{namespace}/sftruns"

    def create(self, obj: Patch, *, dry_run: bool = True) -> httpx.Response:
        obj = merged(obj, {"metadata": {"namespace": None}})
        # fieldValidation=Strict is what kubectl asks for.
        params = {"fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
        return self.client.post(self.runs, params=params, json=obj)

    def patch(self, name: str, patch: Patch, *, subresource: str = "", dry_run: bool = False) -> httpx.Response:
        return self.client.patch(
            f"{self.runs}/{name}{subresource}",
            params={"fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})},
            headers={"Content-Type": "application/merge-patch+json"},
            content=json.dumps(patch),
        )

    def made(self, name: str, spec: Patch | None = None, *, started: bool = False) -> dict[str, Any]:
        """A stored run."""
        answer = self.create(merged(MINIMAL, {"metadata": {"name": name}, "spec": spec or {}}), dry_run=False)
        assert answer.status_code == 201, answer.text
        if started:
            answer = self.patch(name, {"status": {"startTime": START}}, subresource="/status")
            assert answer.status_code == 200, answer.text
        stored: dict[str, Any] = answer.json()
        return stored


@pytest.fixture(scope="module")
def api(cluster: Any) -> Iterator[Api]:
    with _client(Path(cluster.kubeconfig)) as client:
        for crd in map(definition, MODELS):
            name = crd["metadata"]["name"]
            answer = client.patch(
                f"{CRD}/{name}",
                params={"fieldManager": "tests", "force": "true"},
                headers={"Content-Type": "application/apply-patch+yaml"},
                content=json.dumps(crd),
            )
            assert answer.is_success, answer.text
        namespace = f"crd-{uuid.uuid4().hex[:8]}"
        created = client.post("/api/v1/namespaces", json={"metadata": {"name": namespace}})
        assert created.is_success, created.text
        try:
            cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd/sftruns.swiftop.dev")
            _until_served(client, namespace)
            yield Api(client, namespace)
        finally:
            client.delete(f"/api/v1/namespaces/{namespace}")


def _until_served(client: httpx.Client, namespace: str) -> None:
    """Established is not served: the handlers of a new schema follow a moment later."""
    probe = merged(MINIMAL, {"spec": {"output": {"volume": {"size": "0"}}}})
    deadline = time.monotonic() + 30
    while "above 0" not in (text := Api(client, namespace).create(probe).text):
        assert time.monotonic() < deadline, f"the API server does not enforce the schema: {text}"


def _causes(answer: httpx.Response) -> list[tuple[str, str]]:
    """Blamed fields and messages of a refusal. Strict decoding names the field in its text only."""
    body = answer.json()
    causes = [(c.get("field", ""), c["message"]) for c in body.get("details", {}).get("causes", [])]
    return causes or [(body["message"].partition('unknown field "')[2].partition('"')[0], body["message"])]


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refused(api: Api, case: Case) -> None:
    answer = api.create(case.object())
    assert answer.status_code in (400, 422), answer.text
    seen = [(field, message) for field, message in _causes(answer) if field.startswith(case.path)]
    assert seen, answer.text
    assert any(case.message in message for _, message in seen), seen


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_accepted(api: Api, case: Case) -> None:
    answer = api.create(case.object())
    assert answer.status_code == 201, answer.text
    assert "warning" not in answer.headers, answer.headers["warning"]


def test_the_crd_has_no_condition_against_it(api: Api) -> None:
    conditions = api.client.get(f"{CRD}/sftruns.swiftop.dev").json()["status"]["conditions"]
    assert {c["type"]: c["status"] for c in conditions} == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.parametrize("sample", sorted(Path("manifests/samples").glob("sftrun-*.yaml")), ids=lambda p: p.name)
def test_samples_are_accepted(api: Api, sample: Path) -> None:
    for obj in yaml.safe_load_all(sample.read_text()):
        if obj and obj["kind"] == "SFTRun":
            answer = api.create(obj)
            assert answer.status_code == 201, answer.text


def test_every_field_is_fixed_or_known_to_change() -> None:
    assert set(LATE_CHANGES) == set(CHANGEABLE)
    assert {*CHANGES, *LATE_CHANGES} == {f.alias for f in SFTRunSpec.model_fields.values()}


def test_before_the_start_everything_may_change(api: Api) -> None:
    api.made("not-started")
    assert api.patch("not-started", {"status": {"attempts": 0}}, subresource="/status").is_success
    for field, change in {**CHANGES, **LATE_CHANGES}.items():
        answer = api.patch("not-started", {"spec": {field: change}}, dry_run=True)
        assert answer.is_success, (field, answer.text)


def test_after_the_start_no_fixed_field_changes(api: Api) -> None:
    api.made("started", started=True)
    for field, change in CHANGES.items():
        answer = api.patch("started", {"spec": {field: change}}, dry_run=True)
        assert answer.status_code == 422, field
        causes = _causes(answer)
        message = dict(causes).get(f"spec.{field}", "")
        assert message.endswith(
            f"spec.{field} is fixed since the first container has started: create another SFTRun instead "
            "(spec.suspend and spec.lifecycle may still change)"
        ), causes


def test_after_the_start_no_fixed_field_goes_away(api: Api) -> None:
    api.made("complete", CHANGES, started=True)
    optional = [f for f in CHANGES if f not in MINIMAL["spec"]]
    for field in optional:
        answer = api.patch("complete", {"spec": {field: None}}, dry_run=True)
        assert answer.status_code == 422, field
        assert _causes(answer)[0][0] == f"spec.{field}"


def test_after_the_start_parts_of_a_pod_are_fixed_too(api: Api) -> None:
    patch = {
        "runtime": {"podPatch": {"metadata": {"annotations": {"a": "b"}}}},
        "placement": {"affinity": {"podAffinity": near("zone")}},
    }
    api.made("patched", patch, started=True)
    for change in (
        {"runtime": {"podPatch": {"metadata": {"annotations": {"a": "c"}}}}},
        {"runtime": {"podPatch": {"metadata": {"annotations": {"b": "b"}}}}},
        {"runtime": {"podPatch": {"metadata": {"annotations": None, "labels": {"a": "b"}}}}},
        {"runtime": {"podPatch": {"metadata": {"annotations": {"a": None, "b": "b"}}}}},
        {"runtime": {"podPatch": {"metadata": None, "spec": {"nodeSelector": {"a": "b"}}}}},
        {"placement": {"affinity": {"podAffinity": near("rack")}}},
        {"placement": {"affinity": {"podAffinity": near("zone", labels={"a": "b"})}}},
        {"placement": {"affinity": {"podAffinity": None, "podAntiAffinity": near("zone")}}},
    ):
        assert api.patch("patched", {"spec": change}, dry_run=True).status_code == 422, change
    assert api.patch("patched", {"spec": patch}, dry_run=True).is_success


def test_after_the_start_suspend_lifecycle_and_metadata_may_change(api: Api) -> None:
    stored = api.made("running", started=True)
    for change in (
        *({"spec": {field: value}} for field, value in LATE_CHANGES.items()),
        *({"spec": {field: None}} for field in LATE_CHANGES),
        {"metadata": {"labels": {"team": "nlp"}}},
    ):
        assert api.patch("running", change).is_success, change
    assert api.patch("running", {"spec": stored["spec"]}).is_success


def test_applying_the_same_manifest_again_changes_nothing(api: Api) -> None:
    stored = api.made("again", CHANGES, started=True)
    answer = api.patch("again", {"spec": CHANGES})
    assert answer.is_success, answer.text
    assert answer.json()["metadata"]["generation"] == stored["metadata"]["generation"]


def test_defaults_are_those_of_the_models(api: Api) -> None:
    spec = {
        "tuner": {},
        "checkpoints": {},
        "lifecycle": {},
        "tracking": {"swanlab": {"project": "a"}},
        "runtime": {"securityContext": {}},
    }
    stored = api.create(merged(MINIMAL, {"spec": spec})).json()["spec"]
    assert stored["tuner"] == {"type": "lora"}
    assert stored["checkpoints"] == {}
    assert stored["tracking"] == {"swanlab": {"project": "a", "mode": "cloud"}}
    assert stored["runtime"]["securityContext"] == {}
    assert stored["resources"] == {"gpus": 1, "nodes": 1}
    assert stored["output"]["volume"] == {"size": "50Gi", "accessMode": "ReadWriteOnce", "retain": "Retain"}
    assert stored["lifecycle"] == {"maxRetries": 3}
    assert not {"training", "suspend"} & stored.keys()  # absent says the same


def test_a_whole_status_is_stored_as_written(api: Api) -> None:
    api.made("reported", started=True)
    status = {
        "conditions": [
            {
                "type": "Succeeded",
                "status": "Unknown",
                "reason": "Running",
                "message": "step 412 of 1000",
                "observedGeneration": 1,
                "lastTransitionTime": START,
            }
        ],
        "state": "Running",
        "observedGeneration": 1,
        "progress": {
            "step": 412,
            "maxSteps": 1000,
            "epoch": 0.4,
            "loss": 1.25,
            "evalLoss": 2,
            "learningRate": 1e-05,
            "gradNorm": 0.5,
            "secondsPerStep": 7.5,
            "etaSeconds": 4320,
            "memoryGiB": 71.5,
        },
        "checkpoint": {"step": 400, "path": "/swiftop/output/a/checkpoint-400", "time": START},
        "bestCheckpoint": {"step": 200, "path": "/swiftop/output/a/checkpoint-200", "metric": 1.5},
        "output": {"claimName": "a-output", "path": "a-uid"},
        "attempts": 3,
        "retries": 1,
        "nextAttempt": 4,
        "interruptions": [
            {"time": START, "cause": "Evicted", "pod": "u", "step": 412, "checkpointStep": 400, "lostSteps": 12}
        ],
        "startTime": START,
        "completionTime": START,
        "gpuSeconds": 100,
        "tracking": {"url": "https://swanlab.cn/@a/b/runs/c"},
        "failure": {"reason": "CUDAOutOfMemory", "message": "a", "suggestion": "b", "log": "c"},
        "resolved": {
            "image": "a",
            "swiftVersion": "4.6",
            "command": "python -m swift.cli.sft",
            "source": {"claimName": "first-output", "path": "first-uid", "uid": "uid"},
        },
        "display": {
            "progress": "412/1000 (41%)",
            "eta": "1h12m",
            "loss": "1.2500",
            "gpus": "1",
            "model": "Qwen/Qwen2.5-7B-Instruct",
            "dataset": "CodyWhy/mh-sharegpt-20250820",
        },
    }
    answer = api.patch("reported", {"status": status}, subresource="/status")
    assert answer.json()["status"] == status
    assert _columns(api, "reported") == {
        "Name": "reported",
        "Status": "Running",
        "Reason": "Running",
        "Progress": "412/1000 (41%)",
        "ETA": "1h12m",
        "Loss": "1.2500",
        "GPUs": "1",
        "Model": "Qwen/Qwen2.5-7B-Instruct",
        "Dataset": "CodyWhy/mh-sharegpt-20250820",
        "Checkpoint": 400,
        "Tracker": "https://swanlab.cn/@a/b/runs/c",
        "Attempts": 3,
    }


def _columns(api: Api, name: str) -> dict[str, Any]:
    """What ``kubectl get -o wide`` prints, but for the age."""
    answer = api.client.get(
        f"{api.runs}/{name}", headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    ).json()
    names = [column["name"] for column in answer["columnDefinitions"]]
    return {n: cell for n, cell in zip(names, answer["rows"][0]["cells"], strict=True) if n != "Age"}


def test_kubectl_knows_the_short_name_and_the_category(api: Api, cluster: Any) -> None:
    api.made("short")
    namespace = api.runs.split("/")[-2]
    for word in ("sft", "swift", "sftruns"):
        assert "short" in cluster.kubectl("get", word, "-n", namespace, "-o", "name")


def test_kubectl_explains_fields(api: Api, cluster: Any) -> None:
    text = " ".join(cluster.kubectl("explain", "sftrun.spec.training.packing").split())
    assert "no computing goes into padding" in text


def test_kubectl_applies_the_generated_files(api: Api, cluster: Any) -> None:
    for name, text in crds(MODELS).items():
        if name.endswith(".yaml"):
            cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=text)
