"""Exports to which something happens: pods and operators are killed, volumes fill up, sources and repositories go.

Real ms-swift and the real clients of the hubs; what happens is told in tests/e2e/faults.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e import faults
from tests.e2e.conftest import Played
from tests.e2e.probe import MERGE
from tests.e2e.scan import findings
from tests.e2e.scene import LATE_SECRET, RUN, SECRET
from tests.e2e.site import HUB_TOKEN, Site, condition
from tests.e2e.stories import reasons
from tests.e2e.support import Object, eventually

DONE = ["model", "swiftop-export.json", "swiftop-run.json"]


def succeeded(played: Played, name: str) -> Object:
    """Status of an object that has come to a good end."""
    last = played.history[name][-1]
    assert condition(last, "Succeeded")["status"] == "True", played.scene.site.story(name)
    found: Object = last["status"]
    return found


def output(played: Played, name: str) -> list[str]:
    """What its folder has in the end."""
    path = played.history[name][-1]["status"]["output"]["path"]
    return sorted(played.scene.site.shell(f"ls -A /runs/{path}").split())


def merges(played: Played, name: str) -> int:
    """How often ms-swift was started."""
    return played.scene.probe(name).started().count(MERGE)


def in_turn(wanted: list[str], seen: list[str]) -> bool:
    """Whether these were seen in this order, whatever else was."""
    rest: Iterator[str] = iter(seen)
    return all(one in rest for one in wanted)


@pytest.mark.cluster
def test_a_source_that_comes_and_goes_is_told_as_it_is(played: Played) -> None:
    """Each time the export goes on by itself; once it has started it needs the run no more."""
    states = played.history["wanderer"]
    told = ["SourceMissing", "SourcePending", "SourceDeleted", "SourceUnusable", "SourcePending", "Ready"]
    assert in_turn(told, reasons(states, "SourceReady")), reasons(states, "SourceReady")
    words = {c["reason"]: c["message"] for c in (condition(state, "SourceReady") for state in states)}
    assert "was deleted before this export could start" in words["SourceDeleted"]
    assert "has no complete checkpoint" in words["SourceUnusable"]
    assert played.scene.site.kubectl.get("sftrun", RUN) is None
    assert succeeded(played, "wanderer")["display"]["source"] == f"{RUN}/last"


@pytest.mark.cluster
def test_a_pod_that_is_deleted_while_it_merges_leaves_nothing_that_is_taken_for_done(played: Played) -> None:
    """All files of the merge were there, and its process had not ended: the next pod merges anew."""
    status = succeeded(played, "wanderer")
    assert (status["attempts"], len(status["interruptions"]), "retries" in status) == (2, 1, False)
    assert merges(played, "wanderer") == 2
    assert output(played, "wanderer") == DONE
    assert condition(played.history["wanderer"][-1], "Verified")["status"] == "True"
    assert (status["artifact"]["dtype"], status["artifact"]["templateEqual"]) == ("float16", False)


@pytest.mark.cluster
def test_a_container_that_is_killed_and_a_pod_that_is_evicted_while_it_uploads(played: Played) -> None:
    """The kill costs a retry and a second merge. After the merge was verified only what is left is done: one commit."""
    status = succeeded(played, "killed")
    assert (status["attempts"], status["retries"]) == (2, 1)
    assert [one["cause"] for one in status["interruptions"]] == ["Evicted"]
    executions = played.scene.site.record(played.history["killed"][-1])["executions"]
    assert [one["reason"] for one in executions] == ["Lost", "Interrupted", "Completed"]
    assert (merges(played, "killed"), output(played, "killed")) == (2, DONE)
    hub = played.scene.hubs["hub-killed"]
    (target,) = status["targets"]
    assert [target["commit"]] == hub.commits("huggingface", faults.KILLED)
    assert target["visibility"] == hub.repositories("huggingface")[faults.KILLED]["visibility"] == "private"


@pytest.mark.cluster
def test_an_operator_that_restarts_does_nothing_twice(played: Played) -> None:
    """During the merge, during the upload, whose commit's answer was lost, and after the end."""
    status, published = succeeded(played, "restarted"), played.scene.published
    assert (status["attempts"], "retries" in status, "interruptions" in status) == (1, False, False)
    assert (merges(played, "restarted"), output(played, "restarted")) == (1, DONE)
    assert [commit["id"] for commit in published["commits"]][1:] == [status["targets"][0]["commit"]]
    assert published["visibility"] == "private"


@pytest.mark.cluster
def test_finished_is_finished_though_its_repository_was_deleted(played: Played, site: Site) -> None:
    """The operator has restarted since, and the manifest was applied again."""
    site.kubectl.apply(faults.waiting("after-restart"))
    eventually(
        lambda: condition(site.kubectl.get("modelexport", "after-restart") or {}, "SourceReady").get("reason"),
        what="the new operator has been through the list",
        seconds=60,
    )
    site.kubectl.delete("modelexport", "after-restart")
    ends = [state["status"] for state in played.history["restarted"] if "completionTime" in state["status"]]
    assert [end for end in ends if end != ends[0]] == []
    assert (site.kubectl.get("modelexport", "restarted") or {})["status"] == ends[0]
    jobs = site.kubectl.items("jobs", "swiftop.dev/name=restarted")
    assert [job["metadata"]["name"] for job in jobs] == ["restarted-mexp-1"]
    assert played.scene.hubs["hub-restarted"].repositories("modelscope") == {}


@pytest.mark.cluster
def test_a_full_volume_is_told_and_emptied_of_what_was_not_completed(played: Played) -> None:
    """With room again, the same manifest applied anew succeeds."""
    failed = next(state["status"] for state in played.history["filled"] if "failure" in state["status"])
    assert (failed["state"], failed["failure"]["reason"], failed["attempts"]) == ("Failed", "DiskFull", 1)
    assert "No space left on device" in failed["failure"]["message"] + failed["failure"]["log"]
    assert "enlarge the output volume" in failed["failure"]["suggestion"]
    assert {path.rpartition("/")[2] for path in played.scene.left} == {"swiftop-export.json", "swiftop-run.json"}
    status = succeeded(played, "filled")
    assert (status["attempts"], status["output"]["path"] != failed["output"]["path"]) == (1, True)
    assert sorted(played.scene.volume.shell(f"ls -A {status['output']['path']}").split()) == DONE
    assert len(played.scene.hubs["hub-filled"].commits("huggingface", faults.FILLED)) == 1


@pytest.mark.cluster
def test_a_name_that_somebody_else_has_is_refused_before_anything_is_merged(played: Played) -> None:
    status = played.history["taken"][-1]["status"]
    assert (status["state"], status["failure"]["reason"]) == ("Failed", "RepositoryExists")
    assert faults.TAKEN in status["failure"]["message"]
    assert played.scene.probe("taken").started() == ["swiftop_runner.hub.check"]
    assert "config.json" in played.scene.hubs["hub-killed"].repositories("huggingface")[faults.TAKEN]["files"]


@pytest.mark.cluster
def test_a_token_that_is_not_there_is_told_and_waited_for(played: Played) -> None:
    """Nothing has started by then."""
    told = next(s for s in played.history["keyless"] if condition(s, "Succeeded")["reason"] == "SecretKeyMissing")
    assert f"Secret {LATE_SECRET} has no key EXPORT" in condition(told, "Succeeded")["message"]
    assert "startTime" not in told["status"]
    assert succeeded(played, "keyless")["attempts"] == 1


@pytest.mark.cluster
def test_a_run_trains_from_private_repositories_of_hugging_face(played: Played, site: Site) -> None:
    """On a model and a dataset that were published there by an export and an upload."""
    status = succeeded(played, "by-hub")
    assert f"--model {faults.BASE} --use_hf true" in status["resolved"]["command"]
    there = site.recorded("hub", "_state")["huggingface"]
    assert {there[name]["visibility"] for name in (faults.BASE, faults.CHATS)} == {"private"}
    read = {entry["downloaded"] for entry in site.recorded("hub") if "downloaded" in entry}
    assert {f"{faults.BASE}/model.safetensors", f"{faults.CHATS}/data/train.jsonl"} <= read


@pytest.mark.cluster
def test_a_model_and_an_adapter_of_a_hub_are_merged_by_their_ids(played: Played, site: Site) -> None:
    """Private ones, which were published by exports."""
    status = succeeded(played, "by-id")
    assert condition(played.history["by-id"][-1], "Verified")["status"] == "True"
    assert output(played, "by-id") == DONE
    read = {entry["downloaded"] for entry in site.recorded("hub") if "downloaded" in entry}
    assert f"{faults.ADAPTER}/adapter_model.safetensors" in read
    assert status["display"]["source"] == faults.BASE
    summary = condition(played.history["by-id"][-1], "Succeeded")["message"]
    assert "the chat template '<|im_start|>user" in summary  # the tiny model's has no default system prompt


@pytest.mark.cluster
def test_the_tokens_of_the_hubs_show_up_nowhere(played: Played, site: Site) -> None:
    """Though each process printed its environment: no object, log, event, file, or argument of any process."""
    for name in ("killed", "restarted"):
        log = site.kubectl.text("logs", "-l", f"swiftop.dev/name={name}", "--tail=-1")
        shown = [line for line in log.splitlines() if line.startswith("environment:")]
        assert any("'HF_TOKEN': '***'" in line or "'MODELSCOPE_API_TOKEN': '***'" in line for line in shown), log
    for program in (MERGE, "swiftop_runner.hub.push"):
        assert program in played.scene.arguments
    assert HUB_TOKEN not in played.scene.arguments
    assert findings(site, [HUB_TOKEN], secrets=(SECRET, LATE_SECRET, "hubs", "chain-hub")) == []


@pytest.mark.cluster
@pytest.mark.parametrize("name", ["hub-killed", "hub-restarted"])
def test_a_token_goes_to_the_hub_alone(played: Played, name: str) -> None:
    """Links for large files name another host."""
    hub = played.scene.hubs[name]
    elsewhere = [entry for entry in hub.requests() if f"http://{entry['host']}" == hub.elsewhere]
    assert [entry for entry in elsewhere if entry["method"] == "PUT"]
    assert [entry for entry in elsewhere if {"authorization", "cookie"} & entry.keys()] == []
    assert [entry for entry in hub.requests() if "authorization" in entry or "cookie" in entry]
