"""Whatever order, loss or duplication of events and whichever faults: the same objects and the same verdict in the end.

A script says what Kubernetes and the user do to one run. Between its steps hypothesis delivers watch events late, out
of order or twice, drops them, restarts the operator, lets a second one act, and lets API calls fail before or after
they took effect. At the end faults stop and one resync comes, as it does in life.
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swiftop import names
from swiftop.batch.status import OVERTAKEN
from swiftop.errors import Conflict, Forbidden, SwiftopError, Transient
from swiftop.model.conditions import by_type
from tests.engine.fakecluster import Fault, Object, with_digest
from tests.engine.harness import Harness
from tests.engine.kubernetes import sftrun, termination

CANARY = "canary-7f3a9c"
Step = Callable[[Harness], None]


def _finished(h: Harness) -> None:
    progress = {"phase": 4, "step": 9, "maxSteps": 9, "checkpointStep": 9}
    h.kubernetes.end(message=termination("finished", "MaxSteps", progress=progress))


def _suspend(h: Harness) -> None:
    h.cluster.put({**h.run, "spec": {**h.run["spec"], "suspend": True}})


def _go_on(h: Harness) -> None:
    h.cluster.put({**h.run, "spec": {**h.run["spec"], "suspend": False}})


def _second_attempt(h: Harness) -> None:
    h.kubernetes.attempt(2)


def _end_deletion(h: Harness) -> None:
    h.kubernetes.end_deletion(message=termination("interrupted", "Interrupted"))


_WITHOUT_JOB = (_suspend, _go_on, _second_attempt)


def _ready(h: Harness, step: Step) -> bool:
    """Whether Kubernetes, or the user, can take this step now."""
    if step is _end_deletion:
        return h.kubernetes.has_job() and "deletionTimestamp" in h.kubernetes.job["metadata"]
    return step in _WITHOUT_JOB or h.kubernetes.has_job()


def _progress(step: int) -> Step:
    return lambda h: h.say(phase=1, step=step, maxSteps=9)


@dataclass(frozen=True)
class Script:
    """What happens to one run; the first step needs its Job."""

    name: str
    steps: tuple[Step, ...]
    succeeded: tuple[str, str]
    spec: tuple[tuple[str, Any], ...] = ()


_TO_RUNNING: tuple[Step, ...] = (
    lambda h: h.kubernetes.take_up(),
    lambda h: h.kubernetes.create_pod(),
    lambda h: h.kubernetes.refuse_to_place(),
    lambda h: h.kubernetes.place(),
    lambda h: h.kubernetes.run(),
    _progress(1),
)
SCRIPTS = (
    Script("finishes", (*_TO_RUNNING, _finished, lambda h: h.kubernetes.complete_job()), ("True", "MaxSteps")),
    Script(
        "fails",
        (
            *_TO_RUNNING,
            lambda h: h.kubernetes.end(exit_code=5, message=termination("failed", "CUDAOutOfMemory")),
            lambda h: h.kubernetes.fail_job(),
        ),
        ("False", "CUDAOutOfMemory"),
    ),
    Script(
        "finishes after an eviction",
        (
            *_TO_RUNNING,
            lambda h: h.kubernetes.disrupt(),
            lambda h: h.kubernetes.end(exit_code=75, message=termination("interrupted", "Interrupted")),
            lambda h: h.kubernetes.create_pod(),
            lambda h: h.kubernetes.place(),
            lambda h: h.kubernetes.run(),
            _progress(5),
            _finished,
            lambda h: h.kubernetes.complete_job(),
        ),
        ("True", "MaxSteps"),
        (("output", {"volume": {"size": "1Gi"}}), ("tracking", {"swanlab": {"project": "p"}})),
    ),
    Script(
        "runs out of memory",
        (
            *_TO_RUNNING,
            lambda h: h.kubernetes.end(exit_code=137, reason="OOMKilled"),
            lambda h: h.kubernetes.fail_job(),
        ),
        ("False", "HostOutOfMemory"),
    ),
    Script("is still running", _TO_RUNNING, ("Unknown", "Running")),
    Script(
        "is tried again",
        (
            *_TO_RUNNING,
            lambda h: h.kubernetes.end(exit_code=7, message=termination("failed", "HubUnreachable")),
            lambda h: h.kubernetes.fail_job(),
            _second_attempt,
            *_TO_RUNNING,
            _finished,
            lambda h: h.kubernetes.complete_job(),
        ),
        ("True", "MaxSteps"),
    ),
    Script(
        "is suspended and goes on",
        (
            *_TO_RUNNING,
            _suspend,
            _end_deletion,
            _go_on,
            _second_attempt,
            *_TO_RUNNING,
            _finished,
            lambda h: h.kubernetes.complete_job(),
        ),
        ("True", "MaxSteps"),
    ),
)

_ERRORS: tuple[SwiftopError, ...] = (Transient("500"), Conflict("409"), Forbidden("POST /x: 403 exceeded quota"))
_faults = st.builds(Fault, st.sampled_from(_ERRORS), st.booleans())
_between = st.lists(
    st.one_of(
        st.just("look"),
        st.just("look"),
        st.just("deliver all"),
        st.just("restart"),
        st.just("children unseen"),
        st.just("other operator"),
        st.tuples(st.just("deliver one"), st.integers(0, 30)),
        st.tuples(st.just("fault"), _faults),
    ),
    max_size=6,
)


class Chaos:
    """A harness whose events and calls go wrong as they are told to."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.harness = Harness()
        self.harness.cluster.put({**_secret()})
        self.faults: list[Fault] = []
        self.harness.cluster.fault = lambda _verb, _kind: self.faults.pop() if self.faults else None
        self.spec = copy.deepcopy(self.harness.apply(**dict(script.spec))["spec"])
        self.unlisted = False  # whether the store has yet to hear of the children
        self.jobs_seen: set[tuple[str, str]] = set()

    async def act(self, action: Any) -> None:
        harness = self.harness
        if action == "look":
            await self._look()
        elif action == "deliver all":
            harness.deliver()
        elif action == "restart":
            harness.restart()
            self.unlisted = False
        elif action == "children unseen":
            harness.restart((names.SFTRUN,))  # its LIST of runs is newer than that of Jobs
            self.unlisted = True
        elif action == "other operator":
            # Knows only what a LIST told it, and acts on it although it does not lead (any more).
            other = Harness(harness.cluster)
            other.readings = harness.readings
            harness.cluster.wrote = lambda _verb, obj: harness._note("MODIFIED", obj)
            harness.deliver()
            await self._look()
        elif action[0] == "fault":
            self.faults.append(action[1])
        elif action[0] == "deliver one" and harness.cluster.log:
            # Any event, long past or not yet delivered: late, twice, out of order; the others may never come.
            event, obj = harness.cluster.log[action[1] % len(harness.cluster.log)]
            if not self.unlisted:
                harness._note(event, obj)
            elif not harness.cluster.is_gone(obj):  # a watch begins with its LIST: what is told first is what is there
                meta = obj["metadata"]
                now = harness.cluster.objects[obj["kind"], meta["namespace"], meta["name"]]
                harness._note("ADDED", copy.deepcopy(now))
        self.check()

    async def _look(self) -> None:
        with suppress(SwiftopError):  # the queue tries again after any error
            await self.harness.engine.reconcile(self.harness.key)  # on whatever the store knows

    def check(self) -> None:
        """What must hold at every moment."""
        for job in self.harness.cluster.of_kind(names.JOB):
            self.jobs_seen.add((job["metadata"]["name"], job["metadata"]["uid"]))
        assert len(self.jobs_seen) == len({name for name, _ in self.jobs_seen})  # one Job an attempt
        assert self.harness.run["spec"] == self.spec
        assert not self.harness.run["metadata"].keys() & {"labels", "annotations", "finalizers"}
        shown = json.dumps([with_digest(o) for o in self.harness.cluster.objects.values() if o["kind"] != "Secret"])
        assert CANARY not in shown + json.dumps(self.harness.cluster.posted)

    async def run_to_the_end(self, between: list[list[Any]]) -> None:
        for step, actions in zip(self.script.steps, between, strict=True):
            await self.until_ready(step)
            step(self.harness)
            self.spec = copy.deepcopy(self.harness.run["spec"])
            self.harness.cluster.now += 7
            for action in actions:
                await self.act(action)
        self.faults.clear()
        self.harness.resync()
        self.harness.cluster.now += 60
        await self.harness.settle()
        self.check()

    async def until_ready(self, step: Step) -> None:
        for number in range(50):
            if _ready(self.harness, step):
                return
            if number == 40:
                self.harness.resync()
            self.harness.deliver()
            await self._look()
            self.harness.cluster.now += 1
        raise AssertionError("the operator does not get to where the next step can be taken")


def _secret() -> Object:
    meta = {"name": "swiftop-credentials", "namespace": "team"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"SWANLAB_API_KEY": CANARY}}


def outcome(chaos: Chaos) -> Any:
    """All that the run left, without what depends on when and how often things were tried."""
    kept = []
    for (kind, _, name), obj in sorted(chaos.harness.cluster.objects.items()):
        content = {k: v for k, v in with_digest(obj).items() if k != "metadata"}
        meta = {k: obj["metadata"].get(k) for k in ("labels", "generation")}
        if kind == "SFTRun":
            # An interruption that nobody saw is told by the next pod's record, which is not played here.
            content["status"] = {k: v for k, v in content["status"].items() if k != "interruptions"}
        kept.append((kind, name, meta, content))
    text = json.dumps(kept, sort_keys=True)
    text = re.sub(r"[0-9a-f]{8}(-0000-4000-8000-0{12})?", "UID", text)  # UIDs, and their first part in paths
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)
    return json.loads(re.sub(r'"gpuSeconds": \d+', '"gpuSeconds": 0', text))


async def undisturbed(script: Script) -> Chaos:
    chaos = Chaos(script)
    await chaos.run_to_the_end([["deliver all", "look"] for _ in script.steps])
    return chaos


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
async def test_any_disturbance_converges_to_the_undisturbed_end(script: Script) -> None:
    chaos = await undisturbed(script)
    assert chaos.harness.condition("Succeeded") == script.succeeded
    expected = outcome(chaos)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(between=st.lists(_between, min_size=len(script.steps), max_size=len(script.steps)))
    def disturbed(between: list[list[Any]]) -> None:
        chaos = Chaos(script)
        finish(chaos.run_to_the_end(between))
        assert outcome(chaos) == expected

    disturbed()


def finish(work: Any) -> None:
    """Run a coroutine to its end from within one, on a loop of its own."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result(timeout=60)


async def test_two_operators_at_once_make_one_job() -> None:
    harness = Harness()
    harness.apply()
    other = Harness(harness.cluster)
    await other.engine.reconcile(other.key)
    await harness.engine.reconcile(harness.key)  # its store has seen neither the Job nor the status
    assert len(list(harness.cluster.of_kind(names.JOB))) == 1
    assert harness.condition("Succeeded") == ("Unknown", "JobCreated")


async def test_a_job_that_the_store_has_not_seen_is_not_taken_for_deleted() -> None:
    harness = Harness()
    harness.apply()
    await harness.settle()
    harness.restart((names.SFTRUN,))
    await harness.engine.reconcile(harness.key)
    assert harness.condition("Succeeded") == ("Unknown", "JobCreated")


async def test_a_lost_answer_to_the_start_starts_nothing_twice() -> None:
    harness = Harness()
    harness.apply()
    late = [Fault(Transient("timeout"), late=True)]
    harness.cluster.fault = lambda verb, kind: late.pop() if late and (verb, kind) == ("create", "Job") else None
    with pytest.raises(Transient):
        await harness.look()
    harness.restart()
    await harness.settle()
    assert len(list(harness.cluster.of_kind(names.JOB))) == 1
    assert harness.status["attempts"] == 1
    assert "swift.cli.sft" in harness.status["resolved"]["command"]


async def test_a_spec_that_changes_while_the_start_is_under_way_is_read_again() -> None:
    harness = Harness()
    harness.apply(resources={"gpus": 1})
    harness.deliver()
    harness.cluster.put({**sftrun(), "spec": {**sftrun()["spec"], "resources": {"gpus": 2}}})  # not delivered yet
    await harness.engine.reconcile(harness.key)
    container = harness.kubernetes.job["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert harness.status["observedGeneration"] == 2


async def test_a_spec_edited_while_the_run_waits_is_what_it_starts_with() -> None:
    harness = Harness()
    run = harness.apply(resources={"gpus": 1})
    harness.deliver()

    def edit(verb: str, kind: str) -> None:
        if (verb, kind) == ("create", "Job"):
            harness.cluster.fault = lambda _verb, _kind: None
            harness.cluster.put({**run, "spec": {**run["spec"], "resources": {"gpus": 2}}})

    harness.cluster.fault = edit
    with pytest.raises(Conflict):  # the status is not written over an edit that was not seen
        await harness.engine.reconcile(harness.key)
    await harness.settle()
    container = harness.kubernetes.job["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert harness.status["attempts"] == 1
    assert by_type(harness.status)["Validated"]["message"] == ""


async def test_a_spec_edited_in_the_moment_of_the_start_is_told_of_and_changes_nothing() -> None:
    harness = Harness()
    run = harness.apply(resources={"gpus": 1})
    await harness.settle()
    harness.kubernetes.take_up()
    harness.kubernetes.create_pod()
    harness.kubernetes.place()
    harness.kubernetes.run()
    harness.cluster.put({**run, "spec": {**run["spec"], "resources": {"gpus": 2}}})
    await harness.settle()
    container = harness.kubernetes.job["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert harness.status["observedGeneration"] == 2
    assert by_type(harness.status)["Validated"]["message"] == OVERTAKEN
    harness.restart()
    harness.say(phase=1, step=1, maxSteps=9)
    await harness.settle()
    assert by_type(harness.status)["Validated"]["message"] == OVERTAKEN


async def test_a_lifecycle_changed_after_the_start_is_no_overtaken_edit() -> None:
    harness = Harness()
    run = harness.apply()
    await harness.settle()
    harness.cluster.put({**run, "spec": {**run["spec"], "lifecycle": {"activeDeadlineSeconds": 600}}})
    await harness.settle()
    assert harness.status["observedGeneration"] == 2
    assert by_type(harness.status)["Validated"]["message"] == ""


async def test_a_job_found_over_at_its_start_is_judged_by_its_pods() -> None:
    harness = Harness()
    harness.apply()
    lost = [Fault(Transient("500"))]
    harness.cluster.fault = lambda verb, _kind: lost.pop() if lost and verb == "patch_status" else None
    with pytest.raises(Transient):
        await harness.look()
    harness.kubernetes.take_up()
    harness.kubernetes.create_pod()
    harness.kubernetes.place()
    harness.kubernetes.run()
    harness.kubernetes.end(exit_code=5, message=termination("failed", "CUDAOutOfMemory"))
    harness.kubernetes.fail_job()
    harness.restart((names.SFTRUN,))  # its LIST of runs came before that of Jobs and pods
    assert await harness.engine.reconcile(harness.key) == 1.0  # no watch will tell of what is past
    await harness.engine.reconcile(harness.key)
    assert harness.condition("Succeeded") == ("False", "CUDAOutOfMemory")
    assert harness.status["failure"]["message"] == "it ended with CUDAOutOfMemory"
