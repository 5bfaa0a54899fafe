"""Uploads by themselves, with the real clients: bad rows, a Secret that comes later, and a pod that is deleted."""

from __future__ import annotations

import hashlib

import pytest

from tests.e2e import faults
from tests.e2e.conftest import Played
from tests.e2e.scene import LATE_SECRET
from tests.e2e.site import HUB, Site, condition
from tests.e2e.stories import reasons

SHOWN = 20


@pytest.mark.cluster
def test_bad_rows_are_shown_and_nothing_is_uploaded(played: Played, site: Site) -> None:
    status = played.history["bad"][-1]["status"]
    assert (status["state"], status["failure"]["reason"], status["attempts"]) == ("Failed", "DataInvalid", 1)
    assert [bad["line"] for bad in status["badRows"]] == list(range(1, SHOWN + 1))
    assert len({bad["why"] for bad in status["badRows"]}) == 1
    assert (status["rows"]["total"], status["rows"]["bad"]) == (faults.ROWS, faults.BAD_ROWS)
    assert "commit" not in status
    assert faults.BAD not in site.recorded("hub", "_state")["modelscope"]


@pytest.mark.cluster
def test_so_many_bad_rows_as_are_tolerated_are_uploaded_and_shown(played: Played, site: Site) -> None:
    status = played.history["tolerated"][-1]["status"]
    assert status["state"] == "Succeeded", site.story("tolerated")
    assert (status["rows"]["bad"], len(status["badRows"])) == (faults.BAD_ROWS, SHOWN)
    assert status["display"]["rows"] == f"{faults.ROWS} ({faults.BAD_ROWS} bad)"


@pytest.mark.cluster
def test_it_waits_for_its_secret_and_tells_commit_and_page(played: Played, site: Site) -> None:
    states = played.history[faults.WAITING]
    told = [reason for reason in reasons(states, "Succeeded") if reason.startswith("Secret")]
    assert told == ["SecretMissing", "SecretKeyMissing"]
    words = {c["reason"]: c["message"] for c in (condition(state, "Succeeded") for state in states)}
    assert [LATE_SECRET in words[reason] for reason in told] == [True, True]
    status = states[-1]["status"]
    assert (status["state"], status["attempts"]) == ("Succeeded", 1), site.story(faults.WAITING)
    found = site.recorded("hub", "_state")["huggingface"][faults.CHATS]
    assert (status["commit"], status["url"]) == (found["commits"][-1]["id"], f"{HUB}/datasets/{faults.CHATS}")
    assert status["visibility"] == found["visibility"] == "private"
    file = site.kubectl("exec", "tool", "--", "cat", "/library/datasets/sharegpt.jsonl")
    assert found["files"]["data/train.jsonl"] == hashlib.sha256(file).hexdigest()


@pytest.mark.cluster
def test_people_see_what_was_uploaded(played: Played, site: Site) -> None:
    printed = site.kubectl.text("get", "datasetupload", faults.WAITING).splitlines()
    assert printed[0].split() == ["NAME", "STATUS", "REASON", "ROWS", "DESTINATION", "PROGRESS", "ETA", "AGE"]
    told = [faults.WAITING, "Succeeded", "Completed", "200", f"huggingface:{faults.CHATS}", "Finished"]
    assert printed[1].split()[:6] == told


@pytest.mark.cluster
def test_a_pod_that_is_deleted_in_the_middle_of_the_upload_makes_no_second_commit(played: Played, site: Site) -> None:
    status = played.history["interrupted"][-1]["status"]
    assert (status["state"], status["attempts"]) == ("Succeeded", 2), site.story("interrupted")
    assert len(status["interruptions"]) == 1
    hub = played.scene.hubs["hub-upload"]
    assert hub.commits("modelscope", faults.INTERRUPTED) == [status["commit"]]
    assert hub.repositories("modelscope")[faults.INTERRUPTED]["visibility"] == status["visibility"] == "private"
