"""A hub that refuses, is busy, breaks off, or is not there: one clear end, in bounded time, and no second commit."""

from __future__ import annotations

import pytest

from tests.runner.harness import free_port, wait_until
from tests.runner.hub.clients import IN_THE_IMAGE, STRANGER, Desk

DESKS = IN_THE_IMAGE

UPLOAD, COMMIT, LIST = r"^PUT /_blob", r"^POST .*/commit/", r"^GET .*(/repo/files|/revision/main)"
CREATE = r"^POST /api/(v1/models|repos/create)$"
BATCH = r"objects/batch$"
HUGGINGFACE_CLIENTS = ["huggingface-0", "huggingface-1"]


def commits(desk: Desk) -> int:
    """The hub's first one left out."""
    return len(desk.repository["commits"]) - 1


def test_a_token_that_is_not_valid(desk: Desk) -> None:
    done = desk.run("hub.check", token=STRANGER)
    assert (done.reason, done.code) == ("HubAuthFailed", 7), done.log
    assert desk.hub.ask("/_state")[desk.client.hub] == {}


def test_no_token_at_all(desk: Desk) -> None:
    done = desk.run("hub.check", token="")
    assert (done.reason, done.refused["message"]) == ("SecretMissing", "environment variable PUSH_TOKEN is not set")


def test_a_repository_of_others_is_forbidden(desk: Desk) -> None:
    done = desk.run(repo="bob/demo")
    assert (done.reason, done.code) == ("HubForbidden", 3), done.log


@pytest.mark.parametrize("desk", HUGGINGFACE_CLIENTS, indirect=True)  # the other one asks the hub
def test_a_name_that_the_client_refuses_is_told(desk: Desk) -> None:
    done = desk.run("hub.check", repo="alice/a--b")
    assert done.reason == "HubRefused", done.log
    assert "a--b" in done.refused["message"]


def test_an_organization_of_the_account_may_be_published_to(desk: Desk) -> None:
    done = desk.run(repo="team/demo")
    assert done.code == 0, done.log


@pytest.mark.parametrize("desk", HUGGINGFACE_CLIENTS, indirect=True)  # the other hub tells when it is written to
def test_a_token_that_may_only_read_is_found_by_the_check(desk: Desk) -> None:
    desk.hub.ask("/_settings", {"role": "read"})
    assert desk.run("hub.check").reason == "HubForbidden"


@pytest.mark.parametrize("step", [UPLOAD, COMMIT])
def test_a_refusal_is_final_and_commits_nothing(desk: Desk, step: str) -> None:
    desk.hub.faults({"match": step, "status": 403, "times": -1})
    done = desk.run()
    assert done.reason == "HubForbidden", done.log
    assert commits(desk) == 0


def test_an_error_of_the_server_passes_at_each_step(desk: Desk) -> None:
    desk.hub.faults(*({"match": step, "status": 500} for step in (CREATE, BATCH, UPLOAD, COMMIT, LIST)))
    done = desk.run()
    assert (done.code, desk.hub.pending()["faults"]) == (0, []), done.log
    assert commits(desk) == 1


def test_a_busy_hub_tells_how_long_to_wait(desk: Desk) -> None:
    busy = {"status": 429, "headers": {"Retry-After": "1"}}
    desk.hub.faults({"match": UPLOAD, **busy}, {"match": COMMIT, **busy})
    done = desk.run(backoff_seconds=0.01)
    assert (done.code, desk.hub.pending()["faults"]) == (0, []), done.log
    assert commits(desk) == 1
    assert done.seconds > 2


def test_nobody_waits_for_hours(desk: Desk) -> None:
    desk.hub.faults({"match": COMMIT, "status": 429, "headers": {"Retry-After": "7200"}, "times": -1})
    done = desk.run(patience_seconds=60.0)
    assert done.reason == "HubUnreachable", done.log
    assert done.seconds < 30


def test_a_conflict_is_looked_at_and_tried_again(desk: Desk) -> None:
    desk.hub.faults({"match": COMMIT, "status": 409})
    assert desk.run().code == 0
    assert commits(desk) == 1
    (desk.source / "config.json").write_text("{}")
    desk.hub.faults({"match": COMMIT, "status": 409, "times": -1})
    assert desk.run(attempts=2).reason == "PushConflict"


@pytest.mark.parametrize("step", [CREATE, COMMIT])
def test_errors_without_end_end(desk: Desk, step: str) -> None:
    desk.hub.faults({"match": step, "status": 502, "times": -1})
    done = desk.run(attempts=3)
    assert (done.reason, done.code) == ("HubUnreachable", 7), done.log
    assert done.seconds < 30


def test_a_connection_that_breaks_is_taken_up_again(desk: Desk) -> None:
    half = {"match": UPLOAD, "cut": 100_000}
    desk.hub.faults(half, {"match": UPLOAD, "drop": True}, {"match": COMMIT, "drop": True})
    done = desk.run()
    assert (done.code, desk.hub.pending()["faults"]) == (0, []), done.log
    assert commits(desk) == 1


def test_a_lost_answer_does_nothing_twice(desk: Desk) -> None:
    desk.hub.faults(*({"match": step, "drop_after": True} for step in (CREATE, UPLOAD, COMMIT)))
    done = desk.run()
    assert (done.code, desk.hub.pending()["faults"]) == (0, []), done.log
    assert commits(desk) == 1
    assert done.result["commit"] == desk.repository["commits"][-1]["id"]
    assert desk.repository["visibility"] == "private"


def test_a_hub_that_is_not_there(desk: Desk) -> None:
    done = desk.run("hub.check", endpoint=f"http://127.0.0.1:{free_port()}")
    assert (done.reason, done.code) == ("HubUnreachable", 7), done.log
    assert done.seconds < 30


@pytest.mark.parametrize("step", [UPLOAD, COMMIT])
def test_a_push_that_is_killed_is_finished_by_the_next_one(desk: Desk, step: str) -> None:
    """In the middle of a request, whose answer nobody hears."""
    desk.hub.faults({"match": step, "delay": 600.0})
    running = desk.start()
    wait_until(lambda: desk.hub.pending()["requests"] > 0)
    running.process.kill()
    running.process.wait()
    desk.hub.ask("/_release", {})
    wait_until(lambda: desk.hub.pending()["requests"] == 0)
    done = desk.run()
    assert done.code == 0, done.log
    assert commits(desk) == 1


def test_a_listing_that_stays_wrong_is_told(desk: Desk) -> None:
    """The hub says that it has committed, and shows nothing of it."""
    desk.hub.ask("/_settings", {"frozen": True})
    done = desk.run(attempts=2)
    assert done.reason == "PushIncomplete", done.log
    assert "does not list what was published 2 times" in done.refused["message"]
