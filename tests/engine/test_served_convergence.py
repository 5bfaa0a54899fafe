"""What serves ends up the same whatever is lost, late, told twice or refused on the way.

A script of what people and Kubernetes do is played with random disturbances between its steps: watch events that come
late, twice or out of order, restarts, a second operator, calls that fail before or after they took effect. In the end
children and status are those of the undisturbed play.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from swiftop import names
from swiftop.errors import Conflict, Forbidden, SwiftopError, Transient
from tests.engine.fakecluster import Fault, with_digest
from tests.engine.harness import Harness
from tests.engine.kubernetes import NAMESPACE
from tests.engine.served import DONE, OF_EXPORT, Served, export_of, run_of, served
from tests.engine.test_convergence import finish

Step = tuple[Callable[[Served], bool], Callable[[Served], object]]  # when it can be taken, and what is done


def _is_made(harness: Served) -> bool:
    """Whether the Deployment is there, as the spec asks for now."""
    found = (names.DEPLOYMENT.kind, NAMESPACE, "chat-mdep") in harness.cluster.objects
    return found and harness.plan["command"][-2:] == list(_last_words(harness))


def _last_words(harness: Served) -> tuple[str, str]:
    system = harness.run["spec"].get("system")
    return ("--system", system) if system else ("--max_batch_size", "1")


def _always(_harness: Served) -> bool:
    return True


def _edit(**spec: Any) -> Callable[[Served], object]:
    return lambda h: h.cluster.put({**h.run, "spec": {**h.run["spec"], **spec}})


STEPS: tuple[Step, ...] = (
    (_always, lambda h: h.cluster.put(export_of(status={}))),
    (_always, lambda h: h.cluster.put(export_of())),
    (_is_made, lambda h: h.replicas.start()),
    (_always, _edit(replicas=2)),
    (_always, _edit(system="Be brief.")),
    (_is_made, lambda h: h.replicas.start()),
    (_always, lambda h: h.cluster.remove(names.MODELEXPORT, NAMESPACE, "merged")),
    (_always, _edit(replicas=1)),
)


def _merges(harness: Served) -> list[Any]:
    """Exports that have not ended."""
    return [export for export in harness.cluster.of_kind(names.MODELEXPORT) if not export.get("status")]


def _merge(harness: Served) -> None:
    """They end; where the result lies is told by the checkpoint."""
    for export in _merges(harness):
        path = f"merged-{export['spec']['source']['sftRunRef']['checkpoint']}/model"
        status = {"conditions": DONE, "artifact": {"claimName": "tiny-output", "path": path}}
        harness.cluster.put({**export, "status": status})


def _serves(path: str) -> Callable[[Served], bool]:
    def ready(harness: Served) -> bool:
        found = (names.DEPLOYMENT.kind, NAMESPACE, "chat-mdep") in harness.cluster.objects
        return found and path in str(harness.plan["settings"]["model"])

    return ready


MERGED = {"model": {"sftRunRef": {"name": "tiny"}}}
MERGING: tuple[Step, ...] = (
    (_always, lambda h: h.cluster.put(run_of(conditions=[{**DONE[0], "status": "Unknown"}]))),
    (_always, lambda h: h.cluster.put(run_of())),
    (lambda h: bool(_merges(h)), _merge),
    (_serves("merged-20"), lambda h: h.replicas.start()),
    (_always, lambda h: h.cluster.put(run_of(checkpoint={"step": 40}))),
    (lambda h: bool(_merges(h)), _merge),
    (_serves("merged-40"), lambda h: h.replicas.start()),
    (_always, lambda h: h.cluster.remove(names.SFTRUN, NAMESPACE, "tiny")),
)
RANKED = {"engine": "vllm", "server": "Native", "adapters": [{"name": "tuned", "sftRunRef": {"name": "tiny"}}]}
_OTHER = {"name": "other", "persistentVolumeClaim": {"claimName": "tiny-output", "path": "other"}}


def _follows(what: str) -> Callable[[Served], bool]:
    """Whether the newest pods are told of it."""

    def told(harness: Served) -> bool:
        found = harness.cluster.objects.get((names.CONFIG_MAP.kind, NAMESPACE, "chat-mdep-adapters"), {})
        return any(what in text for text in found.get("data", {}).values())

    return told


def _knows(what: str) -> Callable[[Served], bool]:
    """Whether the status tells of it."""
    return lambda harness: what in json.dumps(harness.run.get("status", {}).get("resolved"))


FOLLOWING: tuple[Step, ...] = (
    (_always, lambda h: h.cluster.put(run_of())),
    (_follows("checkpoint-20"), lambda h: h.replicas.start()),
    (_always, lambda h: h.cluster.put(run_of(checkpoint={"step": 40}))),
    (_knows("checkpoint-40"), lambda h: h.cluster.remove(names.SFTRUN, NAMESPACE, "tiny")),
    (_always, _edit(system="Be brief.", adapters=[*RANKED["adapters"], _OTHER])),
    (_follows("other"), lambda h: h.replicas.start()),
    (_always, lambda h: h.cluster.remove(names.CONFIG_MAP, NAMESPACE, "chat-mdep-adapters")),
)
_ERRORS: tuple[SwiftopError, ...] = (Transient("500"), Conflict("409"), Forbidden("PATCH /x: 403 exceeded quota"))
_between = st.lists(
    st.one_of(
        st.sampled_from(["look", "look", "deliver all", "restart", "resync", "other operator"]),
        st.tuples(st.just("deliver one"), st.integers(0, 200)),
        st.tuples(st.just("fault"), st.builds(Fault, st.sampled_from(_ERRORS), st.booleans())),
    ),
    max_size=4,
)


class Play:
    """One play of the script."""

    def __init__(self, steps: tuple[Step, ...] = STEPS, **spec: Any) -> None:
        self.harness = Served()
        self.steps = steps
        self.faults: list[Fault] = []
        self.harness.cluster.fault = self._fault
        self.harness.cluster.put(served(**(spec or OF_EXPORT)))

    def _fault(self, verb: str, kind: str) -> Fault | None:
        return self.faults.pop() if self.faults and verb != "get" else None

    async def act(self, action: Any) -> None:
        harness = self.harness
        if action == "look":
            await self.look()
        elif action == "deliver all":
            harness.deliver()
        elif action == "restart":
            harness.restart()
        elif action == "resync":
            harness.resync()
        elif action == "other operator":
            other = Harness(harness.cluster)
            other.readings = harness.readings
            with suppress(SwiftopError):
                await other.engine.reconcile(harness.key)
            harness.cluster.wrote = lambda _verb, obj: harness._note("MODIFIED", obj)
        elif action[0] == "fault":
            self.faults.append(action[1])
        elif harness.cluster.log:
            event, obj = harness.cluster.log[action[1] % len(harness.cluster.log)]
            harness._note(event, obj)
        self.check()

    async def look(self) -> None:
        with suppress(SwiftopError):
            await self.harness.engine.reconcile(self.harness.key)

    def check(self) -> None:
        """What holds at every moment."""
        assert not self.harness.run["metadata"].keys() & {"labels", "annotations", "finalizers"}
        owner = self.harness.run["metadata"]["uid"]
        for kind in (names.SERVICE, names.PDB, names.DEPLOYMENT):
            for child in self.harness.cluster.of_kind(kind):
                assert [reference["uid"] for reference in child["metadata"]["ownerReferences"]] == [owner]

    async def to_the_end(self, between: list[list[Any]]) -> Any:
        for (ready, step), actions in zip(self.steps, between, strict=True):
            for number in range(50):
                if ready(self.harness):
                    break
                if number == 40:
                    self.harness.resync()
                self.harness.deliver()
                await self.look()
            assert ready(self.harness)
            step(self.harness)
            for action in actions:
                await self.act(action)
        self.faults.clear()
        self.harness.resync()
        await self.harness.settle()
        self.harness.replicas.start()
        await self.harness.settle()
        self.check()
        return self.outcome()

    def outcome(self) -> Any:
        kept = []
        for (kind, _, name), obj in sorted(self.harness.cluster.objects.items()):
            if kind == names.POD.kind:
                continue  # how many there were on the way depends on when what was told
            content = {k: v for k, v in with_digest(obj).items() if k != "metadata"}
            kept.append((kind, name, obj["metadata"].get("labels"), obj["metadata"].get("annotations"), content))
        text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", json.dumps(kept, sort_keys=True))
        text = re.sub(r"[0-9a-f]{8}-0000-4000-8000-0{12}", "UID", text)
        text = re.sub(r"chat-mdep-[0-9a-f]{8}", "chat-mdep-DIGEST", text)
        # Digests of what has UIDs in it, and generations of what was written more or less often.
        text = re.sub(r'"observedGeneration": \d+', '"observedGeneration": 0', text)
        return json.loads(re.sub(r"(?<![0-9a-f])[0-9a-f]{10}(?![0-9a-f])", "REVISION", text))


async def test_any_disturbance_converges_to_the_undisturbed_end() -> None:
    expected = await Play().to_the_end([["deliver all", "look", "look"] for _ in STEPS])
    children = {kind: content for kind, _, _, _, content in expected}
    assert children["ModelDeployment"]["status"]["state"] == "Ready"
    assert "PodDisruptionBudget" not in children  # of two replicas, while there were two

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(between=st.lists(_between, min_size=len(STEPS), max_size=len(STEPS)))
    def disturbed(between: list[list[Any]]) -> None:
        finish(_compared(between, expected))

    disturbed()


async def test_so_does_one_that_has_its_model_merged() -> None:
    expected = await Play(MERGING, **MERGED).to_the_end([["deliver all", "look", "look"] for _ in MERGING])
    kinds = [kind for kind, *_ in expected]
    assert kinds.count("ModelExport") == 1  # that of the older checkpoint has gone

    late = Fault(Transient("500"), late=True)  # it took effect, which nobody heard of

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(between=st.lists(_between, min_size=len(MERGING), max_size=len(MERGING)))
    @example(between=[[], [], [], [], [], [("fault", late)], [], ["look"]])
    def disturbed(between: list[list[Any]]) -> None:
        finish(_compared(between, expected, MERGING, **MERGED))

    disturbed()


async def test_so_do_pods_that_follow_their_adapters() -> None:
    expected = await Play(FOLLOWING, **RANKED).to_the_end([["deliver all", "look", "look"] for _ in FOLLOWING])
    (told,) = [content for kind, name, _, _, content in expected if name == "chat-mdep-adapters"]
    assert len(told["data"]) == 1
    late = Fault(Transient("500"), late=True)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(between=st.lists(_between, min_size=len(FOLLOWING), max_size=len(FOLLOWING)))
    @example(between=[[], ["look", "look", "look", ("fault", late)], ["resync", "look", "look"], [], ["look"], [], []])
    def disturbed(between: list[list[Any]]) -> None:
        finish(_compared(between, expected, FOLLOWING, **RANKED))

    disturbed()


async def _compared(between: list[list[Any]], expected: Any, steps: tuple[Step, ...] = STEPS, **spec: Any) -> None:
    assert await Play(steps, **spec).to_the_end(between) == expected
