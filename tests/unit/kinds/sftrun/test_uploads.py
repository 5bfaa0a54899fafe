"""``uploadRef``: what is waited for, what it becomes, and how that is remembered."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop import names
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.kinds.sftrun import uploads
from swiftop.kinds.sftrun.kind import KIND
from swiftop.model.facts import Cause
from swiftop.model.kind import Facts, Object, Pinned, Reference, Seen, World
from swiftop.model.verdict import Blocked, Create, Phase, Waiting
from swiftop.runner.protocol import UploadedDataset
from swiftop.workload.job import plan_of
from tests.support.objects import IMAGE, run_of, sftrun

MOVING = ("master", "v1.0", "--x", "..", "4F1C0B7D2A9E")  # what a hub may answer that is no commit
COMMIT = "4f1c0b7d2a9e4c681c5e09b7d2f84a63aa00bb11"
CHATS = Reference(names.DATASETUPLOAD, "team", "chats")
EVAL = Reference(names.DATASETUPLOAD, "team", "eval")
OTHER_RUN = Reference(names.SFTRUN, "team", "other")
PINNED = UploadedDataset(upload="chats", hub="modelscope", repo="me/chats", revision=COMMIT)


def run(*datasets: Object, **members: Any) -> SFTRun:
    spec = {**sftrun()["spec"], "runtime": IMAGE, "datasets": list(datasets) or [ref("chats")], **members}
    return run_of(spec, generation=3)


def ref(name: str, **more: Any) -> Object:
    return {"uploadRef": {"name": name}, **more}


def upload(status: str = "True", reason: str = "Completed", *, name: str = "chats", **more: Any) -> Object:
    summary = {"type": "Succeeded", "status": status, "reason": reason}
    return {
        "metadata": {"name": name, "namespace": "team", "uid": "u-9"},
        "spec": {"destination": {"hub": "modelscope", "repo": f"me/{name}"}, **more},
        "status": {"conditions": [summary], "commit": COMMIT},
    }


def before(reason: str, generation: int = 3) -> Object:
    known = {"type": "DependenciesReady", "status": "False", "reason": reason, "observedGeneration": generation}
    return {"conditions": [known]}


MISSING = Blocked(
    Cause(
        "SourceMissing",
        "DatasetUpload chats does not exist, and uploadRef names it",
        "create it, or fix the name in the spec",
    ),
    stalled=False,
)
DELETED = Blocked(
    Cause(
        "SourceDeleted",
        "DatasetUpload chats was deleted before this run could start",
        "create it again, or name the dataset by its id and revision",
    ),
    stalled=True,
)
PENDING = Waiting(
    Phase.PENDING,
    Cause("SourcePending", "DatasetUpload chats has not finished", "wait; the run then starts by itself"),
)
SUSPENDED = Waiting(
    Phase.PENDING,
    Cause(
        "SourcePending",
        "DatasetUpload chats is suspended",
        "set its spec.suspend to false; the run then starts by itself",
    ),
)
FAILED = Blocked(
    Cause(
        "SourceFailed",
        "DatasetUpload chats has failed (DataInvalid)",
        "see its status; fix it and apply it again after deleting it, or under a new name that uploadRef names",
    ),
    stalled=True,
)
WITHOUT_COMMIT = Blocked(
    Cause(
        "SourceUnusable",
        "DatasetUpload chats does not say which commit it made",
        "name the dataset by its id and revision",
    ),
    stalled=True,
)


@pytest.mark.parametrize(
    ("found", "previous", "expected"),
    [
        (None, {}, MISSING),
        (None, before("SourceMissing"), MISSING),
        (None, before("SourcePending"), DELETED),
        (None, before("SourceDeleted"), DELETED),
        (None, before("SourcePending", generation=2), MISSING),  # of a spec that named another
        (upload("Unknown", "Running"), {}, PENDING),
        ({"metadata": {"name": "chats"}, "spec": {}}, {}, PENDING),
        (upload("Unknown", "Suspended", suspend=True), {}, SUSPENDED),
        (upload("False", "DataInvalid"), {}, FAILED),
        ({**upload(), "status": {"conditions": upload()["status"]["conditions"]}}, {}, WITHOUT_COMMIT),
        *(({**upload(), "status": {**upload()["status"], "commit": name}}, {}, WITHOUT_COMMIT) for name in MOVING),
        (upload(), {}, None),
        ({**upload(), "spec": None}, {}, None),  # of one that is over the store keeps its results alone
    ],
)
def test_what_a_run_waits_for(found: Object | None, previous: Object, expected: Waiting | Blocked | None) -> None:
    assert list(uploads.readiness(run(), {CHATS: found}, previous)) == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("chats", "evaluated", "expected"),
    [
        (upload(), upload("Unknown", "Running", name="eval"), "SourcePending"),
        (upload("Unknown", "Running"), None, "SourceMissing"),
        (None, upload("False", "DataInvalid", name="eval"), "SourceFailed"),
        (upload(), upload(name="eval"), None),
    ],
)
def test_of_several_the_one_is_told_that_needs_a_person_most(
    chats: Object | None, evaluated: Object | None, expected: str | None
) -> None:
    both = run(ref("chats"), validation={"datasets": [ref("eval")]})
    assert KIND.references(both) == (CHATS, EVAL)
    found = KIND.source(both, {CHATS: chats, EVAL: evaluated}, {})
    assert (found.cause.reason if found else None) == expected


def test_a_checkpoint_of_another_run_is_waited_for_too() -> None:
    both = run(checkpoints={"from": {"sftRunRef": {"name": "other"}}})
    assert KIND.references(both) == (OTHER_RUN, CHATS)
    found = KIND.source(both, {OTHER_RUN: None, CHATS: upload("Unknown", "Running")}, {})
    assert found is not None
    assert "SFTRun other" in found.cause.message


def test_a_run_without_an_upload_refers_to_none() -> None:
    assert KIND.references(run({"id": "me/chats"})) == ()


def prepared(one: SFTRun, world: World[Defaults]) -> tuple[Object, Pinned, list[str]]:
    """Job, what is pinned by it, and the words of the command."""
    job = KIND.build(KIND.prepare(one, world), Create(1))[-1]
    plan, pinned = plan_of(job), KIND.pinned(job)
    assert plan is not None
    assert pinned is not None
    return job, pinned, list(plan.command)


def world(found: Object | None, pinned: Pinned | None = None) -> World[Defaults]:
    return World(defaults=Defaults(), runner_config_map="r", references={CHATS: found, EVAL: None}, pinned=pinned)


def after(words: list[str], flag: str) -> list[str]:
    rest = words[words.index(flag) + 1 :]
    return rest[: next(index for index, word in enumerate(rest) if word.startswith("--"))]


def test_what_was_uploaded_is_trained_on_at_that_commit() -> None:
    one = run(ref("chats", sample=100), {"id": "me/other"}, validation={"datasets": [ref("chats")]})
    _, pinned, words = prepared(one, world(upload()))
    assert after(words, "--dataset") == [f"me/chats@{COMMIT}#100", "me/other"]
    assert after(words, "--val_dataset") == [f"me/chats@{COMMIT}"]
    info = f'[{{"dataset_name": "me/chats@{COMMIT}", "ms_dataset_id": "me/chats", "ms_revision": "{COMMIT}"}}]'
    assert after(words, "--custom_dataset_info") == [info]
    assert pinned.datasets == (PINNED,)


def test_the_hub_of_the_upload_counts_and_its_token_is_given() -> None:
    on_the_other = upload(destination={"hub": "huggingface", "repo": "me/chats"})
    job, _, words = prepared(run(), world(on_the_other))
    assert after(words, "--dataset") == [f"HF::me/chats@{COMMIT}"]
    env = {env["name"] for env in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert {"HF_TOKEN", "MODELSCOPE_API_TOKEN"} <= env  # the model is on ModelScope


@pytest.mark.parametrize("found", [None, upload("False", "DataInvalid"), {**upload(), "status": {"commit": "another"}}])
def test_a_later_attempt_stays_with_what_is_pinned(found: Object | None) -> None:
    first, pinned, words = prepared(run(), world(upload()))
    later, again, same = prepared(run(), world(found, pinned))
    assert (same, again.datasets, again.digest) == (words, pinned.datasets, pinned.digest)
    assert later["spec"] == first["spec"]


def test_once_started_it_waits_for_no_upload() -> None:
    obj = {**sftrun(datasets=[ref("chats")], runtime=IMAGE), "status": {"startTime": "2027-01-15T08:00:00Z"}}
    obj["status"] |= {"attempts": 1, "nextAttempt": 2}
    seen = Seen(obj=obj, now=1_800_000_000.0, children={})
    observed = KIND.observe(seen)
    facts: Facts[Any, Any] = Facts(
        obj=obj, resource=run(), unreadable=None, observed=observed, references={CHATS: None}, now=seen.now
    )
    assert [type(action).__name__ for action in KIND.decide(facts).actions] == ["Create"]
