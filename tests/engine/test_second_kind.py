"""A second kind that ends, registered in this test alone: engine, store, metrics, CRDs and a finish line without a word
of SFTRun. What it takes to write one stands here: a model, a few callables, one entry in the registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import Field

from swiftop import names
from swiftop.api.crd import definition
from swiftop.api.v1alpha1.base import NAME_RULE, Column, Condition, Definition, Reported
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.workload import BatchResource, BatchSpec, Output
from swiftop.batch.kind import BatchKind, Own
from swiftop.batch.observe import Observed
from swiftop.batch.situation import Words
from swiftop.kinds.registry import KINDS, watched
from swiftop.model.conditions import Aspect
from swiftop.model.kind import Frame, Key, World
from swiftop.model.verdict import Finished
from swiftop.runner.protocol import Plan
from swiftop.runner.report import Member
from swiftop.shell.config import Config
from swiftop.shell.controller import Controller
from swiftop.workload.meta import plan_owner
from swiftop.workload.pods import Pod
from swiftop.workload.resolve import digest_of, resolved
from swiftop.workload.volumes import Volumes
from tests.engine.harness import Harness
from tests.engine.kubernetes import NAMESPACE, Kubernetes, termination

COPY = names.Resource(names.API_VERSION, "Copy", "copies", "cp")


class CopySpec(BatchSpec):
    output: Output = Field(description="Where it goes.")


class CopyStatus(Reported):
    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="As of all kinds.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    rows: int | None = Field(default=None, description="Rows copied.")


class Copy(BatchResource):
    """Copies rows."""

    DEFINITION: ClassVar = Definition(
        resource=COPY,
        short="cp",
        columns=(Column("Rows", "integer", ".status.rows"),),
        conditions=("Copied",),
        changeable=("suspend", "lifecycle"),
    )
    RULES: ClassVar = (NAME_RULE,)

    kind: Literal["Copy"] = "Copy"
    spec: CopySpec = Field(description="What to copy.")
    status: CopyStatus | None = Field(default=None, description="What happened.")


@dataclass(frozen=True)
class Prepared:
    copy: Copy
    spec: CopySpec
    runner: str
    digest: str


def prepare(copy: Copy, world: World[Defaults]) -> Prepared:
    spec = resolved(copy.spec, world)
    return Prepared(copy, spec, world.runner_config_map, digest_of(spec))


def pod(prepared: Prepared, attempt: int) -> Pod:
    copy, spec = prepared.copy, prepared.spec
    plan = Plan(program="copy", owner=plan_owner(copy), attempt=attempt, command=("cp",), output_dir="/swiftop/output")
    volumes = Volumes(copy, spec, runner_config_map=prepared.runner)
    return Pod(owner=copy, spec=spec, attempt=attempt, plan=plan, volumes=volumes, grace_seconds=30)


def own(frame: Frame[Copy, Observed]) -> Own:
    done = isinstance(frame.outlook, Finished)
    copied = Aspect("True", "Finished") if done else Aspect("False", "Pending")
    return Own({"rows": (frame.observed.report or {}).get("rows")}, {"Copied": copied})


KIND: BatchKind[Copy, Prepared] = BatchKind(
    model=Copy,
    words=Words(thing="copy", working="it copies", preparing="it starts", finished="it is done", kept="rows are kept"),
    members=(Member("rows", "int", "swiftop_copy_rows", "Rows copied"),),
    prepare_with=prepare,
    pod=pod,
    own=own,
)
BOTH = {**KINDS, "Copy": KIND}


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Harness:
    """An operator that knows both kinds."""
    monkeypatch.setitem(names.RESOURCES, "Copy", COPY)
    harness = Harness()
    harness.watched = watched(BOTH)
    harness.restart(tuple(harness.watched), kinds=BOTH)
    return harness


def copy_of(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": names.API_VERSION,
        "kind": "Copy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"resources": {"gpus": 0}, "output": {"ephemeral": True}, "runtime": {"image": "x/y:1"}, **spec},
    }


async def test_it_runs_beside_a_run_of_the_same_name(harness: Harness) -> None:
    harness.apply()
    harness.cluster.put(copy_of("tiny"))
    await harness.settle()
    harness.key = Key("Copy", NAMESPACE, "tiny")
    harness.kubernetes = Kubernetes(harness.cluster, "tiny-cp")
    await harness.settle()
    assert harness.job_names == ["tiny-1", "tiny-cp-1"]
    harness.kubernetes.start()
    await harness.settle()
    harness.kubernetes.end(message=termination("finished", "MaxSteps", progress={"rows": 7}))
    harness.kubernetes.complete_job()
    await harness.settle()
    copy = harness.cluster.find(COPY, "tiny")
    assert copy["status"]["rows"] == 7
    assert [c["type"] for c in copy["status"]["conditions"]][-2:] == ["Suspended", "Copied"]
    assert copy["status"]["state"] == "Succeeded"
    assert harness.run["status"]["state"] == "Pending"  # what happened to the copy is no news of the run


async def test_it_is_suspended_and_retried_like_any_other(harness: Harness) -> None:
    harness.cluster.put(copy_of("tiny"))
    harness.key = Key("Copy", NAMESPACE, "tiny")
    harness.kubernetes = Kubernetes(harness.cluster, "tiny-cp")
    await harness.settle()
    harness.kubernetes.start()
    harness.kubernetes.end(exit_code=7, message=termination("failed", "HubUnreachable"))
    harness.kubernetes.fail_job()
    await harness.settle()
    harness.cluster.now += 10
    await harness.settle()
    assert harness.cluster.find(COPY, "tiny")["status"]["attempts"] == 2
    copy = harness.cluster.find(COPY, "tiny")
    harness.cluster.put({**copy, "spec": {**copy["spec"], "suspend": True}})
    await harness.settle()
    assert harness.cluster.find(COPY, "tiny")["status"]["state"] == "Suspended"


def test_its_definition_is_written_like_any_other() -> None:
    crd = definition(Copy)
    assert crd["metadata"]["name"] == "copies.swiftop.dev"
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    fixed = {rule["fieldPath"] for rule in schema["x-kubernetes-validations"]} - {".metadata.name"}
    members = {f".spec.{member}" for member in schema["properties"]["spec"]["properties"]}
    assert fixed == members - {".spec.suspend", ".spec.lifecycle"}


async def test_it_is_watched_and_counted_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(names.RESOURCES, "Copy", COPY)
    controller = Controller(Config(), kinds=BOTH, watched=watched(BOTH))
    meta = {"name": "tiny", "namespace": NAMESPACE, "uid": "1", "resourceVersion": "1"}
    controller.seen(COPY, "ADDED", {**copy_of("tiny"), "metadata": meta})
    families = text_string_to_metric_families(controller.metrics.exposition().decode())
    counted = [sample.labels for family in families for sample in family.samples if family.name == "swiftop_objects"]
    assert counted == [{"kind": "Copy", "namespace": NAMESPACE, "state": "Pending"}]
    assert controller.queue.depth == 1
