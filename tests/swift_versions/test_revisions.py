"""A dataset with a revision is read at that revision by the real ms-swift and the real clients of both hubs.

The hubs are fakes whose main branch has other rows than the commit that is asked for.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.runner.hub.clients import FakeHub, fake_hub
from tests.swift_versions.field_cases import tiny
from tests.swift_versions.test_acceptance import ENVIRONMENTS, arguments, ready

HUBS = ("modelscope", "huggingface")
REPOSITORIES = ("alice/chats", "alice/more")
SUBSETS = """---
configs:
- {config_name: default, data_files: data/train.jsonl}
- {config_name: extra, data_files: data/extra.jsonl}
---
"""
Members = dict[str, Any]


def rows(*answers: str) -> str:
    turns = ([{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}] for answer in answers)
    return "".join(json.dumps({"messages": row}) + "\n" for row in turns)


def seed(hub: FakeHub) -> dict[str, str]:
    """Two commits with other rows in each repository; the id of the first by hub and name."""
    commits: dict[str, str] = {}
    for name in HUBS:
        for repository in REPOSITORIES:
            for age in ("old", "new"):
                said = f"{name} {repository} {age}"
                files = {
                    "README.md": SUBSETS,
                    "data/train.jsonl": rows(said),
                    "data/extra.jsonl": rows(f"{said} extra", f"{said} extra"),
                }
                body = {"hub": name, "kind": "dataset", "id": repository, "visibility": "public", "files": files}
                hub.ask("/_seed", body)
                commits.setdefault(f"{name} {repository}", hub.repository(name, repository)["commits"][-1]["id"])
    return commits


def dataset(
    commits: dict[str, str], hub: str, repository: str = "alice/chats", *, old: bool = True, **more: Any
) -> Any:
    revision = {"revision": commits[f"{hub} {repository}"]} if old else {}
    return {"id": repository, "hub": hub, **revision, **more}


def cases(commits: dict[str, str], version: str) -> list[tuple[Members, list[str], list[str]]]:
    """Members of a spec, and what is trained and evaluated on; in this order, on one cache."""
    found: list[tuple[Members, list[str], list[str]]] = []
    for hub in HUBS:
        old, new = dataset(commits, hub), dataset(commits, hub, old=False)
        said = f"{hub} alice/chats"
        found += [
            ({"datasets": [old]}, [f"{said} old"], []),
            ({"datasets": [new]}, [f"{said} new"], []),
            ({"datasets": [old]}, [f"{said} old"], []),
            ({"datasets": [{**old, "subsets": ["extra"], "sample": 1}]}, [f"{said} old extra"], []),
            (
                {"datasets": [{**new, "revision": "master" if hub == "modelscope" else "main"}],
                 "validation": {"datasets": [old]}},
                [f"{said} new"],
                [f"{said} old"],
            ),
        ]  # fmt: skip
    many = [(hub, name) for hub in HUBS for name in REPOSITORIES]
    mixed = {"datasets": [dataset(commits, hub, name, subsets=["default"]) for hub, name in many]}
    found.append((mixed, sorted(f"{hub} {name} old" for hub, name in many), []))
    hf_model = tiny(hub="huggingface")
    found.append(
        ({"model": hf_model, "datasets": [dataset(commits, "huggingface")]}, ["huggingface alice/chats old"], [])
    )
    if version == "4.6":
        both = [dataset(commits, "huggingface"), dataset(commits, "modelscope")]
        found.append(({"model": hf_model, "datasets": both}, [f"{hub} alice/chats old" for hub in sorted(HUBS)], []))
    else:  # which is why kinds/sftrun/check.py refuses it
        other = [dataset(commits, "modelscope", old=False)]
        found.append(({"model": hf_model, "datasets": other}, ["huggingface alice/chats new"], []))
    return found


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_revision_is_what_is_trained_on(name: str) -> None:
    with fake_hub() as hub:
        commits = seed(hub)
        expected = cases(commits, ENVIRONMENTS[name])
        commands = [arguments(ENVIRONMENTS[name], {"resources": {"gpus": 0}, **members}) for members, *_ in expected]
        env = {
            "MODELSCOPE_ENDPOINT": hub.url,
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        asked = json.dumps({"env": env, "commands": commands})
        output = ready(name).run("tests/swift_versions/load_datasets.py", stdin=asked, fresh=True)
    read = json.loads(output.rpartition("RESULTS\n")[2])
    meant = [{"train": train, "validation": validation} for _, train, validation in expected]
    wrong = [
        (members, want, got) for (members, *_), want, got in zip(expected, meant, read, strict=True) if want != got
    ]
    assert not wrong, f"{len(wrong)} of {len(expected)}; the first: {wrong[0]}"
