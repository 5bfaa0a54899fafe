"""Runs that start from another run's checkpoint, and what a person does with the result of a run."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import objects
from tests.e2e.objects import on_claim, sftrun, training
from tests.e2e.site import NAMESPACE, ROOT, Site, condition
from tests.e2e.support import Object, eventually, kubectl_program

WITNESS = """
from transformers import Trainer

step = Trainer.training_step

def told(self, *args, **kwargs):
    print("global step", self.state.global_step, "parameters in the optimizer", len(self.optimizer.state), flush=True)
    return step(self, *args, **kwargs)

Trainer.training_step = told
"""
ELDER, HEIR = "elder", "heir"
KEPT, STEPS = 4, 6


def kin(name: str, *, step: int | None = None, steps: int = STEPS, cpu: str = objects.CORE, **spec: Any) -> Object:
    """Run that starts from the elder's checkpoint."""
    reference = {"name": ELDER} if step is None else {"name": ELDER, "step": step}
    return sftrun(
        name,
        cpu=cpu,
        training=training(steps),
        checkpoints={"saveSteps": 2, "from": {"sftRunRef": reference}},
        output=on_claim("kin", objects.RUNS),
        files=[{"configMap": {"name": "witness", "key": "witness.py"}}],
        extraArgs=[{"name": "external_plugins", "values": ["/swiftop/files/witness.py"]}],
        **spec,
    )


REFUSED = {
    "other-tuner": (kin("other-tuner", cpu="300m", tuner={"type": "full"}), "CheckpointUnfit", "tuner.type: full"),
    "never-saved": (kin("never-saved", cpu="300m", step=3), "CheckpointMissing", "checkpoint-3"),
}
TOO_FAR = "too-far"


@pytest.fixture(scope="module")
def family(site: Site) -> Iterator[dict[str, Object]]:
    """The elder and the heir, both ended; all that start from it were there before it."""
    waiting = [kin(HEIR), kin(TOO_FAR, step=99, steps=100), *(run for run, _, _ in REFUSED.values())]
    site.kubectl.apply(objects.config_map("witness", {"witness.py": WITNESS}), *waiting)
    names = [run["metadata"]["name"] for run in waiting]
    for name in names:
        site.with_reason(name, "SourceMissing", told=ELDER)
    site.kubectl.apply(sftrun(ELDER, output=on_claim("kin", objects.RUNS), training=training(KEPT)))
    for name in names:
        site.with_reason(name, "SourcePending", told=ELDER)
        assert site.kubectl.items("jobs", f"swiftop.dev/name={name}") == []
    yield {name: site.succeeded(name) for name in (ELDER, HEIR)}
    site.remove(*names, ELDER)


@pytest.mark.cluster
def test_a_run_goes_on_from_another_runs_checkpoint_with_its_optimizer(family: dict[str, Object], site: Site) -> None:
    """Once that run has ended: at its step, and with the optimizer's state before the first step of its own."""
    elder, heir = family[ELDER]["status"], family[HEIR]["status"]
    assert heir["startTime"] >= elder["completionTime"]
    assert (heir["attempts"], heir["progress"]["step"]) == (1, STEPS)
    log = site.kubectl.text("logs", "-l", f"swiftop.dev/name={HEIR}", "--tail=-1")
    told = [(int(a), int(b)) for a, b in re.findall(r"global step (\d+) parameters in the optimizer (\d+)", log)]
    assert [step for step, _ in told] == list(range(KEPT, STEPS)), log
    assert told[0][1] > 0
    assert heir["output"]["path"] != elder["output"]["path"]
    source = heir["resolved"]["source"]
    assert (source["claimName"], source["path"]) == (objects.RUNS, elder["output"]["path"])


@pytest.mark.cluster
@pytest.mark.parametrize("name", REFUSED)
def test_a_checkpoint_that_does_not_fit_is_refused_before_anything_is_loaded(
    family: dict[str, Object], site: Site, name: str
) -> None:
    """By the pod, which alone sees the volume; it says what does not fit."""
    _, reason, told = REFUSED[name]
    run = site.ended(name)
    assert condition(run, "Succeeded")["reason"] == reason, site.story(name)
    assert told in run["status"]["failure"]["message"]
    assert "checkpoints.from" in run["status"]["failure"]["suggestion"]
    assert run["status"]["attempts"] == 1


@pytest.mark.cluster
def test_a_step_that_was_never_reached_takes_no_pod(family: dict[str, Object], site: Site) -> None:
    """The status of the other run tells it; the run can be repaired in place."""
    told = site.with_reason(TOO_FAR, "SourceUnusable", type_="Stalled")
    assert told["status"] == "True"
    assert f"its newest is {KEPT}" in told["message"]
    assert site.kubectl.items("jobs", f"swiftop.dev/name={TOO_FAR}") == []


def copying(run: str) -> str:
    """The commands of docs/sftrun.md for this run."""
    text = (ROOT / "docs" / "sftrun.md").read_text()
    block = re.search(r"^## Where the result is\n.*?^```bash\n(.*?)^```\n", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    return re.sub(r"^RUN=.*$", f"RUN={run}", block[1], count=1, flags=re.MULTILINE)


@pytest.mark.cluster
def test_the_adapter_is_copied_out_as_the_docs_say(family: dict[str, Object], site: Site, tmp_path: Path) -> None:
    """By the very commands of the page, from where ``status.output`` says that it is."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kubectl").symlink_to(kubectl_program())
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_bytes(site.kubectl.kubeconfig.read_bytes())
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "KUBECONFIG": str(kubeconfig), "PATH": path}
    script = f"kubectl config set-context --current --namespace={NAMESPACE}\n{copying(ELDER)}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    weights = (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes()
    folder = f"/runs/{family[ELDER]['status']['output']['path']}/checkpoint-{KEPT}"
    assert len(weights) == int(site.shell(f"stat -c %s {folder}/adapter_model.safetensors"))
    assert (tmp_path / "adapter" / "adapter_config.json").exists()
    eventually(lambda: site.kubectl.get("pod", "copy-out") is None, what="the pod is gone", seconds=30)
