"""Every way to fail ends in its own reason: real ms-swift in real pods, no cause is simulated.

All runs are applied at once and awaited one by one; the scheduler lets as many train as there are free cores.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from tests.e2e import objects
from tests.e2e.objects import on_claim, sftrun, training
from tests.e2e.site import SWANLAB_HOST, Site, condition
from tests.e2e.support import Object

CHINESE = "训练数据里有一个坏样本"
PLUGINS = {
    "harmless.py": "REGISTERED = ()\n",
    "broken.py": f"raise RuntimeError('{CHINESE}')\n",
    "stopping.py": "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n",
}
WRONG_KEY = "wrong-key-credentials"


class Case(NamedTuple):
    """One run and how it must end."""

    run: Object
    reason: str
    told: str  # must stand in the message
    log: bool = False  # whether ms-swift came to say something before the end


def dataset(name: str) -> list[Object]:
    """A dataset file of the library."""
    return [on_claim(f"datasets/{name}")]


def plugged(name: str, plugin: str, **spec: Any) -> Object:
    """Run with a plugin of its own."""
    return sftrun(
        name,
        **spec,
        files=[{"configMap": {"name": "plugins", "key": plugin}}],
        extraArgs=[{"name": "external_plugins", "values": [f"/swiftop/files/{plugin}"]}],
    )


def tracked(host: str) -> dict[str, Any]:
    """SwanLab on a server of one's own, with a key that it does not know."""
    swanlab = {"project": "failures", "host": host, "workspace": "alice"}
    return {"tracking": {"swanlab": swanlab}, "credentials": {"secretName": WRONG_KEY}}


CASES = {
    case.run["metadata"]["name"]: case
    for case in (
        Case(
            sftrun("dataset-missing", datasets=dataset("nothing.jsonl")), "DatasetNotFound", "nothing.jsonl", log=True
        ),
        Case(
            sftrun("dataset-of-unknown-format", datasets=dataset("unknown-format.jsonl")),
            "DatasetFormat",
            "rows were dropped",
            log=True,
        ),
        Case(sftrun("dataset-empty", datasets=dataset("empty.jsonl")), "DatasetEmpty", "StopIteration", log=True),
        Case(
            sftrun("model-missing", model={**on_claim("models/nothing"), "type": "qwen2"}),
            "ModelNotFound",
            "nothing",
            log=True,
        ),
        Case(sftrun("host-out-of-memory", memory="200Mi"), "HostOutOfMemory", "memory"),
        Case(sftrun("wrong-key", cpu="300m", **tracked(SWANLAB_HOST)), "TrackerAuthFailed", SWANLAB_HOST),
        Case(
            sftrun(
                "tracker-unreachable",
                cpu="300m",
                lifecycle={"maxRetries": 0},  # the only cause among these that may pass
                **tracked("http://nobody.e2e.svc:8000"),
            ),
            "TrackerUnreachable",
            "nobody.e2e.svc",
        ),
        Case(
            sftrun("volume-not-writable", cpu="300m", output=on_claim("locked", objects.RUNS)),
            "VolumeNotWritable",
            "/swiftop/output/locked",
        ),
        Case(
            sftrun("other-version", cpu="300m", runtime={"swiftVersion": "3.12"}),
            "VersionMismatch",
            "the run is for 3.12",
        ),
        Case(
            plugged("plugin-broken", "broken.py"),
            "PluginFailed",
            CHINESE,
            log=True,
        ),
        # A plugin may register a template of any name: only ms-swift finds out.
        Case(
            plugged("bad-template", "harmless.py", training=training(template="nothing")),
            "InvalidArguments",
            "nothing",
            log=True,
        ),
        # Nobody can tell who sent the signal: it is an interruption, and comes to nothing each time.
        Case(plugged("stopped-inside", "stopping.py"), "NoProgress", "3 times in a row"),
    )
}


def in_image(run: Object, image: str) -> Object:
    """The run in this image by name, whatever version it asks for: the platform's default is of one version only."""
    spec = run["spec"]
    return {**run, "spec": {**spec, "runtime": {**spec.get("runtime", {}), "image": image}}}


@pytest.fixture(scope="module")
def failing(site: Site) -> Site:
    """All failing runs, applied."""
    site.kubectl.apply(
        objects.config_map("plugins", PLUGINS),
        objects.secret(WRONG_KEY, {"SWANLAB_API_KEY": "wrong"}),
        *(in_image(case.run, site.trainer) for case in CASES.values()),
    )
    return site


@pytest.mark.cluster
@pytest.mark.parametrize("name", CASES)
def test_each_failure_ends_in_its_own_reason(failing: Site, name: str) -> None:
    """Reason, message, advice and log stand in the status, and the conditions say that nothing goes on."""
    case = CASES[name]
    run = failing.ended(name)
    summary, failure = condition(run, "Succeeded"), run["status"]["failure"]
    assert (summary["status"], summary["reason"]) == ("False", case.reason), failing.story(name)
    assert failure["reason"] == case.reason
    assert case.told in failure["message"], failure
    assert failure["suggestion"], failure
    log = failure.get("log", "")
    assert len(log.encode()) <= 2048
    assert log.strip() or not case.log, failure
    assert run["status"]["state"] == "Failed"
    assert condition(run, "Stalled")["status"] == "True"
    assert condition(run, "Reconciling")["status"] == "False"
    assert run["status"]["completionTime"]
    assert run["status"]["attempts"] == 1 or case.reason == "NoProgress"  # each would end the same again


@pytest.mark.cluster
def test_an_unknown_failure_keeps_its_true_last_exception(failing: Site) -> None:
    """Nobody can know every cause: the exception itself, in whatever language, is what helps then."""
    failure = failing.ended("plugin-broken")["status"]["failure"]
    assert f"RuntimeError: {CHINESE}" in failure["log"]


@pytest.mark.cluster
def test_a_failure_is_one_event(failing: Site) -> None:
    """``kubectl describe sftrun`` tells the end once, with its reason."""
    failing.ended("dataset-missing")
    ends = [
        event
        for event in failing.kubectl.items("events")
        if (event["involvedObject"]["kind"], event["involvedObject"]["name"]) == ("SFTRun", "dataset-missing")
        and event["reason"] == "DatasetNotFound"
    ]
    assert [event["type"] for event in ends] == ["Warning"]
    assert ends[0].get("count", 1) == 1
