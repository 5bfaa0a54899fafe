"""The program ``export`` around real ms-swift, as PID 1: what it makes, and that nothing is done twice."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from tests.runner.exports import ADAPTER, FULL, TARGETS, Exports
from tests.runner.harness import wait_until
from tests.runner.hub.clients import TOKEN
from tests.runner.trainer import WORK


@pytest.fixture(scope="module")
def merged(exports: Exports) -> tuple[int, dict[str, Any]]:
    """How the first execution of the export of that name ended."""
    return exports.export("merged", ADAPTER, dtype="float16").end(180)


def test_an_adapter_is_merged_verified_and_put_in_place(exports: Exports, merged: tuple[int, dict[str, Any]]) -> None:
    code, told = merged
    assert (code, told["reason"]) == (0, "Completed"), told
    files = exports.files("merged")
    assert {"config.json", "model.safetensors", "tokenizer_config.json", "chat_template.jinja"} <= files.keys()
    assert set(files.values()) == {0o644}
    left = json.loads(exports.bench.local("merged", "model", "args.json").read_text())
    assert left["template"] == "qwen2_5"
    assert not {"model", "dataset", "output_dir"} & left.keys()  # what names the machine or the data
    progress = told["progress"]
    assert (progress["phase"], progress["artifactDtype"], progress["verified"]) == (5, "float16", 1)
    assert len(progress["artifactDigest"]) == 64
    assert not exports.bench.local("merged", "model.partial").exists()


@pytest.mark.usefixtures("merged")
def test_a_second_execution_does_nothing(exports: Exports) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in exports.bench.local("merged", "model").iterdir()}
    execution = exports.export("merged", ADAPTER, dtype="float16")
    code, told = execution.end(30)
    assert (code, told["reason"]) == (0, "Completed")
    assert "swift.cli.export" not in execution.log
    assert before == {path.name: path.stat().st_mtime_ns for path in exports.bench.local("merged", "model").iterdir()}


def test_what_a_killed_export_has_left_is_not_taken_for_done(exports: Exports) -> None:
    for folder in ("model.partial", "model"):
        left = exports.bench.local("left", folder)
        left.mkdir(parents=True)
        (left / "config.json").write_text("{}")
        left.chmod(0o777)
    exports.bench.local("left").chmod(0o777)
    code, told = exports.export("left", ADAPTER, verify=False).end(180)
    assert (code, told["reason"]) == (0, "Completed"), told
    assert "model.safetensors" in exports.files("left")


def test_the_adapter_itself(exports: Exports) -> None:
    code, told = exports.export("adapter-only", ADAPTER, merge=False).end(180)
    assert (code, told["reason"]) == (0, "Completed"), told
    files = exports.files("adapter-only")
    assert {"adapter_config.json", "adapter_model.safetensors"} <= files.keys()
    assert not {"optimizer.pt", "trainer_state.json"} & files.keys()


def test_the_template_is_compared_of_an_adapter_that_is_given_by_its_id(exports: Exports) -> None:
    """Neither the name of the result's folder nor its config.json tells ms-swift what it is."""
    bare = exports.bench.local("bare")  # as it is published
    unpublished = shutil.ignore_patterns("args.json")
    shutil.copytree(exports.bench.local(ADAPTER), bare, ignore=unpublished, copy_function=shutil.copyfile)
    code, told = exports.export("by-id", "", adapter=f"{WORK}/bare").end(180)
    assert (code, told["reason"]) == (0, "Completed"), told
    assert "ms-swift has no template" not in told["message"]
    assert "templateEqual" in told["progress"]


def test_a_full_checkpoint_is_converted(exports: Exports) -> None:
    code, told = exports.export("converted", FULL, dtype="bfloat16").end(180)
    assert (code, told["reason"]) == (0, "Completed"), told
    config = json.loads(exports.bench.local("converted", "model", "config.json").read_text())
    assert "bfloat16" in (config.get("dtype"), config.get("torch_dtype"))
    assert told["progress"]["artifactDtype"] == "bfloat16"


def test_a_checkpoint_that_is_not_there_is_told_before_anything_is_loaded(exports: Exports) -> None:
    code, told = exports.export("missing", "adapter/checkpoint-99").end(30)
    assert (code, told["reason"]) == (3, "CheckpointMissing"), told


def test_it_is_published_to_both_hubs_once(exports: Exports) -> None:
    exports.hub.ask("/_reset", {})
    card = {"name": "tuned", "base": {"name": "Qwen/Qwen2.5-0.5B-Instruct", "hub": "modelscope"}}
    published: dict[str, Any] = {"verify": False, "targets": TARGETS, "card": card}
    execution = exports.export("published", ADAPTER, **published)
    code, told = execution.end(180)
    assert (code, told["reason"]) == (0, "Completed"), told
    there = exports.hub.ask("/_state")
    for number, target in enumerate(TARGETS):
        found = there[target.hub][target.repo]
        assert found["visibility"] == told["progress"][f"visibility{number}"] == "private"
        assert found["commits"][-1]["id"] == told["progress"][f"commit{number}"]
        assert {"config.json", "model.safetensors", "README.md", "tokenizer.json"} <= found["files"].keys()
        assert not {"args.json", "swiftop-run.json"} & found["files"].keys()
    assert TOKEN not in execution.log
    # The repositories are deleted on the hub; what was published is not published again.
    exports.hub.ask("/_reset", {})
    code, told = exports.export("published", ADAPTER, **published).end(30)
    assert (code, told["progress"]["commit0"]) == (0, there["modelscope"]["alice/tuned"]["commits"][-1]["id"])
    assert exports.hub.ask("/_state") == {"modelscope": {}, "huggingface": {}}


def test_a_wrong_token_is_told_before_anything_is_merged(exports: Exports) -> None:
    execution = exports.export("refused", ADAPTER, token="wrong-token", targets=TARGETS)
    code, told = execution.end(60)
    assert (code, told["reason"]) == (7, "HubAuthFailed"), told
    assert not exports.bench.local("refused", "model.partial").exists()
    assert "wrong-token" not in execution.log


def test_after_a_kill_between_two_hubs_only_the_second_is_published_to(exports: Exports) -> None:
    exports.hub.ask("/_reset", {})
    exports.hub.ask("/_faults", [{"match": "POST /api/repos/create", "times": -1, "delay": 600.0}])
    wanted: dict[str, Any] = {"verify": False, "targets": TARGETS}
    execution = exports.export("killed", ADAPTER, **wanted)
    wait_until(lambda: exports.hub.ask("/_pending")["requests"], seconds=120, what="the second push")
    assert execution.progress()["phase"] == 4
    execution.kill()
    exports.hub.ask("/_faults", [])
    exports.hub.ask("/_release", {})
    before = exports.hub.ask("/_state")["modelscope"]["alice/tuned"]["commits"]
    execution = exports.export("killed", ADAPTER, **wanted)
    code, told = execution.end(120)
    assert (code, told["reason"]) == (0, "Completed"), told
    there = exports.hub.ask("/_state")
    assert there["modelscope"]["alice/tuned"]["commits"] == before
    assert "model.safetensors" in there["huggingface"]["alice/tuned"]["files"]
    assert "swift.cli.export" not in execution.log


def test_two_exports_of_one_cache_download_their_model_once(exports: Exports) -> None:
    exports.hub.ask("/_reset", {})
    assert exports.export("origin", ADAPTER, verify=False, targets=TARGETS[:1]).end(120)[0] == 0
    cache = f"{WORK}/cache"
    environ = {"MODELSCOPE_CACHE": f"{cache}/modelscope"}
    plan = {"cache_dir": cache, "cache_keys": ("tuned",)}
    wanted: dict[str, Any] = {"model": "alice/tuned", "verify": False, "environ": environ, "plan": plan}
    runs = [exports.export(name, **wanted) for name in ("one", "other")]
    assert [run.end(180)[0] for run in runs] == [0, 0]
    assert exports.files("one").keys() == exports.files("other").keys() >= {"model.safetensors", "config.json"}
    fetched = [entry["downloaded"] for entry in exports.hub.ask("/_recorded") if "downloaded" in entry]
    assert fetched.count("alice/tuned/model.safetensors") == 1
