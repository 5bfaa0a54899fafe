"""Runs that end well: the status contract, one claim for several runs, a volume kept over a deletion, a restart."""

from __future__ import annotations

import pytest

from tests.e2e import objects
from tests.e2e.objects import on_claim, sftrun, training
from tests.e2e.site import Site, condition
from tests.e2e.support import Kubectl, Object

CONDITIONS = {
    "Succeeded": "True",
    "Reconciling": "False",
    "Stalled": "False",
    "Validated": "True",
    "DependenciesReady": "True",
    "Scheduled": "True",
    "Running": "False",
    "Suspended": "False",
    "CheckpointAvailable": "True",
    "ProgressAvailable": "False",
    "DataComplete": "True",
    "Accelerated": "False",  # on the CPU nothing is
}
TWINS = ("twin-one", "twin-two")


@pytest.fixture(scope="module")
def twins(site: Site) -> dict[str, Object]:
    """Two runs at the same time with the same claim and path as output, both succeeded."""
    shared = on_claim("team", objects.RUNS)
    site.kubectl.apply(*(sftrun(name, output=shared) for name in TWINS))
    for name in TWINS:
        site.kubectl("wait", "--for=condition=Succeeded", f"sftrun/{name}", "--timeout=480s")
    return {name: site.succeeded(name) for name in TWINS}


def directory(run: Object) -> str:
    """Name of a run's output directory."""
    return f"{run['metadata']['name']}-{run['metadata']['uid'][:8]}"


@pytest.mark.cluster
def test_the_status_tells_what_happened(twins: dict[str, Object]) -> None:
    """Everything that the status contract promises for one attempt."""
    run = twins["twin-one"]
    status = run["status"]
    assert {c["type"]: c["status"] for c in status["conditions"]} == CONDITIONS
    assert {c["observedGeneration"] for c in status["conditions"]} == {run["metadata"]["generation"]}
    assert condition(run, "Succeeded")["reason"] == "MaxSteps"
    assert (status["state"], status["attempts"]) == ("Succeeded", 1)
    assert (status["progress"]["step"], status["progress"]["maxSteps"]) == (4, 4)
    assert status["progress"]["loss"] > 0
    assert status["checkpoint"]["step"] == 4
    assert status["checkpoint"]["path"] == f"/swiftop/output/team/{directory(run)}/checkpoint-4"
    assert status["startTime"] <= status["completionTime"]
    assert status["resolved"]["swiftVersion"] == "4.6"
    assert "swift.cli.sft" in status["resolved"]["command"]
    assert status["display"]["progress"] == "4/4 (100%)"
    assert "failure" not in status


@pytest.mark.cluster
def test_kubectl_get_shows_the_end(twins: dict[str, Object], site: Site) -> None:
    """One line that a person can read."""
    line = site.kubectl.text("get", "sftrun", "twin-one", "--no-headers")
    assert line.split()[:4] == ["twin-one", "Succeeded", "MaxSteps", "4/4"]


@pytest.mark.cluster
def test_two_runs_on_one_path_do_not_meet(twins: dict[str, Object], site: Site) -> None:
    """Each has its own directory, with its own record and its own checkpoints."""
    for run in twins.values():
        folder = f"/runs/team/{directory(run)}"
        assert site.shell(f"ls {folder} | grep ^checkpoint-").split() == ["checkpoint-2", "checkpoint-4"]
        assert run["metadata"]["uid"] in site.shell(f"cat {folder}/swiftop-run.json")
    assert len(site.shell("ls /runs/team").split()) == len(twins)


@pytest.mark.cluster
def test_a_finished_run_is_never_trained_again(twins: dict[str, Object], site: Site, operator: Kubectl) -> None:
    """Not by applying it again, not by deleting its Job, not by an operator that forgot everything."""
    before = twins["twin-one"]
    site.kubectl.delete("job", "twin-one-1")
    operator("delete", "pods", "-l", "app.kubernetes.io/name=swiftop", "--wait=true")
    operator("rollout", "status", "deployment/swiftop", "--timeout=300s")
    site.kubectl.apply(sftrun("twin-one", output=on_claim("team", objects.RUNS)))
    # A later run shows that the new operator has been through the list: it works on all keys in one queue.
    site.kubectl.apply(sftrun("after-restart", gpus=64, cpu=objects.SPARE))
    site.with_reason("after-restart", "InsufficientGPU")
    site.kubectl.delete("sftrun", "after-restart")
    assert site.kubectl.items("jobs", "swiftop.dev/name=twin-one") == []
    assert site.run("twin-one")["status"] == before["status"]
    assert site.run("twin-one")["metadata"]["generation"] == before["metadata"]["generation"]


@pytest.mark.cluster
def test_apply_delete_apply_keeps_the_first_results(site: Site) -> None:
    """A retained volume outlives its run and the next of the name, which uses it and asks for it to be deleted."""
    volume = {"size": "1Gi", "accessMode": "ReadWriteMany"}
    seen = []
    for retain in ("Retain", "Delete"):
        site.kubectl.apply(sftrun("again", output={"volume": {**volume, "retain": retain}}, training=training(2)))
        done = site.succeeded("again")
        claim = site.kubectl.get("pvc", "again-output") or {}
        assert "ownerReferences" not in claim["metadata"]
        assert done["status"]["output"] == {"claimName": "again-output", "path": directory(done)}
        seen.append((directory(done), done["status"]["progress"]["step"], claim["metadata"]["uid"]))
        site.remove("again")
    (first, first_step, first_claim), (second, second_step, second_claim) = seen
    assert first != second
    assert (first_step, second_step) == (2, 2)
    assert first_claim == second_claim
    look = objects.pod("look", image=site.trainer, command=["sleep", "infinity"], claims={"again-output": "/again"})
    site.kubectl.create(look)
    site.kubectl("wait", "--for=condition=Ready", "pod/look", "--timeout=300s")
    assert set(site.kubectl.text("exec", "look", "--", "ls", "/again").split()) >= {first, second}
    site.kubectl.delete("pod", "look")
    site.kubectl.delete("pvc", "again-output")


@pytest.mark.cluster
def test_two_nodes_train_together(site: Site) -> None:
    """Two pods meet through the headless Service and train as one: one checkpoint, with the state of both ranks."""
    site.kubectl.apply(sftrun("two-nodes", nodes=2, cpu="600m", output=on_claim("two", objects.RUNS)))
    run = site.succeeded("two-nodes")
    assert len(site.pods("two-nodes")) == 2
    files = site.shell(f"ls /runs/two/{directory(run)}/checkpoint-4").split()
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= set(files)
