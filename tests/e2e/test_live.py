"""Runs as they are seen while they train, and what becomes of them when their pod is taken away.

A plugin makes each step last a second without computing, so that the runs can train at once and be looked at.
"""

from __future__ import annotations

import re

import pytest

from tests.e2e import objects
from tests.e2e.objects import SLOW, slow, training
from tests.e2e.site import Site, condition
from tests.e2e.support import Object, eventually

CHATTY = SLOW.replace("flush=True)", 'flush=True)\n    print("x" * 8192)')
SQUATTER = """
import http.server, os, signal

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # the first process of a container has no default for it

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"not yours")

http.server.HTTPServer(("", 8080), Handler).serve_forever()
"""
STEPS = 40


def squatted(image: str) -> Object:
    """Run whose progress port is taken by a sidecar that was there first, and that prints much."""
    sidecar = {
        "name": "squatter",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", SQUATTER],
        "restartPolicy": "Always",
        "startupProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 60},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return slow("unheard", "chatty.py", {"initContainers": [sidecar]})


def evicted(site: Site, run: Object) -> bool:
    """Evict the pod as a drain of its node does, once a checkpoint is told of."""
    if "checkpoint" not in run.get("status", {}):
        return False
    site.evict(site.pods("moved")[0])
    return True


def deleted(site: Site, run: Object) -> bool:
    """Delete the pod by hand, once a checkpoint is told of."""
    if "checkpoint" not in run.get("status", {}):
        return False
    site.kubectl("delete", "pods", "-l", "swiftop.dev/name=removed", "--wait=false")
    return True


@pytest.fixture(scope="module")
def seen(site: Site) -> dict[str, list[Object]]:
    """Every state in which each run was seen, oldest first, from its start to its end."""
    history: dict[str, list[Object]] = {"live": [], "moved": [], "unheard": [], "removed": []}
    acts = {"moved": evicted, "removed": deleted}
    site.kubectl.apply(
        objects.config_map("slow", {"slow.py": SLOW, "chatty.py": CHATTY}),
        slow("live", validation={"splitRatio": "0.05"}, training=training(STEPS, evalSteps=5)),
        slow("moved"),
        squatted(site.trainer),
        slow("removed"),
    )

    def over() -> bool:
        runs = {run["metadata"]["name"]: run for run in site.kubectl.items("sftruns")}
        for name, states in history.items():
            run = runs[name]
            if "status" in run and run not in states[-1:]:
                states.append(run)
            if name in acts and acts[name](site, run):
                del acts[name]
        return all(condition(runs[name], "Succeeded").get("status") in ("True", "False") for name in history)

    eventually(over, what="all runs end", seconds=300, explain=lambda: "\n".join(map(site.story, history)))
    return history


def steps_told(states: list[Object]) -> list[int]:
    """Steps of which the status told while the run trained."""
    return [
        state["status"]["progress"]["step"]
        for state in states
        if condition(state, "ProgressAvailable").get("reason") == "ProgressReported" and "progress" in state["status"]
    ]


def steps_trained(site: Site, name: str) -> list[int]:
    """Steps that the pods of a run say to have trained, as far as they still exist."""
    log = site.kubectl.text("logs", "-l", f"swiftop.dev/name={name}", "--tail=-1")
    return [int(step) for step in re.findall(r"global step (\d+)", log)]


def assert_succeeded(site: Site, states: list[Object]) -> Object:
    """The end of a run."""
    run = states[-1]
    assert condition(run, "Succeeded")["status"] == "True", site.story(run["metadata"]["name"])
    status: Object = run["status"]
    return status


@pytest.mark.cluster
def test_progress_is_told_while_the_run_trains(seen: dict[str, list[Object]], site: Site) -> None:
    """By the page of the pod; at the end the evaluation and the best checkpoint stand beside it."""
    status = assert_succeeded(site, seen["live"])
    told = [step for step in steps_told(seen["live"]) if 1 <= step < STEPS]
    assert len(told) >= 2
    assert told == sorted(told)
    half = next(state["status"] for state in seen["live"] if state["status"].get("progress", {}).get("step") == told[0])
    assert (half["state"], half["progress"]["maxSteps"]) == ("Running", STEPS)
    assert half["display"]["progress"] == f"{told[0]}/{STEPS} ({told[0] * 100 // STEPS}%)"
    assert status["progress"]["evalLoss"] > 0
    best = status["bestCheckpoint"]
    assert best["metric"] > 0
    assert best["path"].endswith(f"/checkpoint-{best['step']}")
    assert site.shell(f"ls {best['path'].replace('/swiftop/output', '/runs')}/trainer_state.json")


@pytest.mark.cluster
def test_progress_comes_out_of_the_log_when_the_page_cannot_be_reached(
    seen: dict[str, list[Object]], site: Site
) -> None:
    """Even when the training prints more between two looks than is ever read at once."""
    assert_succeeded(site, seen["unheard"])
    assert any(1 <= step < STEPS for step in steps_told(seen["unheard"]))
    log = site.kubectl.text("logs", "-l", "swiftop.dev/name=unheard", "-c", "swift", "--tail=-1")
    assert len(log) > STEPS * 8192


@pytest.mark.cluster
def test_an_evicted_training_goes_on_from_its_checkpoint_in_the_same_job(
    seen: dict[str, list[Object]], site: Site
) -> None:
    """The pod is replaced, and no step is trained twice that a checkpoint holds."""
    status = assert_succeeded(site, seen["moved"])
    words = [state["status"]["state"] for state in seen["moved"]]
    assert "Running" in words[: words.index("Resuming")]
    assert "Running" in words[words.index("Resuming") :]
    assert status["attempts"] == 1
    assert status["progress"]["step"] == STEPS
    told = next(state["status"]["checkpoint"]["step"] for state in seen["moved"] if "checkpoint" in state["status"])
    steps = steps_trained(site, "moved")  # by the second pod, the first is gone
    assert told <= min(steps) < max(steps) == STEPS - 1
    taken = status["interruptions"]
    assert [(one["cause"], one["lostSteps"]) for one in taken] == [("Evicted", 0)], taken


@pytest.mark.cluster
def test_a_deleted_pod_is_followed_by_a_new_attempt(seen: dict[str, list[Object]], site: Site) -> None:
    """Deleting is no disruption for Kubernetes, so that the Job fails: a new one goes on from what was saved."""
    status = assert_succeeded(site, seen["removed"])
    assert (status["attempts"], status["progress"]["step"]) == (2, STEPS)
    assert "retries" not in status
    assert len(status["interruptions"]) == 1
    steps = steps_trained(site, "removed")  # by the second pod, the first is gone
    assert 0 < min(steps) < max(steps) == STEPS - 1
