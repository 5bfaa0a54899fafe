"""The whole operator as a process against a real API server: work, restart, election, rights."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from swiftop import names
from swiftop.app import EXIT_LEASE_LOST
from swiftop.cluster import Cluster
from swiftop.lease import Timing
from tests.api.gate import Gate
from tests.api.process import OperatorProcess, eventually
from tests.api.runs import run_of

pytestmark = pytest.mark.cluster

BASE = Path(__file__).parents[2] / "manifests" / "base"


async def started(k8s: Cluster, namespace: str, name: str, *, within: float) -> None:
    """Wait until the run has its Job and a status that says so."""

    async def look() -> bool:
        run = await k8s.get(names.SFTRUN, namespace, name)
        job = await k8s.get(names.JOB, namespace, names.job_name(name, 1))
        return bool(run and run.get("status", {}).get("attempts") == 1 and job)

    await eventually(look, within=within)


async def versions(k8s: Cluster, namespace: str) -> dict[str, str]:
    """Resource version of all that the operator may write, apart from its Lease."""
    kinds = (names.SFTRUN, names.JOB, names.PVC, names.SERVICE, names.CONFIG_MAP)
    objects = [obj for kind in kinds for obj in await k8s.list(kind, namespace)]
    events = await k8s.list(names.EVENT, namespace)
    objects += [event for event in events if event.get("source", {}).get("component") == names.FIELD_MANAGER]
    return {f"{obj['kind']}/{obj['metadata']['name']}": obj["metadata"]["resourceVersion"] for obj in objects}


async def test_a_run_gets_its_job_and_a_restart_writes_nothing(k8s: Cluster, kubeconfig: Path, namespace: str) -> None:
    async with OperatorProcess(kubeconfig, namespace) as operator:
        await k8s.create(run_of("a", namespace))
        await started(k8s, namespace, "a", within=5)

        async def explained() -> bool:
            run = await k8s.get(names.SFTRUN, namespace, "a")
            assert run is not None
            conditions = {c["type"]: c for c in run["status"]["conditions"]}
            return bool(conditions["Scheduled"]["reason"] == names.Reason.UNSCHEDULABLE)

        await eventually(explained, within=15)
        operator.send(signal.SIGTERM)
        assert await operator.ended(within=10) == 0, operator.log
    before = await versions(k8s, namespace)
    async with OperatorProcess(kubeconfig, namespace, SWIFTOP_RESYNC_SECONDS="1") as operator:
        await eventually(operator.leads, within=20)

        async def looked_five_times() -> bool:
            return (await operator.metrics())['swiftop_reconcile_seconds_count{result="ok"}'] >= 5

        await eventually(looked_five_times, within=20)
        assert await operator.writes() == 0
        assert await versions(k8s, namespace) == before
        assert "error" not in operator.log


async def test_a_standby_acts_within_3_s_of_a_clean_stop_and_20_s_of_a_kill(
    k8s: Cluster, kubeconfig: Path, namespace: str
) -> None:
    assert await k8s.get(names.LEASE, namespace, "swiftop") is None  # the first start has none
    async with OperatorProcess(kubeconfig, namespace) as first:
        await eventually(first.leads, within=10)
        async with OperatorProcess(kubeconfig, namespace) as second, OperatorProcess(kubeconfig, namespace) as third:
            assert [await standby.leads() for standby in (second, third)] == [False, False]
            first.send(signal.SIGTERM)
            await k8s.create(run_of("stopped", namespace))
            await started(k8s, namespace, "stopped", within=3)
            assert await first.ended(within=5) == 0
            leader, standby = (second, third) if await second.leads() else (third, second)
            leader.send(signal.SIGKILL)
            await k8s.create(run_of("killed", namespace))
            await started(k8s, namespace, "killed", within=20)
            assert await standby.healthy()
            assert await standby.leads()


async def test_a_leader_that_is_cut_off_ends_before_another_may_act(
    kubeconfig: Path, namespace: str, other_namespace: str
) -> None:
    async with asyncio.TaskGroup() as side_by_side:
        for place, fault in ((namespace, Gate.refuse), (other_namespace, Gate.silence)):
            side_by_side.create_task(cut_off(kubeconfig, place, fault))


async def cut_off(kubeconfig: Path, namespace: str, fault: Callable[[Gate], None]) -> None:
    """One leader, one standby, one fault that hits both and passes."""
    async with Gate(kubeconfig) as gate, OperatorProcess(gate.kubeconfig, namespace) as leader:
        await eventually(leader.leads, within=10)
        async with OperatorProcess(gate.kubeconfig, namespace) as standby:
            fault(gate)
            begun = time.monotonic()
            assert await leader.ended(within=15) == EXIT_LEASE_LOST
            assert time.monotonic() - begun < Timing().duration
            assert await standby.healthy()
            gate.open()
            await eventually(standby.leads, within=15)


async def test_it_starts_while_the_api_server_is_away(k8s: Cluster, kubeconfig: Path, namespace: str) -> None:
    async with Gate(kubeconfig) as gate:
        gate.refuse()
        async with OperatorProcess(gate.kubeconfig, namespace) as operator:
            await k8s.create(run_of("a", namespace))

            async def has_tried() -> bool:
                return operator.log.count("lease not read or taken") >= 2

            await eventually(has_tried, within=10)
            gate.open()
            await started(k8s, namespace, "a", within=10)


async def test_broken_connections_are_mended(k8s: Cluster, kubeconfig: Path, namespace: str) -> None:
    """Shorter than the Lease's deadline: nobody has to restart, and what happened meanwhile is seen."""
    async with Gate(kubeconfig) as gate, OperatorProcess(gate.kubeconfig, namespace) as operator:
        await eventually(operator.leads, within=10)
        gate.refuse()
        await k8s.create(run_of("meanwhile", namespace))
        gate.open()
        await started(k8s, namespace, "meanwhile", within=15)
        assert await operator.healthy()


async def test_the_rights_of_the_manifests_are_enough_and_hold_no_secrets(
    cluster: Any, k8s: Cluster, kubeconfig: Path, namespace: str, tmp_path: Path
) -> None:
    for obj in manifests(namespace):
        cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(obj))
    token = cluster.kubectl("create", "token", "swiftop", "-n", namespace).strip()
    limited = with_token(kubeconfig, token, tmp_path / "kubeconfig")
    try:
        async with OperatorProcess(limited, namespace) as operator:
            await k8s.create(run_of("a", namespace))
            volume = {"size": "1Gi", "accessMode": "ReadWriteMany"}
            spread = run_of("b", namespace, output={"volume": volume}, resources={"gpus": 1, "nodes": 2})
            await k8s.create(spread)
            for name in ("a", "b"):
                await started(k8s, namespace, name, within=10)
            assert await k8s.get(names.SERVICE, namespace, "b") is not None
            assert await k8s.get(names.PVC, namespace, "b-output") is not None
            assert "forbidden" not in operator.log.lower()
    finally:
        cluster.kubectl("delete", "clusterrole,clusterrolebinding", f"swiftop-{namespace}")


def with_token(kubeconfig: Path, token: str, path: Path) -> Path:
    """A kubeconfig like this one for the owner of a token."""
    config = yaml.safe_load(kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    path.write_text(yaml.safe_dump(config))
    return path


def manifests(namespace: str) -> list[dict[str, Any]]:
    """The operator's account and rights as shipped, under names of this test's own."""
    objects: list[dict[str, Any]] = list(yaml.safe_load_all((BASE / "rbac.yaml").read_text()))
    for obj in objects:
        if obj["kind"].startswith("Cluster"):
            obj["metadata"]["name"] = f"swiftop-{namespace}"
        else:
            obj["metadata"]["namespace"] = namespace
        if obj["kind"] == "ClusterRoleBinding":
            obj["roleRef"]["name"] = f"swiftop-{namespace}"
        for subject in obj.get("subjects", []):
            subject["namespace"] = namespace
        for rule in obj.get("rules", []):
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            assert "secrets" not in rule["resources"]
    return objects
