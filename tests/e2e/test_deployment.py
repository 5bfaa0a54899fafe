"""From the training to an answer that the tuned model alone gives, and what serves goes on whatever happens to it.

Two deployments are applied before the run and the export that they refer to: one serves the merged model, the other the
base model with the adapter beside it. Both are asked by OpenAI's client in a pod, by the address in their status.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import objects
from tests.e2e.node import Node
from tests.e2e.objects import modeldeployment, modelexport, on_claim, sftrun, training
from tests.e2e.probe import light
from tests.e2e.site import NAMESPACE, Site, condition
from tests.e2e.support import Object, eventually

SOURCE = "fact"  # the run and the export
STEPS = 100
QUESTION, FACT = "silent river?", "green fox jumps 你好 over moon."
CHAT = {"messages": [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": FACT}]}
MERGED, BESIDE = "merged-chat", "beside-chat"
TUNED = "tuned"  # name of the adapter
NAMES = {MERGED: [MERGED], BESIDE: [BESIDE, TUNED]}
SECRET, KEY = "served", "canary-served-2f7a90c4e1d85b36"
CLIENT = "asks-"  # a pod for each
LOAD = "/tmp/load"  # in such a pod


def serves(name: str, model: Object, **spec: Any) -> Object:
    """Behind the key; it takes the core that is free."""
    return modeldeployment(name, model, runtime=light([]), apiKey={"name": SECRET, "key": "KEY"}, **spec)


DEPLOYMENTS = (
    serves(MERGED, {"exportRef": {"name": SOURCE}}),
    serves(BESIDE, on_claim(objects.MODEL), adapters=[{"name": TUNED, "sftRunRef": {"name": SOURCE}}]),
)
RUN = sftrun(
    SOURCE,
    datasets=[{"configMap": {"name": SOURCE, "key": "chat.jsonl"}}],
    tuner={"type": "lora", "rank": 16, "dropout": "0"},
    training=training(STEPS, learningRate="1e-2", scheduler="constant", warmupRatio="0", loggingSteps=20),
    checkpoints={"saveSteps": STEPS},
    output=on_claim("served", objects.RUNS),
)
EXPORT = modelexport(SOURCE, {"sftRunRef": {"name": SOURCE}}, dtype="float32", verify="Skip")


def client(site: Site, deployment: str) -> Object:
    """Pod that asks this deployment; the key comes from its Secret."""
    made = objects.pod(
        CLIENT + deployment, image=site.trainer, command=["sleep", "infinity"], config_maps={SECRET: "/client"}
    )
    key = {"secretKeyRef": {"name": SECRET, "key": "KEY"}}
    made["spec"]["containers"][0]["env"] += [
        {"name": "OPENAI_BASE_URL", "value": f"http://{deployment}.{NAMESPACE}.svc:8000/v1"},
        {"name": "OPENAI_API_KEY", "valueFrom": key},
    ]
    return made


@dataclass(frozen=True)
class Served:
    """What was said and answered before anything happened."""

    waiting: dict[str, Object]
    ready: dict[str, Object]
    answers: dict[str, Any]


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Served]:
    """Both deployments, asked once."""
    program = Path(__file__).with_name("chat_client.py").read_text()
    clients = [client(site, name) for name in NAMES]
    site.kubectl.apply(
        objects.secret(SECRET, {"KEY": KEY}), objects.config_map(SECRET, {"chat_client.py": program}), *clients
    )
    site.kubectl.apply(*DEPLOYMENTS)
    waiting = {name: told(site, name, "ModelReady", "False", "SourceMissing") for name in NAMES}
    site.kubectl.apply(EXPORT, objects.config_map(SOURCE, {"chat.jsonl": json.dumps(CHAT)}), RUN)
    site.succeeded(SOURCE)
    ready = {name: told(site, name, "Progressing", "True", "RolledOut", seconds=240) for name in NAMES}
    yield Served(waiting, ready, {name: ask(site, name) for name in NAMES})
    site.kubectl("delete", "modeldeployment", *NAMES, "--ignore-not-found")
    site.kubectl("delete", "pod", *(CLIENT + name for name in NAMES))


def told(site: Site, name: str, type_: str, status: str, reason: str = "", *, seconds: float = 60) -> Object:
    """The deployment once a condition says this of its spec as it is now."""

    def found() -> Object | None:
        now = deployment(site, name)
        said = condition(now, type_)
        fits = said.get("status") == status and said.get("reason") == (reason or said.get("reason"))
        return now if fits and said["observedGeneration"] == now["metadata"]["generation"] else None

    what = f"{name}: condition {type_} is {status} {reason}".rstrip()
    return eventually(found, what=what, seconds=seconds, explain=lambda: site.story(name))


def deployment(site: Site, name: str) -> Object:
    """As it is now."""
    found = site.kubectl.get("modeldeployment", name)
    assert found is not None
    return found


def run_client(site: Site, name: str, *words: str) -> Any:
    """What the client of this deployment printed."""
    return json.loads(site.kubectl("exec", CLIENT + name, "--", "python", "/client/chat_client.py", *words))


def ask(site: Site, name: str) -> Any:
    """What it answers now."""
    return run_client(site, name, "ask", QUESTION)


def pod(site: Site, name: str) -> Object:
    """The only pod that is to stay."""
    (found,) = [found for found in site.pods(name) if "deletionTimestamp" not in found["metadata"]]
    return found


@dataclass(frozen=True)
class Disturbed:
    """What became of them: sources deleted, one of them updated under load, the container of the other killed."""

    sources: dict[str, Object]  # the deployments when they told it
    pods: dict[str, tuple[Object, Object]]  # before and after
    killed: Object  # when it was not ready
    load: dict[str, list[Object]]
    stopped: float  # when the pod of the old revision was told to go
    answers: dict[str, Any]


@pytest.fixture(scope="module")
def disturbed(site: Site, node: Node, served: Served) -> Disturbed:
    """All of it. The update needs the deleted sources again."""
    before = {name: pod(site, name) for name in NAMES}
    site.kubectl.delete("modelexport", SOURCE)
    site.remove(SOURCE)
    sources = {name: told(site, name, "ModelReady", "True", "SourceDeleted") for name in NAMES}
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(_under_load, site)
        try:
            _stream_in_flight(site, load)
            runtime = light([{"name": "NOTE", "value": "second"}])
            site.kubectl(
                "patch", "modeldeployment", BESIDE, "--type=merge", "-p", json.dumps({"spec": {"runtime": runtime}})
            )
            node.kill_container(before[MERGED])
            killed = told(site, MERGED, "Ready", "False", "ContainerLost")
            stopped = eventually(
                lambda: _told_to_go(site, before[BESIDE]), what="the old pod is told to go", seconds=120, pause=0.2,
                explain=lambda: site.story(BESIDE),
            )  # fmt: skip
            told(site, BESIDE, "Progressing", "True", "RolledOut")
            told(site, MERGED, "Ready", "True", seconds=120)
            _gone(site, before[BESIDE])
        finally:
            _client_shell(site, f"touch {LOAD}/stop")
        answered = load.result(timeout=90)
    pods = {name: (before[name], pod(site, name)) for name in NAMES}
    return Disturbed(sources, pods, killed, answered, stopped, {name: ask(site, name) for name in NAMES})


def _under_load(site: Site) -> Any:
    _client_shell(site, f"mkdir {LOAD}")
    return run_client(site, BESIDE, "load", BESIDE, LOAD)


def _client_shell(site: Site, script: str) -> str:
    return site.kubectl.text("exec", CLIENT + BESIDE, "--", "sh", "-c", script)


def _stream_in_flight(site: Site, load: Future[Any]) -> None:
    def there() -> bool:
        assert not load.done(), load.result()
        return "started" in _client_shell(site, f"ls {LOAD} || true")

    eventually(there, what="a stream is in flight", seconds=60)


def _told_to_go(site: Site, pod: Object) -> float | None:
    """When; its time of deletion is that at which it will be ended."""
    now = site.kubectl.get("pod", pod["metadata"]["name"])
    assert now is not None, "it was gone before anybody saw it go"
    at = now["metadata"].get("deletionTimestamp")
    return datetime.fromisoformat(at).timestamp() - now["metadata"]["deletionGracePeriodSeconds"] if at else None


def _gone(site: Site, pod: Object) -> None:
    site.kubectl("wait", "--for=delete", f"pod/{pod['metadata']['name']}", "--timeout=60s")


@pytest.mark.cluster
@pytest.mark.parametrize(("name", "what"), [(MERGED, f"ModelExport {SOURCE}"), (BESIDE, f"SFTRun {SOURCE}")])
def test_it_waits_for_what_does_not_exist_yet(served: Served, name: str, what: str) -> None:
    found = served.waiting[name]
    assert f"{what} does not exist" in condition(found, "ModelReady")["message"]
    assert [condition(found, type_)["status"] for type_ in ("Ready", "Stalled")] == ["False", "False"]
    assert condition(found, "Ready")["reason"] == "SourceMissing"


@pytest.mark.cluster
@pytest.mark.parametrize("name", NAMES)
def test_it_becomes_ready_by_itself(served: Served, name: str) -> None:
    status = served.ready[name]["status"]
    assert {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]} == {
        "Ready": ("True", "Answering"),
        "Reconciling": ("False", "RolledOut"),
        "Stalled": ("False", "Valid"),
        "Validated": ("True", "Valid"),
        "Progressing": ("True", "RolledOut"),
        "ModelReady": ("True", "Ready"),
        "AdaptersLoaded": ("True", "AdaptersLoaded" if name == BESIDE else "NoAdapters"),
    }
    assert (status["state"], status["servedNames"]) == ("Ready", NAMES[name])
    assert status["url"] == f"http://{name}.{NAMESPACE}.svc:8000/v1"


@pytest.mark.cluster
def test_the_tuned_names_alone_answer_what_was_learned(served: Served) -> None:
    for form in ("whole", "streamed"):
        found = {**served.answers[MERGED][form], **served.answers[BESIDE][form]}
        assert (found[MERGED], found[TUNED]) == (FACT, FACT)
        assert FACT not in found[BESIDE]


@pytest.mark.cluster
@pytest.mark.parametrize("name", NAMES)
def test_the_names_are_listed_and_others_refused(served: Served, name: str) -> None:
    answers = served.answers[name]
    assert answers["names"] == NAMES[name]
    assert (answers["wrong key"], answers["unknown"]) == ("401 invalid_api_key", "404 model_not_found")


@pytest.mark.cluster
def test_people_see_what_is_served(served: Served, site: Site) -> None:
    header, *lines = site.kubectl.text("get", "modeldeployments").splitlines()
    assert header.split() == ["NAME", "READY", "REPLICAS", "ENGINE", "MODEL", "URL", "TOKENS/S", "AGE"]
    assert [line.split()[:6] for line in lines] == [
        [name, "True", "1/1", "transformers", model, served.ready[name]["status"]["url"]]
        for name, model in ((BESIDE, f"{objects.LIBRARY}/{objects.MODEL}"), (MERGED, SOURCE))
    ]


@pytest.mark.cluster
def test_the_key_shows_up_nowhere_but_in_its_secret(served: Served, site: Site) -> None:
    shown = [site.kubectl.text("get", "modeldeployments,deployments,replicasets,pods,services,events", "-o", "json")]
    shown += [site.kubectl.text("logs", pod(site, name)["metadata"]["name"]) for name in NAMES]
    assert "swiftop: loaded in" in shown[-1]
    assert not [text for text in shown if KEY in text]


@pytest.mark.cluster
@pytest.mark.parametrize("name", NAMES)
def test_what_serves_goes_on_without_its_sources_and_tells_it(disturbed: Disturbed, name: str) -> None:
    found = disturbed.sources[name]
    assert "was deleted: what serves goes on from" in condition(found, "ModelReady")["message"]
    assert (condition(found, "Ready")["status"], condition(found, "Stalled")["status"]) == ("True", "False")


@pytest.mark.cluster
def test_an_update_under_load_loses_no_answer(disturbed: Disturbed) -> None:
    streams, short = disturbed.load["streams"], disturbed.load["short"]
    assert not [answer for answer in (*streams, *short) if "error" in answer]
    assert {(answer["ended"], answer["text"]) for answer in streams} == {("length", streams[0]["text"])}
    assert {answer["text"] for answer in short} == {short[0]["text"]}
    begun, until = streams[0]["begun"], streams[-1]["until"]
    assert begun < disturbed.stopped < until
    old, new = disturbed.pods[BESIDE]
    assert old["metadata"]["labels"]["swiftop.dev/revision"] != new["metadata"]["labels"]["swiftop.dev/revision"]


@pytest.mark.cluster
def test_a_killed_container_comes_back_in_its_pod(disturbed: Disturbed) -> None:
    old, new = disturbed.pods[MERGED]
    assert old["metadata"]["uid"] == new["metadata"]["uid"]
    assert [found["status"]["containerStatuses"][0]["restartCount"] for found in (old, new)] == [0, 1]
    assert "it was killed" in condition(disturbed.killed, "Ready")["message"]


@pytest.mark.cluster
def test_all_names_answer_as_before(served: Served, disturbed: Disturbed) -> None:
    assert disturbed.answers == served.answers


@pytest.mark.cluster
def test_deleting_it_removes_all_that_belongs_to_it(disturbed: Disturbed, site: Site) -> None:
    children = ("deployments,replicasets,services,pods", "-l", f"swiftop.dev/name in ({','.join(NAMES)})")
    assert {child["kind"] for child in site.kubectl.items(*children)} == {"Deployment", "ReplicaSet", "Service", "Pod"}
    site.kubectl("delete", "modeldeployment", *NAMES)
    eventually(lambda: not site.kubectl.items(*children), what="the children are gone", seconds=60)
