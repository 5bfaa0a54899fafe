"""What the operator does with an event, apart from the engine."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from swiftop import names
from swiftop.engine.ports import Key
from swiftop.shell.cluster import Listing
from swiftop.shell.config import Config
from swiftop.shell.controller import Controller, Deaf, key_of
from swiftop.shell.logs import JsonFormatter
from tests.unit.shell.virtual_time import run

Object = dict[str, Any]


def obj(
    kind: names.Resource,
    name: str,
    *,
    version: int = 1,
    labels: dict[str, str] | None = None,
    uid: str = "",
    **more: Any,
) -> Object:
    meta: Object = {
        "namespace": "ns",
        "name": name,
        "uid": uid,
        "resourceVersion": str(version),
        "labels": labels or {},
    }
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, **more}


LABELS = {names.LABEL_KIND: "SFTRun", names.LABEL_NAME: "a"}


def test_a_child_wakes_its_run() -> None:
    key = Key("SFTRun", "ns", "a")
    assert key_of(names.SFTRUN, obj(names.SFTRUN, "a")) == key
    assert key_of(names.POD, obj(names.POD, "a-1-x", labels=LABELS)) == key
    assert key_of(names.POD, obj(names.POD, "alien")) is None
    assert key_of(names.POD, obj(names.POD, "alien", labels={**LABELS, names.LABEL_KIND: "Nonsense"})) is None


def test_only_news_wakes_a_run_and_never_the_echo_of_a_write() -> None:
    async def scenario() -> None:
        controller = Controller(Config())
        job = obj(names.JOB, "a-1", labels=LABELS, version=7)
        controller.wrote("POST", job)
        controller.seen(names.JOB, "ADDED", job)
        assert controller.queue.depth == 0
        controller.seen(names.JOB, "MODIFIED", obj(names.JOB, "a-1", labels=LABELS, version=8))
        assert controller.queue.depth == 1
        controller.seen(names.JOB, "DELETED", obj(names.JOB, "a-1", labels=LABELS, version=9))
        assert controller.store.get(names.JOB, "ns", "a-1") is None

    run(scenario())


def test_health() -> None:
    async def scenario() -> None:
        controller = Controller(Config(resync_seconds=600))
        await asyncio.sleep(100_000)
        assert controller.sickness() == ""  # a standby is well
        await controller.first_resync(Empty())  # type: ignore[arg-type]
        assert controller.sickness() == ""
        await asyncio.sleep(1000)
        assert controller.sickness() == ""
        await asyncio.sleep(1000)
        assert "no resync" in controller.sickness()
        await controller.resync(Empty())  # type: ignore[arg-type]
        controller.queue.add(Key("SFTRun", "ns", "a"))
        await asyncio.sleep(310)
        assert controller.sickness() == "no key was finished for 310 s"

    run(scenario())


class Empty:
    """A cluster without objects."""

    async def pages(self, *_: Any, **__: Any) -> Any:
        for nothing in ():
            yield nothing


class Full:
    """A cluster with these objects, of which discovery lists some kinds only after a while."""

    def __init__(self, *objects: Object, served_at: float = 0.0) -> None:
        self.objects = list(objects)
        self.served_at = served_at

    async def pages(self, kind: names.Resource, namespace: str, *, selector: str) -> Any:
        yield Listing([o for o in self.objects if o["kind"] == kind.kind], 1000)

    async def serves(self, kind: names.Resource) -> bool:
        return kind != names.SFTRUN or asyncio.get_running_loop().time() >= self.served_at


def test_a_busy_operator_is_well() -> None:
    async def scenario() -> None:
        controller = Controller(Config(workers=1, resync_seconds=100_000))
        await controller.first_resync(Empty())  # type: ignore[arg-type]
        for n in range(1000):
            controller.queue.add(Key("SFTRun", "ns", str(n)))

        async def slow(_: Key) -> None:
            await asyncio.sleep(10)

        working = asyncio.create_task(controller.work(slow))
        for _ in range(90):
            await asyncio.sleep(100)
            assert controller.sickness() == ""
        controller.queue.stop()
        await working

    run(scenario())


def test_an_apply_wakes_for_what_others_wrote_before_it() -> None:
    """A Job ends between a look at it and the apply of its deadline: the answer knows, and no event will be news."""

    async def scenario() -> None:
        controller, looks = Controller(Config(workers=1)), []
        ours = [{"manager": names.FIELD_MANAGER}]
        running = obj(names.JOB, "a-1", labels=LABELS, version=7)
        ended = obj(names.JOB, "a-1", labels=LABELS, version=9, status={"succeeded": 1})
        ended["metadata"]["managedFields"] = [*ours, {"manager": "kube-controller-manager"}]

        async def look(key: Key) -> None:
            looks.append((controller.store.get(names.JOB, "ns", "a-1") or {}).get("status"))
            if len(looks) == 1:
                controller.wrote("PATCH", ended)  # the answer to our apply
                controller.seen(names.JOB, "MODIFIED", ended)

        controller.seen(names.JOB, "ADDED", running)
        working = asyncio.create_task(controller.work(look))
        await asyncio.sleep(10)
        assert looks == [None, {"succeeded": 1}]
        claim = obj(names.PVC, "a-output", labels=LABELS, version=11)
        claim["metadata"]["managedFields"] = ours
        controller.wrote("PATCH", claim)  # just made by us: no news
        controller.wrote("PATCH", ended)  # changed nothing
        await asyncio.sleep(10)
        assert len(looks) == 2
        controller.queue.stop()
        await working

    run(scenario())


def test_the_start_waits_until_discovery_lists_all_that_is_watched() -> None:
    async def scenario() -> None:
        await Controller(Config()).until_served(Full(served_at=40))  # type: ignore[arg-type]
        assert 40 <= asyncio.get_running_loop().time() < 42

    run(scenario())


@pytest.mark.parametrize("told", [True, False])
def test_a_watch_that_does_not_tell_ends_the_process(told: bool) -> None:
    async def scenario() -> None:
        controller = Controller(Config(resync_seconds=600))
        run_object = obj(names.SFTRUN, "a", version=5, uid="u")
        cluster: Any = Full(run_object)
        await controller.first_resync(cluster)
        await asyncio.sleep(1)
        assert metric(controller, "swiftop_watch_unheard_seconds 1.0")
        resyncing = asyncio.create_task(controller.keep_resyncing(cluster))
        await asyncio.sleep(5)
        if told:
            controller.seen(names.SFTRUN, None, run_object)
        await asyncio.wait({resyncing}, timeout=10_000)
        if told:
            assert not resyncing.done()
            assert metric(controller, "swiftop_watch_unheard_seconds 0.0")
            resyncing.cancel()
            return
        with pytest.raises(Deaf, match="sftruns"):
            await resyncing
        assert 120 < asyncio.get_running_loop().time() < 300

    run(scenario())


def test_what_is_gone_before_the_watch_could_tell_makes_it_not_deaf() -> None:
    async def scenario() -> None:
        controller = Controller(Config(resync_seconds=600))
        cluster: Any = Full(obj(names.SFTRUN, "a", version=5, uid="u"))
        await controller.first_resync(cluster)
        cluster.objects = []
        resyncing = asyncio.create_task(controller.keep_resyncing(cluster))
        await asyncio.wait({resyncing}, timeout=10_000)
        assert not resyncing.done()
        resyncing.cancel()

    run(scenario())


def metric(controller: Controller, line: str) -> bool:
    return line in controller.metrics.exposition().decode().splitlines()


def test_metrics_tell_runs_errors_and_durations() -> None:
    async def scenario() -> None:
        controller = Controller(Config())
        begun = {"state": "Running", "startTime": "2026-01-01T00:00:00Z"}
        ended = {**begun, "state": "Succeeded", "completionTime": "2026-01-01T01:00:00Z"}
        controller.seen(names.SFTRUN, None, obj(names.SFTRUN, "old", status=ended))  # ended before this process
        controller.seen(names.SFTRUN, None, obj(names.SFTRUN, "a", status=begun))
        controller.seen(names.SFTRUN, None, obj(names.SFTRUN, "new"))
        assert metric(controller, 'swiftop_runs{namespace="ns",state="Running"} 1.0')
        assert metric(controller, 'swiftop_runs{namespace="ns",state="Pending"} 1.0')
        controller.wrote("PATCH", obj(names.SFTRUN, "a", version=2, status=ended))
        controller.seen(names.SFTRUN, "MODIFIED", obj(names.SFTRUN, "a", version=2, status=ended))
        controller.seen(names.SFTRUN, "MODIFIED", obj(names.SFTRUN, "a", version=3, status=ended))
        assert metric(controller, 'swiftop_run_duration_seconds_count{namespace="ns",state="Succeeded"} 1.0')
        assert metric(controller, 'swiftop_run_duration_seconds_sum{namespace="ns",state="Succeeded"} 3600.0')
        assert metric(controller, 'swiftop_runs{namespace="ns",state="Succeeded"} 2.0')
        assert metric(controller, 'swiftop_api_writes_total{kind="SFTRun",verb="PATCH"} 1.0')
        assert metric(controller, "swiftop_queue_depth 3.0")

        async def failing(_: Key) -> None:
            raise ValueError

        asyncio.get_running_loop().call_later(0.5, controller.queue.stop)
        await controller.work(failing)
        assert metric(controller, 'swiftop_reconcile_errors_total{error="ValueError"} 3.0')

    run(scenario())


def test_a_log_line_is_one_line_of_json() -> None:
    record = logging.makeLogRecord({"name": "x", "levelno": logging.ERROR, "levelname": "ERROR", "msg": "两\nlines"})
    try:
        raise RuntimeError("why")
    except RuntimeError as error:
        record.exc_info = (RuntimeError, error, error.__traceback__)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["level"], line["message"]) == ("error", "两\nlines")
    assert "RuntimeError: why" in line["error"]


@pytest.mark.parametrize("level", ["debug", "warning"])
def test_kopf_stays_quiet(level: str) -> None:
    from swiftop.shell import logs

    root, kopf_level = logging.getLogger(), logging.getLogger("kopf").level
    before = (root.level, root.handlers[:])
    logs.set_up(level=level, as_json=True)
    assert logging.getLogger("kopf").level == logging.WARNING
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    logging.getLogger("kopf").setLevel(kopf_level)
