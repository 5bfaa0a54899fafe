"""What a run lives through besides training: suspended, retried, given up, with other containers in its pod.

All runs are applied at once and looked at until they have ended; each is acted on when it has come so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e import objects
from tests.e2e.objects import SLOW, SPARE, hardened, sftrun, slow, training
from tests.e2e.site import NAMESPACE, Site, condition, sha256
from tests.e2e.support import Object, eventually

STEPS = 20  # more than pass between two looks of the operator
LATE = "late"  # the run, the SwanLab server that it waits for, and the Secret with its key
LATE_KEY = "key-of-the-late-server"
LATE_HOST = f"http://{LATE}.{NAMESPACE}.svc:8000"
EVICTIONS = 3
ENDLESS = "trap 'exit 0' TERM; sleep infinity & wait"
UNPREPARED = "echo no route to the bucket > /dev/termination-log; exit 3"

Act = Callable[[Site, Object], bool]


def suspended(site: Site, run: Object) -> bool:
    """Suspend a run that trains. Nothing is saved by then: saveSteps is beyond its end."""
    if run["status"].get("progress", {}).get("step", 0) < 1:
        return False
    site.patch(run["metadata"]["name"], suspend=True)
    return True


def resumed(site: Site, run: Object) -> bool:
    """Go on with it once it is suspended, and nothing is left that holds a GPU."""
    if condition(run, "Suspended").get("reason") != "Suspended":
        return False
    name = run["metadata"]["name"]
    assert site.pods(name) == []
    assert site.kubectl.items("jobs", f"swiftop.dev/name={name}") == []
    site.patch(name, suspend=False)
    return True


def evicted(site: Site, run: Object) -> bool:
    """Evict a pod as soon as its runner listens, long before the first step."""
    pods = [pod for pod in site.pods(run["metadata"]["name"]) if "deletionTimestamp" not in pod["metadata"]]
    started = [pod for pod in pods if pod["status"]["phase"] == "Running"]
    if not started or not site.kubectl.text("logs", started[0]["metadata"]["name"]):
        return False
    site.evict(started[0])
    return True


def opened(site: Site, run: Object) -> bool:
    """Start the server once the first attempt has failed for want of it."""
    if condition(run, "Succeeded").get("reason") != "TrackerUnreachable":
        return False
    site.kubectl.create(*site.server(LATE, "swanlab", "--key-sha256", sha256(LATE_KEY)))
    return True


def with_pod(name: str, *, cpu: str = objects.CORE, **pod: Any) -> Object:
    """Short run with an addition to its pod."""
    return sftrun(name, cpu=cpu, training=training(2), runtime={"podPatch": {"spec": pod}})


def runs(site: Site) -> dict[str, tuple[Object, list[Act]]]:
    """Each run, and what is done to it one after the other."""
    swanlab = {"project": "late", "host": LATE_HOST, "workspace": "alice"}
    shipper = hardened("shipper", image=site.trainer, script=ENDLESS)
    prepare = hardened("prepare", image=site.trainer, script=UNPREPARED)
    found: list[tuple[Object, list[Act]]] = [
        (
            slow(
                "paused",
                steps=STEPS,
                checkpoints={"saveSteps": 1000},
                lifecycle={"ttlSecondsAfterFinished": 1},
            ),
            [suspended, resumed],
        ),
        (slow("given-up"), [evicted] * EVICTIONS),
        (
            sftrun(
                LATE,
                training=training(2),
                tracking={"swanlab": swanlab},
                credentials={"secretName": LATE},
            ),
            [opened],
        ),
        (with_pod("accompanied", containers=[shipper]), []),
        (with_pod("unprepared", cpu=SPARE, initContainers=[prepare]), []),
        (sftrun("too-late", gpus=64, cpu=SPARE, lifecycle={"pendingDeadlineSeconds": 4}), []),
    ]
    return {run["metadata"]["name"]: (run, acts) for run, acts in found}


@pytest.fixture(scope="module")
def lived(site: Site) -> Iterator[dict[str, list[Object]]]:
    """Every state in which each run was seen, oldest first, from its start to its end."""
    applied = runs(site)
    history: dict[str, list[Object]] = {name: [] for name in applied}
    acts = {name: list(acts) for name, (_, acts) in applied.items()}
    site.kubectl.apply(
        objects.config_map("slow", {"slow.py": SLOW}),
        objects.secret(LATE, {"SWANLAB_API_KEY": LATE_KEY}),
        *(run for run, _ in applied.values()),
    )

    def over() -> bool:
        now = {run["metadata"]["name"]: run for run in site.kubectl.items("sftruns")}
        for name, states in history.items():
            run = now[name]
            if "status" not in run:
                continue
            if run not in states[-1:]:
                states.append(run)
            if acts[name] and acts[name][0](site, run):
                del acts[name][0]
        return all(condition(now[name], "Succeeded").get("status") in ("True", "False") for name in history)

    eventually(over, what="all runs end", seconds=300, explain=lambda: "\n".join(map(site.story, history)))
    yield history
    site.remove(*history)
    for kind in ("pod", "service", "secret"):
        site.kubectl.delete(kind, LATE)


def end_of(lived: dict[str, list[Object]], name: str, site: Site, *, reason: str, status: str = "True") -> Object:
    """Status of a run that has ended as it should."""
    run = lived[name][-1]
    summary = condition(run, "Succeeded")
    assert (summary["status"], summary["reason"]) == (status, reason), site.story(name)
    found: Object = run["status"]
    return found


def job_is_deleted(site: Site, name: str) -> None:
    """Whoever deletes it: the operator, or Kubernetes after the time to live."""
    eventually(
        lambda: not site.kubectl.items("jobs", f"swiftop.dev/name={name}") and not site.pods(name),
        what=f"the Job of {name} is gone",
        seconds=60,
        explain=lambda: site.story(name),
    )


@pytest.mark.cluster
def test_a_suspended_training_is_saved_and_goes_on_in_a_new_attempt(lived: dict[str, list[Object]], site: Site) -> None:
    """SIGTERM saved what no saveSteps did; the Job is gone meanwhile, and no step is trained twice."""
    status = end_of(lived, "paused", site, reason="MaxSteps")
    still = next(run for run in lived["paused"] if condition(run, "Suspended").get("reason") == "Suspended")
    assert (still["status"]["state"], still["status"]["attempts"]) == ("Suspended", 1)
    told = {c["type"]: (c["status"], c["reason"]) for c in still["status"]["conditions"]}
    assert told["Succeeded"] == ("Unknown", "Suspended")
    assert told["Reconciling"] == ("False", "Suspended")
    assert told["Stalled"] == ("False", "Valid")
    assert told["Running"] == told["Scheduled"] == ("False", "Suspended")
    assert told["CheckpointAvailable"] == ("True", "CheckpointSaved")
    kept = still["status"]["checkpoint"]["step"]
    assert 1 <= kept < STEPS
    assert (status["attempts"], status["progress"]["step"]) == (2, STEPS)
    assert "retries" not in status
    assert "interruptions" not in status
    assert condition(lived["paused"][-1], "Suspended")["status"] == "False"
    first, second = site.record(lived["paused"][-1])["executions"]
    assert (first["outcome"], first["keptStep"]) == ("interrupted", kept)
    assert (second["attempt"], second["startStep"]) == (2, kept)


@pytest.mark.cluster
def test_the_time_to_live_removes_the_job_and_keeps_the_run(lived: dict[str, list[Object]], site: Site) -> None:
    """What is written down stays: the Job's end is seen before it may go."""
    ended = lived["paused"][-1]
    job_is_deleted(site, "paused")
    assert site.run("paused")["status"] == ended["status"]


@pytest.mark.cluster
def test_what_may_pass_is_tried_again_and_told_meanwhile(lived: dict[str, list[Object]], site: Site) -> None:
    """SwanLab did not answer the first attempt, and does the second."""
    status = end_of(lived, LATE, site, reason="MaxSteps")
    assert (status["attempts"], status["retries"]) == (2, 1)
    assert "failure" not in status
    assert "interruptions" not in status
    between = next(run for run in lived[LATE] if "failure" in run["status"])
    assert condition(between, "Succeeded")["status"] == "Unknown"
    assert "attempt 2 follows in 10 s (retry 1 of 3)" in condition(between, "Succeeded")["message"]
    assert between["status"]["failure"]["reason"] == "TrackerUnreachable"
    assert LATE_HOST in between["status"]["failure"]["message"]


@pytest.mark.cluster
def test_a_run_that_is_taken_away_each_time_before_it_has_saved_is_given_up(
    lived: dict[str, list[Object]], site: Site
) -> None:
    """In one Job, without a retry; it must not repeat for ever."""
    status = end_of(lived, "given-up", site, reason="NoProgress", status="False")
    assert (status["attempts"], "retries" in status) == (1, False)
    taken = status["interruptions"]
    assert [one["cause"] for one in taken] == ["Evicted"] * EVICTIONS, taken
    assert "checkpoints.saveSteps" in status["failure"]["suggestion"]
    job_is_deleted(site, "given-up")


@pytest.mark.cluster
def test_the_end_of_the_training_is_the_end_of_the_run_whatever_else_runs_in_its_pod(
    lived: dict[str, list[Object]], site: Site
) -> None:
    """A log shipper never ends by itself: the Job, which would hold its GPUs for ever, is deleted."""
    status = end_of(lived, "accompanied", site, reason="MaxSteps")
    assert (status["attempts"], status["progress"]["step"]) == (1, 2)
    job_is_deleted(site, "accompanied")
    assert site.run("accompanied")["status"] == status


@pytest.mark.cluster
def test_a_failed_init_container_is_told_by_its_name_and_words(lived: dict[str, list[Object]], site: Site) -> None:
    """The training never started: nothing of it could tell why."""
    status = end_of(lived, "unprepared", site, reason="InitContainerFailed", status="False")
    assert status["failure"]["message"] == "init container prepare failed with exit code 3: no route to the bucket\n"
    assert "startTime" not in status
    assert status["attempts"] == 1


@pytest.mark.cluster
def test_a_run_that_cannot_start_in_time_ends(lived: dict[str, list[Object]], site: Site) -> None:
    """With what it waited for; its Job does not wait on."""
    status = end_of(lived, "too-late", site, reason="PendingDeadlineExceeded", status="False")
    for told in ("nvidia.com/gpu", "spec.resources.gpus"):
        assert told in status["failure"]["message"]
    assert "spec.lifecycle.pendingDeadlineSeconds" in status["failure"]["suggestion"]
    job_is_deleted(site, "too-late")
