"""The whole operator as a process against a real API server: work, restart, election, rights."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from swiftop import names, reasons
from swiftop.errors import AlreadyExists, Forbidden, NotFound, Transient
from swiftop.kinds.registry import KINDS
from swiftop.shell.app import EXIT_LEASE_LOST
from swiftop.shell.cluster import Cluster
from swiftop.shell.lease import Timing
from tests.apiserver.everything import everything
from tests.apiserver.gate import Gate
from tests.apiserver.process import OperatorProcess, eventually, started
from tests.apiserver.proxy import Proxy
from tests.apiserver.runs import run_of

pytestmark = pytest.mark.cluster

BASE = Path(__file__).parents[2] / "manifests" / "base"


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
            return bool(conditions["Scheduled"]["reason"] == reasons.Reason.NODE_AFFINITY_MISMATCH)

        await eventually(explained, within=15)
        operator.send(signal.SIGTERM)
        assert await operator.ended(within=10) == 0, operator.log
    before = await versions(k8s, namespace)
    async with OperatorProcess(kubeconfig, namespace, SWIFTOP_RESYNC_SECONDS="1") as operator:
        await eventually(operator.leads, within=20)

        async def looked_five_times() -> bool:
            looks = 'swiftop_reconcile_seconds_count{kind="SFTRun",result="ok"}'
            return (await operator.metrics()).get(looks, 0) >= 5

        await eventually(looked_five_times, within=20)
        assert await operator.writes() == 0
        assert await versions(k8s, namespace) == before
        assert "error" not in operator.log


async def test_a_run_is_suspended_and_resumed_from_the_command_line(
    k8s: Cluster, kubeconfig: Path, namespace: str
) -> None:
    async with OperatorProcess(kubeconfig, namespace):
        await k8s.create(run_of("a", namespace))
        await started(k8s, namespace, "a", within=10)
        assert "saves a checkpoint first" in await swiftop(kubeconfig, "suspend", "a", "-n", namespace)

        async def has_stopped() -> bool:
            told = await swiftop(kubeconfig, "progress", "a", "-n", namespace, "--no-follow")
            return told.startswith("a: Suspended, ")

        await eventually(has_stopped, within=60)
        assert await k8s.list(names.JOB, namespace) == []
        assert "goes on" in await swiftop(kubeconfig, "resume", "a", "-n", namespace)

        async def goes_on() -> bool:
            return bool(await k8s.list(names.JOB, namespace))

        await eventually(goes_on, within=10)


async def swiftop(kubeconfig: Path, *arguments: str) -> str:
    """What a command prints."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "swiftop"),
        *arguments,
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, told
    return told.decode()


async def in_order(*two: OperatorProcess) -> tuple[OperatorProcess, ...]:
    """The one that leads before the one that does not; empty while none does, as their metrics tell it."""
    leading = [await one.leads() for one in two]
    return (*two,) if leading == [True, False] else (*reversed(two),) if leading == [False, True] else ()


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
            leader, standby = await eventually(lambda: in_order(second, third), within=2)
            leader.send(signal.SIGKILL)
            await k8s.create(run_of("killed", namespace))
            await started(k8s, namespace, "killed", within=20)
            assert await standby.healthy()
            await eventually(standby.leads, within=2)


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


async def test_a_kind_that_discovery_lists_late_is_watched(k8s: Cluster, kubeconfig: Path, namespace: str) -> None:
    """As right after the CRD was made: a LIST of it is answered already."""
    async with Proxy(kubeconfig) as proxy:
        proxy.missing.add(f"/apis/{names.API_VERSION}")
        async with OperatorProcess(proxy.kubeconfig, namespace) as operator:

            async def has_looked() -> bool:
                return "not served yet: " in operator.log

            await eventually(has_looked, within=15)
            proxy.missing.clear()
            await eventually(operator.leads, within=10)
            await k8s.create(run_of("a", namespace))
            await started(k8s, namespace, "a", within=5)


async def test_broken_connections_are_mended(k8s: Cluster, kubeconfig: Path, namespace: str) -> None:
    """Shorter than the Lease's deadline: nobody has to restart, and what happened meanwhile is seen."""
    async with Gate(kubeconfig) as gate, OperatorProcess(gate.kubeconfig, namespace) as operator:
        await eventually(operator.leads, within=10)
        gate.refuse()
        await k8s.create(run_of("meanwhile", namespace))
        gate.open()
        await started(k8s, namespace, "meanwhile", within=15)
        assert await operator.healthy()


async def test_a_leader_that_was_stopped_writes_nothing_after_its_lease_has_passed_on(
    k8s: Cluster, kubeconfig: Path, namespace: str
) -> None:
    """As on a machine that was suspended: it wakes up with a full queue and answers on their way."""
    async with Proxy(kubeconfig) as proxy, OperatorProcess(proxy.kubeconfig, namespace) as leader:
        await eventually(leader.leads, within=10)
        async with OperatorProcess(kubeconfig, namespace) as standby:
            await asyncio.gather(*(k8s.create(run_of(f"r{n}", namespace)) for n in range(60)))
            leader.send(signal.SIGSTOP)
            await eventually(standby.leads, within=20)
            for n in range(60):
                await started(k8s, namespace, f"r{n}", within=30)

            async def explained() -> bool:
                runs = await k8s.list(names.SFTRUN, namespace)
                told = {c["reason"] for run in runs for c in run["status"]["conditions"] if c["type"] == "Scheduled"}
                return told == {reasons.Reason.NODE_AFFINITY_MISMATCH}

            await eventually(explained, within=60, every=0.5)
            before = await versions(k8s, namespace)
            proxy.writes.clear()
            leader.send(signal.SIGCONT)
            assert await leader.ended(within=10) == EXIT_LEASE_LOST
            assert proxy.writes == []
            assert await versions(k8s, namespace) == before
            await eventually(standby.leads, within=2)


async def test_a_kill_of_the_api_server_is_outlived(
    cluster: Any, k8s: Cluster, kubeconfig: Path, namespace: str
) -> None:
    async with OperatorProcess(kubeconfig, namespace) as leader:
        await eventually(leader.leads, within=10)
        async with OperatorProcess(kubeconfig, namespace) as standby:
            cluster.signal("kube-apiserver", signal.SIGKILL)

            async def is_back() -> bool:
                try:
                    await k8s.create(run_of("after", namespace))
                except AlreadyExists:
                    return True
                except (Transient, Forbidden, NotFound):  # what a young API server knows comes bit by bit
                    return False
                return True

            await eventually(is_back, within=120, every=0.5)
            await started(k8s, namespace, "after", within=40)
            assert await standby.healthy()
            # It may have come back in time, or the leader has rightly made room.
            assert leader.process.returncode in (None, EXIT_LEASE_LOST), leader.log


async def test_an_error_within_a_watch_ends_the_process_and_hands_over(
    k8s: Cluster, kubeconfig: Path, namespace: str
) -> None:
    async with Proxy(kubeconfig) as proxy, OperatorProcess(proxy.kubeconfig, namespace) as leader:
        await k8s.create(run_of("before", namespace))
        await started(k8s, namespace, "before", within=15)
        async with OperatorProcess(kubeconfig, namespace) as standby:
            await proxy.break_watches("sftruns", {"code": 500, "reason": "InternalError", "message": "etcd is lost"})
            assert await leader.ended(within=10) == 1
            assert "lease released" in leader.log
            await k8s.create(run_of("after", namespace))
            await started(k8s, namespace, "after", within=5)
            await eventually(standby.leads, within=2)


async def test_a_request_that_hangs_holds_up_no_successor(k8s: Cluster, kubeconfig: Path, namespace: str) -> None:
    async with Proxy(kubeconfig) as proxy, OperatorProcess(proxy.kubeconfig, namespace) as leader:
        await eventually(leader.leads, within=10)
        proxy.hold = lambda request: request.method == "POST" and request.path.endswith("/jobs")
        await k8s.create(run_of("a", namespace))
        await asyncio.wait_for(proxy.held.wait(), 10)
        async with OperatorProcess(kubeconfig, namespace):
            leader.send(signal.SIGTERM)
            await started(k8s, namespace, "a", within=4)
            assert await leader.ended(within=5) == 0
        assert "lease released" in leader.log


async def test_without_its_lease_s_namespace_a_person_is_told_at_once(kubeconfig: Path, namespace: str) -> None:
    operator = OperatorProcess(kubeconfig, namespace)
    code, told = await operator.refused("--operator-namespace", "no-such-namespace")
    assert code == 1
    assert told.splitlines()[-1].startswith("error: the Lease swiftop cannot be made, its namespace no-such-namespace")
    assert "Traceback" not in told


async def test_the_rights_of_the_manifests_are_enough_and_hold_no_secrets(
    cluster: Any, k8s: Cluster, kubeconfig: Path, namespace: str
) -> None:
    """Exactly those: what is granted and never used is noticed too."""
    granted = manifests(namespace)
    for obj in granted:
        cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(obj))
    token = cluster.kubectl("create", "token", "swiftop", "-n", namespace).strip()
    try:
        async with (
            Proxy(kubeconfig, token=token) as proxy,
            OperatorProcess(proxy.kubeconfig, namespace, SWIFTOP_PROGRESS_SECONDS="1") as operator,
        ):
            await everything(cluster, k8s, namespace)

            def unused() -> set[tuple[str, str, str]]:
                return granted_rights(granted) - proxy.rights - NOT_REQUESTS

            async def all_used() -> bool:
                return not unused()

            with suppress(AssertionError):  # the line below says what is missing
                await eventually(all_used, within=30)
            assert unused() == set()
            assert proxy.rights <= granted_rights(granted)
            assert "forbidden" not in operator.log.lower()
    finally:
        cluster.kubectl("delete", "clusterrole,clusterrolebinding", f"swiftop-{namespace}")


# An owner reference that blocks deletion asks for it, in clusters that enforce that.
NOT_REQUESTS = {(names.GROUP, f"{kind.resource.plural}/finalizers", "update") for kind in KINDS.values()}


def granted_rights(objects: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of all rules."""
    return {
        (group, resource, verb)
        for obj in objects
        for rule in obj.get("rules", [])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


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
