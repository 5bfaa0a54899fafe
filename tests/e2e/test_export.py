"""A run and its exports, applied in reverse order: each waits for what it refers to, and the results are real ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.e2e import objects
from tests.e2e.objects import on_claim, sftrun, training
from tests.e2e.site import HUB, HUB_TOKEN, Site, condition
from tests.e2e.support import Object, eventually

RUN = "exported"
STEPS = 4


def modelexport(name: str, **spec: Any) -> Object:
    """Export of the run's last checkpoint."""
    return objects.modelexport(name, {"sftRunRef": {"name": RUN}}, **spec)


BOTH_HUBS = [{"name": name, "value": HUB} for name in ("MODELSCOPE_ENDPOINT", "HF_ENDPOINT")]
REPOSITORY = "alice/tuned"
EXPORTS = {
    "merged": modelexport("merged", dtype="float16"),
    "adapter": modelexport("adapter", merge=False),
    "published": modelexport(
        "published",
        verify="Skip",
        push=[{"hub": "modelscope", "repo": REPOSITORY}, {"hub": "huggingface", "repo": REPOSITORY}],
        credentials={"secretName": "hubs"},
        runtime={"env": BOTH_HUBS},
    ),
    "refused": modelexport(
        "refused",
        push=[{"hub": "huggingface", "repo": REPOSITORY, "tokenSecret": {"name": "hubs", "key": "WRONG"}}],
        runtime={"env": BOTH_HUBS},
    ),
}


@pytest.fixture(scope="module")
def exports(site: Site) -> Iterator[dict[str, Object]]:
    """All exports, ended."""
    tokens = {"MODELSCOPE_API_TOKEN": HUB_TOKEN, "HF_TOKEN": HUB_TOKEN, "WRONG": "hf_wrong"}
    site.kubectl.apply(objects.secret("hubs", tokens), *EXPORTS.values())
    eventually(lambda: {_reason(site, name) for name in EXPORTS} == {"SourceMissing"}, what="all wait", seconds=90)
    site.kubectl.apply(sftrun(RUN, output=on_claim("exports", objects.RUNS), training=training(STEPS)))
    yield {name: eventually(partial(_ended, site, name), what=f"{name} ends", seconds=480) for name in EXPORTS}
    for name in EXPORTS:
        site.kubectl.delete("modelexport", name)
    site.remove(RUN)


def _reason(site: Site, name: str) -> str:
    found = site.kubectl.get("modelexport", name) or {}
    known = {c["type"]: c for c in found.get("status", {}).get("conditions", ())}
    return str(known.get("SourceReady", {}).get("reason", ""))


def _ended(site: Site, name: str) -> Object | None:
    found = site.kubectl.get("modelexport", name)
    return found if found and condition(found, "Succeeded")["status"] != "Unknown" else None


@pytest.mark.cluster
def test_a_merged_model_lies_complete_and_readable_where_the_status_says(
    exports: dict[str, Object], site: Site
) -> None:
    status = exports["merged"]["status"]
    assert status["state"] == "Succeeded", status
    artifact = status["artifact"]
    assert (artifact["claimName"], artifact["dtype"], artifact["digest"][:7]) == (objects.RUNS, "float16", "sha256:")
    folder = f"/runs/{artifact['path']}"
    listed = dict(line.split() for line in site.shell(f"cd {folder} && stat -c '%n %a' *").splitlines())
    assert {"config.json", "model.safetensors", "tokenizer_config.json"} <= listed.keys()
    assert listed["model.safetensors"] == "644"
    # Of the training's arguments what a prompt is made by, and nothing of its files.
    arguments = json.loads(site.shell(f"cat {folder}/args.json"))
    assert {"template", "swift_version"} <= arguments.keys()
    assert not arguments.keys() & {"dataset", "output_dir", "model"}
    assert sorted(site.shell(f"ls {folder}/..").split()) == ["model", "swiftop-export.json", "swiftop-run.json"]
    assert [condition(exports["merged"], name)["status"] for name in ("SourceReady", "Merged", "Verified")] == [
        "True"
    ] * 3


@pytest.mark.cluster
def test_the_adapter_itself_is_exported(exports: dict[str, Object], site: Site) -> None:
    status = exports["adapter"]["status"]
    assert status["state"] == "Succeeded", status
    listed = site.shell(f"ls /runs/{status['artifact']['path']}").split()
    assert {"adapter_config.json", "adapter_model.safetensors"} <= set(listed)
    assert "optimizer.pt" not in listed


@pytest.mark.cluster
def test_people_see_what_was_exported(exports: dict[str, Object], site: Site) -> None:
    printed = site.kubectl.text("get", "modelexport", "merged").splitlines()
    assert printed[0].split() == ["NAME", "STATUS", "REASON", "SOURCE", "DTYPE", "TARGETS", "SIZE", "AGE"]
    assert printed[1].split()[:5] == ["merged", "Succeeded", "Completed", f"{RUN}/last", "float16"]


@pytest.mark.cluster
def test_applied_again_nothing_is_done_twice(exports: dict[str, Object], site: Site) -> None:
    site.kubectl.apply(EXPORTS["merged"])
    jobs = site.kubectl.items("jobs", "swiftop.dev/kind=ModelExport,swiftop.dev/name=merged")
    assert [job["metadata"]["name"] for job in jobs] == ["merged-mexp-1"]
    again = site.kubectl.get("modelexport", "merged")
    assert again is not None
    assert again["status"] == exports["merged"]["status"]


@pytest.mark.cluster
def test_it_is_published_once_private_and_complete_on_both_hubs(exports: dict[str, Object], site: Site) -> None:
    status = exports["published"]["status"]
    assert status["state"] == "Succeeded", status
    assert condition(exports["published"], "Pushed")["status"] == "True"
    there = site.recorded("hub", "_state")
    for target in status["targets"]:
        found = there[target["hub"]][REPOSITORY]
        assert (target["visibility"], found["visibility"]) == ("private", "private")
        assert target["commit"] == found["commits"][-1]["id"]
        assert {"config.json", "model.safetensors", "README.md"} <= set(found["files"])
        assert "args.json" not in found["files"]
    assert [target["hub"] for target in status["targets"]] == ["modelscope", "huggingface"]


@pytest.mark.cluster
def test_a_wrong_token_is_told_before_anything_is_merged(exports: dict[str, Object], site: Site) -> None:
    status = exports["refused"]["status"]
    assert (status["state"], status["failure"]["reason"]) == ("Failed", "HubAuthFailed")
    assert "swift.cli.export" not in status["failure"]["log"]
    assert "artifact" not in status
    assert "hf_wrong" not in str(status)
