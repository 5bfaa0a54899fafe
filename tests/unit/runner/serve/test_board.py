"""What is counted, and how the engine's silence is measured."""

from __future__ import annotations

import pytest

from swiftop.runner.serve import metrics
from swiftop.runner.serve.board import FAILED, LEFT, OK, Board
from tests.unit.runner.serve.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> Board:
    return Board(["base", "ada"], clock)


def test_silence_is_no_token_and_no_end_while_there_are_requests(board: Board, clock: Clock) -> None:
    clock.now += 100
    assert board.silent_seconds == 0
    call = board.begin("base")
    clock.now += 7
    assert board.silent_seconds == 7
    call.beat(1)
    clock.now += 2
    assert board.silent_seconds == 2
    other = board.begin("ada")
    clock.now += 3
    assert board.silent_seconds == 5  # a request that comes is no sign of life
    board.end(other, FAILED)
    assert board.silent_seconds == 0  # but its end is: the engine said no
    board.end(call, OK)
    clock.now += 50
    assert board.silent_seconds == 0
    assert clock.now - board.last_token == 55


def test_a_client_that_does_not_read_is_no_silence_of_the_engine(board: Board, clock: Clock) -> None:
    call = board.begin("base")
    call.sending = True
    clock.now += 100
    assert board.silent_seconds == 0
    board.begin("ada")
    assert board.silent_seconds == 0
    clock.now += 9
    assert board.silent_seconds == 9


def test_requests_wait_until_the_engine_takes_them_up(board: Board) -> None:
    first, second = board.begin("base"), board.begin("ada")
    assert board.queued() == 2
    first.beat(1)
    assert (board.queued(), board.queued("base"), board.queued("ada")) == (1, 0, 1)
    assert len(board.clients()) == 2
    board.end(second, LEFT)
    assert (board.queued(), board.requests(), board.requests(LEFT), board.requests(OK)) == (0, 1, 1, 0)


def test_a_probe_is_a_sign_of_life_and_counted_as_nothing(board: Board, clock: Clock) -> None:
    clock.now += 10
    probe = board.begin("base", probe=True)
    probe.beat(1)
    assert (board.clients(), board.tokens(), board.last_token) == ([], 0, clock.now)
    board.end(probe, OK)
    assert (board.requests(), board.tokens(), board.first_token_seconds) == (0, 0, None)


def test_tokens_of_late(board: Board, clock: Clock) -> None:
    assert board.tokens_per_second == 0
    call = board.begin("base")
    for _ in range(60):
        clock.now += 1
        call.beat(4)
        rate = board.tokens_per_second
    assert rate == pytest.approx(4)
    board.end(call, OK)
    assert board.tokens() == 240
    for _ in range(60):
        clock.now += 1
        rate = board.tokens_per_second
    assert rate == 0
    assert board.first_token_seconds == 1


def test_the_metrics(board: Board, clock: Clock) -> None:
    call = board.begin("ada")
    clock.now += 0.2
    call.beat(3)
    call.prompt_tokens = 11
    clock.now += 2
    board.end(call, OK)
    board.begin("base")
    text = metrics.exposition(board, ready=True)
    lines = text.splitlines()
    assert {
        "swiftop_serve_ready 1",
        'swiftop_serve_requests_total{name="ada",outcome="ok"} 1',
        'swiftop_serve_requests_total{name="base",outcome="ok"} 0',
        'swiftop_serve_tokens_total{name="ada"} 3',
        'swiftop_serve_prompt_tokens_total{name="ada"} 11',
        'swiftop_serve_in_flight{name="base"} 1',
        'swiftop_serve_queued{name="base"} 1',
        'swiftop_serve_first_token_seconds_bucket{name="ada",le="0.1"} 0',
        'swiftop_serve_first_token_seconds_bucket{name="ada",le="0.25"} 1',
        'swiftop_serve_first_token_seconds_bucket{name="ada",le="+Inf"} 1',
        'swiftop_serve_request_seconds_count{name="ada"} 1',
    } <= set(lines)
    helped = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    plain = {line.partition("{")[0].partition(" ")[0] for line in lines if not line.startswith("#")}
    assert {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in plain} == helped
