"""What the operator does with an event, apart from the engine."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import pytest

from swiftop import names
from swiftop.errors import Forbidden
from swiftop.kinds.registry import KINDS, WATCHED
from swiftop.model.kind import Key, Kind
from swiftop.shell.cluster import Listing
from swiftop.shell.config import Config
from swiftop.shell.controller import Controller, WatchStalled
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


def test_a_child_queues_its_owner() -> None:
    key_of, key = Controller(Config()).key_of, Key("SFTRun", "ns", "a")
    assert key_of(names.SFTRUN, obj(names.SFTRUN, "a")) == key
    assert key_of(names.POD, obj(names.POD, "a-1-x", labels=LABELS)) == key
    assert key_of(names.POD, obj(names.POD, "alien")) is None


@pytest.mark.parametrize("kind", ["Nonsense", "Pod", "Deployment"])
def test_labels_of_a_kind_that_nobody_owns_queue_nothing(kind: str) -> None:
    """Anybody can write them, and a kind may have been ours in another version."""

    async def scenario() -> None:
        controller = Controller(Config())
        pod = obj(names.POD, "alien", labels={**LABELS, names.LABEL_KIND: kind})
        controller.seen(names.POD, "ADDED", pod)
        controller._add(names.POD, pod)  # as the puller does
        controller.wrote("PATCH", {**pod, "metadata": {**pod["metadata"], "resourceVersion": "2"}})
        await asyncio.sleep(1)
        assert controller.queue.depth == 0

    run(scenario())


@dataclass(frozen=True)
class Other:
    """A second kind."""

    resource: names.Resource
    children: tuple[names.Resource, ...] = ()

    def over(self, status: Mapping[str, Any], /) -> bool:
        return bool(status.get("done"))

    def reports(self, pod: Mapping[str, Any], /) -> bool:
        return bool(pod["metadata"]["name"].endswith("leader"))


EXPORT = cast("Kind", Other(names.Resource(names.API_VERSION, "ModelExport", "modelexports")))


def with_exports() -> Controller:
    return Controller(
        Config(), kinds={**KINDS, "ModelExport": EXPORT}, watched={**WATCHED, EXPORT.resource: "", names.PVC: "x"}
    )


def test_two_kinds_of_one_name_live_side_by_side() -> None:
    async def scenario() -> None:
        controller = with_exports()
        run_key, export_key = (Key(kind, "ns", "a") for kind in ("SFTRun", "ModelExport"))
        controller.seen(names.SFTRUN, None, obj(names.SFTRUN, "a", status={"state": "Running"}))
        controller.seen(EXPORT.resource, None, obj(EXPORT.resource, "a"))
        assert metric(controller, 'swiftop_objects{kind="SFTRun",namespace="ns",state="Running"} 1.0')
        assert metric(controller, 'swiftop_objects{kind="ModelExport",namespace="ns",state="Pending"} 1.0')
        controller.seen(names.JOB, None, obj(names.JOB, "a-1", labels=LABELS))
        controller.seen(names.JOB, None, obj(names.JOB, "a-mexp-1", labels={**LABELS, names.LABEL_KIND: "ModelExport"}))
        children = [
            [job["metadata"]["name"] for job in controller.store.children(names.JOB, key)]
            for key in (run_key, export_key)
        ]
        assert children == [["a-1"], ["a-mexp-1"]]
        keys: list[Key] = []

        async def reconcile(key: Key) -> None:
            keys.append(key)

        asyncio.get_running_loop().call_later(1, controller.queue.stop)
        await controller.work(reconcile)
        assert keys == [run_key, export_key]

    run(scenario())


def test_what_an_object_of_ours_was_made_for_hears_of_it() -> None:
    async def scenario() -> None:
        controller = Controller(Config())
        labels = {names.LABEL_KIND: "ModelDeployment", names.LABEL_NAME: "chat"}
        controller.seen(names.MODELEXPORT, "ADDED", obj(names.MODELEXPORT, "chat-mdep-1", labels=labels))
        stranger = {names.LABEL_KIND: "Stranger", names.LABEL_NAME: "chat"}
        controller.seen(names.MODELEXPORT, "ADDED", obj(names.MODELEXPORT, "b", labels=stranger))
        keys: list[Key] = []

        async def reconcile(key: Key) -> None:
            keys.append(key)

        asyncio.get_running_loop().call_later(1, controller.queue.stop)
        await controller.work(reconcile)
        exports = [Key("ModelExport", "ns", name) for name in ("b", "chat-mdep-1")]
        assert sorted(keys) == [Key("ModelDeployment", "ns", "chat"), *exports]

    run(scenario())


@pytest.mark.parametrize("answer_first", [True, False])
def test_an_object_of_ours_that_we_make_is_worked_on(answer_first: bool) -> None:
    """The answer to our own write often comes before the watch, which then has no news."""

    async def scenario() -> None:
        controller = Controller(Config())
        labels = {names.LABEL_KIND: "ModelDeployment", names.LABEL_NAME: "chat"}
        made = obj(names.MODELEXPORT, "chat-mdep-1", labels=labels)
        for answer in (answer_first, not answer_first):
            if answer:
                controller.wrote("POST", made)
            else:
                controller.seen(names.MODELEXPORT, "ADDED", made)
        keys: list[Key] = []

        async def reconcile(key: Key) -> None:
            keys.append(key)

        asyncio.get_running_loop().call_later(1, controller.queue.stop)
        await controller.work(reconcile)
        assert sorted(keys) == [Key("ModelDeployment", "ns", "chat"), Key("ModelExport", "ns", "chat-mdep-1")]

    run(scenario())


def test_our_own_kinds_are_watched_whole_though_one_is_another_s_child() -> None:
    assert WATCHED[names.MODELEXPORT] == ""
    assert WATCHED[names.DEPLOYMENT] == names.MANAGED_SELECTOR
    assert WATCHED[names.CONFIG_MAP] == f"{names.MANAGED_SELECTOR},{names.LABEL_KIND}"  # the runner has no kind


def owned(made: Object, uid: str) -> Object:
    """With a controller."""
    made["metadata"]["ownerReferences"] = [{"uid": uid, "controller": True}]
    return made


def running_pod(
    name: str, *, kind: str = "SFTRun", uid: str = "run", controller: str = "job", index: str = ""
) -> Object:
    status = {"containerStatuses": [{"name": names.CONTAINER, "state": {"running": {}}}]}
    labels = {**LABELS, names.LABEL_KIND: kind, names.LABEL_UID: uid}
    pod = owned(obj(names.POD, name, uid=name, labels=labels, status=status), controller)
    pod["metadata"]["annotations"] = {"batch.kubernetes.io/job-completion-index": index} if index else {}
    return pod


def asked(controller: Controller) -> list[str]:
    return [pod["metadata"]["name"] for pod in controller._reporting_pods()]


def test_a_pod_is_asked_for_progress_if_its_kind_says_so() -> None:
    async def scenario() -> None:
        controller = with_exports()
        for resource in (names.SFTRUN, EXPORT.resource):
            controller.seen(resource, None, obj(resource, "a", uid="run"))
        controller.seen(names.JOB, None, owned(obj(names.JOB, "a-1", uid="job", labels=LABELS), "run"))
        for pod in (
            running_pod("a-1-0-x"),
            running_pod("a-1-1-x", index="1"),
            running_pod("alien", kind="Pod"),
            running_pod("b-leader", kind="ModelExport", index="1"),
            running_pod("b-other", kind="ModelExport"),
        ):
            controller.seen(names.POD, None, pod)
        assert asked(controller) == ["a-1-0-x", "b-leader"]

    run(scenario())


def test_a_pod_is_asked_only_if_it_belongs_to_a_job_of_an_object_that_there_is() -> None:
    """Labels are written by anybody."""

    async def scenario() -> None:
        controller = Controller(Config())
        strangers = {"uid": "other", "controller": "strange"}
        for pod in (
            running_pod("a-1-x"),
            running_pod("forged-uid", uid="other"),
            running_pod("no-job", controller="none"),
            running_pod("strange-job", controller="strange"),
            running_pod("all-forged", **strangers),
        ):
            controller.seen(names.POD, None, pod)
        assert asked(controller) == []  # no object is known
        controller.seen(names.SFTRUN, None, obj(names.SFTRUN, "a", uid="run"))
        assert asked(controller) == []  # ... and no Job
        controller.seen(names.JOB, None, owned(obj(names.JOB, "a-1", uid="job", labels=LABELS), "run"))
        controller.seen(names.JOB, None, owned(obj(names.JOB, "x-1", uid="strange", labels=LABELS), "other"))
        assert asked(controller) == ["a-1-x"]

    run(scenario())


def test_the_jobs_of_an_object_are_looked_through_once_for_all_of_its_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of both there may be thousands: who may label them may make them."""

    async def scenario() -> None:
        controller = Controller(Config())
        controller.seen(names.SFTRUN, None, obj(names.SFTRUN, "a", uid="run"))
        for n in range(50):
            controller.seen(names.JOB, None, owned(obj(names.JOB, f"a-{n}", uid=f"job-{n}", labels=LABELS), "run"))
            controller.seen(names.POD, None, running_pod(f"a-{n}", controller=f"job-{n}"))
        looks, children = [], controller.store.children

        def counted(*args: Any) -> Any:
            looks.append(args)
            return children(*args)

        monkeypatch.setattr(controller.store, "children", counted)
        assert len(asked(controller)) == 50
        assert len(looks) == 1

    run(scenario())


class Picky(Other):
    """A kind that fails at one of its pods."""

    def reports(self, pod: Mapping[str, Any], /) -> bool:
        return bool(1 // (pod["metadata"]["name"] != "odd"))


def test_a_pod_that_cannot_be_judged_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        controller = Controller(Config(), kinds={"SFTRun": cast("Kind", Picky(names.SFTRUN))})
        controller.seen(names.SFTRUN, None, obj(names.SFTRUN, "a", uid="run"))
        for name in ("a-1-0-x", "odd", "b-1-0-x"):
            controller.seen(names.POD, None, running_pod(name))
        for _ in range(3):
            assert asked(controller) == ["a-1-0-x", "b-1-0-x"]
        assert caplog.text.count("pod ns/odd is not asked") == 1

    run(scenario())


def test_only_news_queues_a_run_and_never_the_echo_of_a_write() -> None:
    async def scenario() -> None:
        controller = Controller(Config())
        job = obj(names.JOB, "a-1", labels=LABELS, version=7)
        controller.wrote("POST", job)
        controller.seen(names.JOB, "ADDED", job)
        assert controller.queue.depth == 0
        for version in (8, 9, 10):
            controller.seen(names.JOB, "MODIFIED", obj(names.JOB, "a-1", labels=LABELS, version=version))
        assert controller.queue.depth == 0  # what happens to a child at once is reconciled once
        await asyncio.sleep(0.3)
        assert controller.queue.depth == 1
        controller.seen(names.JOB, "DELETED", obj(names.JOB, "a-1", labels=LABELS, version=11))
        assert controller.store.get(names.JOB, "ns", "a-1") is None

    run(scenario())


def test_health() -> None:
    async def scenario() -> None:
        controller = Controller(Config(resync_seconds=600))
        await asyncio.sleep(100_000)
        assert controller.unhealthy() == ""  # a standby is healthy
        await controller.first_resync(Empty())  # type: ignore[arg-type]
        assert controller.unhealthy() == ""
        await asyncio.sleep(1000)
        assert controller.unhealthy() == ""
        await asyncio.sleep(1000)
        assert "no resync" in controller.unhealthy()
        await controller.resync(Empty())  # type: ignore[arg-type]
        controller.queue.add(Key("SFTRun", "ns", "a"))
        await asyncio.sleep(310)
        assert controller.unhealthy() == "no key was finished for 310 s"

    run(scenario())


class Empty:
    """A cluster without objects."""

    async def pages(self, *_: Any, **__: Any) -> Any:
        nothing: tuple[Listing, ...] = ()
        for page in nothing:
            yield page


class Full:
    """A cluster with these objects, of which discovery lists some kinds only after a while."""

    def __init__(self, *objects: Object, served_at: float = 0.0) -> None:
        self.objects = list(objects)
        self.served_at = served_at

    async def pages(self, kind: names.Resource, namespace: str, **_: Any) -> Any:
        yield Listing([o for o in self.objects if o["kind"] == kind.kind], 1000)

    async def serves(self, kind: names.Resource) -> bool:
        return kind != names.SFTRUN or asyncio.get_running_loop().time() >= self.served_at


def test_a_leader_that_can_do_nothing_says_so() -> None:
    async def scenario() -> None:
        controller = Controller(Config(workers=1))
        for n, namespace in enumerate(("a", "b")):
            run_of = obj(names.SFTRUN, "x", uid=str(n))
            run_of["metadata"]["namespace"] = namespace
            controller.seen(names.SFTRUN, None, run_of)
        refused = Forbidden("PATCH /status: 403 no")
        for namespace in ["a"] * 40:
            controller._note_end(Key("SFTRun", namespace, "x"), refused)
        assert controller.helpless() == ""  # that may be its own webhook
        for namespace in ["a", "b"] * 20:
            controller._note_end(Key("SFTRun", namespace, "x"), refused)
        assert "PATCH /status: 403 no" in controller.helpless()
        assert controller.unhealthy() == ""  # no restart mends it
        controller._note_end(Key("SFTRun", "b", "x"))
        assert controller.helpless() == ""

    run(scenario())


def test_a_leader_that_cannot_list_says_so() -> None:
    class NoRights:
        error: Exception | None = Forbidden("GET /jobs: 403 no")

        async def pages(self, *_: object, **__: object) -> AsyncIterator[Listing]:
            if self.error:
                raise self.error
            yield Listing([], 1)

    async def scenario() -> None:
        controller, cluster = Controller(Config()), NoRights()
        first = asyncio.create_task(controller.first_resync(cast("Any", cluster)))
        await asyncio.sleep(5)
        assert "cannot list: GET /jobs: 403 no" in controller.helpless()
        cluster.error = None
        await first
        assert controller.helpless() == ""

    run(scenario())


def test_a_busy_operator_is_healthy() -> None:
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
            assert controller.unhealthy() == ""
        controller.queue.stop()
        await working

    run(scenario())


def test_an_apply_queues_for_what_others_wrote_before_it() -> None:
    """A Job ends between a read of it and the apply of its deadline: the answer knows, and no event will be news."""

    async def scenario() -> None:
        controller, reads = Controller(Config(workers=1)), []
        ours = [{"manager": names.FIELD_MANAGER}]
        running = obj(names.JOB, "a-1", labels=LABELS, version=7)
        ended = obj(names.JOB, "a-1", labels=LABELS, version=9, status={"succeeded": 1})
        ended["metadata"]["managedFields"] = [*ours, {"manager": "kube-controller-manager"}]

        async def reconcile(key: Key) -> None:
            reads.append((controller.store.get(names.JOB, "ns", "a-1") or {}).get("status"))
            if len(reads) == 1:
                controller.wrote("PATCH", ended)  # the answer to our apply
                controller.seen(names.JOB, "MODIFIED", ended)

        controller.seen(names.JOB, "ADDED", running)
        working = asyncio.create_task(controller.work(reconcile))
        await asyncio.sleep(10)
        assert reads == [None, {"succeeded": 1}]
        claim = obj(names.PVC, "a-output", labels=LABELS, version=11)
        claim["metadata"]["managedFields"] = ours
        controller.wrote("PATCH", claim)  # just made by us: no news
        controller.wrote("PATCH", ended)  # changed nothing
        await asyncio.sleep(10)
        assert len(reads) == 2
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
        assert metric(controller, "swiftop_watch_stalled_seconds 1.0")
        resyncing = asyncio.create_task(controller.keep_resyncing(cluster))
        await asyncio.sleep(5)
        if told:
            controller.seen(names.SFTRUN, None, run_object)
        await asyncio.wait({resyncing}, timeout=10_000)
        if told:
            assert not resyncing.done()
            assert metric(controller, "swiftop_watch_stalled_seconds 0.0")
            resyncing.cancel()
            return
        with pytest.raises(WatchStalled, match="sftruns"):
            await resyncing
        assert 120 < asyncio.get_running_loop().time() < 300

    run(scenario())


def test_a_watch_with_a_long_first_list_is_not_stalled() -> None:
    async def scenario() -> None:
        controller = Controller(Config(resync_seconds=600))
        newest = obj(names.SFTRUN, "z", version=900, uid="z")
        cluster: Any = Full(newest)
        await controller.first_resync(cluster)
        resyncing = asyncio.create_task(controller.keep_resyncing(cluster))
        for version in range(20):
            await asyncio.sleep(60)
            controller.seen(names.SFTRUN, None, obj(names.SFTRUN, f"a-{version}", version=version + 1, uid="a"))
            assert not resyncing.done()
        controller.seen(names.SFTRUN, None, newest)
        await asyncio.wait({resyncing}, timeout=10_000)
        assert not resyncing.done()
        resyncing.cancel()

    run(scenario())


def test_what_is_gone_before_the_watch_could_tell_makes_no_watch_a_stalled_one() -> None:
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


@pytest.mark.parametrize("cut_short", [False, True])
def test_repeated_failures_are_reported_and_the_report_may_fail_or_hang(
    cut_short: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        controller = Controller(Config(workers=1))
        reported: list[tuple[str, str, int]] = []

        async def failing(_: Key) -> None:
            raise ValueError

        async def report(key: Key, error: Exception, failures: int) -> None:
            reported.append((key.name, type(error).__name__, failures))
            if cut_short:
                await asyncio.Event().wait()
            raise KeyError(key.name)

        controller.queue.add(Key("SFTRun", "ns", "a"))
        asyncio.get_running_loop().call_later(100, controller.queue.stop)
        await controller.work(failing, report)
        assert reported[:3] == [("a", "ValueError", n) for n in (1, 2, 3)]

    run(scenario())


def metric(controller: Controller, line: str) -> bool:
    controller.metrics._exposed = (float("-inf"), b"")
    return line in controller.metrics.exposition().decode().splitlines()


def test_metrics_tell_runs_errors_and_durations() -> None:
    async def scenario() -> None:
        controller = Controller(Config())
        begun = {"state": "Running", "startTime": "2026-01-01T00:00:00Z"}
        ended = {**begun, "state": "Succeeded", "completionTime": "2026-01-01T01:00:00Z"}
        controller.seen(names.SFTRUN, None, obj(names.SFTRUN, "old", status=ended))  # ended before this process
        controller.seen(names.SFTRUN, None, obj(names.SFTRUN, "a", status=begun))
        controller.seen(names.SFTRUN, None, obj(names.SFTRUN, "new"))
        assert metric(controller, 'swiftop_objects{kind="SFTRun",namespace="ns",state="Running"} 1.0')
        assert metric(controller, 'swiftop_objects{kind="SFTRun",namespace="ns",state="Pending"} 1.0')
        controller.wrote("PATCH", obj(names.SFTRUN, "a", version=2, status=ended))
        controller.seen(names.SFTRUN, "MODIFIED", obj(names.SFTRUN, "a", version=2, status=ended))
        controller.seen(names.SFTRUN, "MODIFIED", obj(names.SFTRUN, "a", version=3, status=ended))
        assert metric(
            controller, 'swiftop_object_duration_seconds_count{kind="SFTRun",namespace="ns",state="Succeeded"} 1.0'
        )
        assert metric(
            controller, 'swiftop_object_duration_seconds_sum{kind="SFTRun",namespace="ns",state="Succeeded"} 3600.0'
        )
        assert metric(controller, 'swiftop_objects{kind="SFTRun",namespace="ns",state="Succeeded"} 2.0')
        assert metric(controller, 'swiftop_api_writes_total{kind="SFTRun",verb="PATCH"} 1.0')
        assert metric(controller, "swiftop_queue_depth 3.0")

        async def failing(_: Key) -> None:
            raise ValueError

        asyncio.get_running_loop().call_later(0.5, controller.queue.stop)
        await controller.work(failing)
        assert metric(controller, 'swiftop_reconcile_errors_total{error="ValueError",kind="SFTRun"} 3.0')

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
