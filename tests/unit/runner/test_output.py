"""What is kept of the output, and that nobody waits for a reader of the log."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from swiftop.runner import causes
from swiftop.runner.classify import EndedChild, classify_failure
from swiftop.runner.output import CALM_SECONDS, HEAD_BYTES, SAY_SECONDS, TAIL_BYTES, Output
from swiftop.runner.redact import Redactor

FIRST = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\ntorch.OutOfMemoryError: CUDA out of memory.\n'
NOISE = (
    'Traceback (most recent call last):\n  File "b.py", line 1, in f\n'
    "torch.distributed.DistBackendError: NCCL error\n" + "x" * 100 + "\n"
)


@contextmanager
def pumped(target: int) -> Iterator[tuple[Output, Callable[[str], None]]]:
    """An output, and a function that feeds it as the child would."""
    output = Output(Redactor([]), target=target)
    reader, writer = os.pipe()
    thread = threading.Thread(target=output.pump, args=(reader,), daemon=True)
    thread.start()

    def feed(text: str) -> None:
        os.write(writer, text.encode())

    yield output, feed
    os.close(writer)
    thread.join(10)


@pytest.fixture
def nowhere() -> Iterator[int]:
    target = os.open(os.devnull, os.O_WRONLY)
    yield target
    os.close(target)


@pytest.mark.parametrize("pieces", [1, 7, 40, 5000])
def test_the_first_traceback_survives_any_noise_behind_it(nowhere: int, pieces: int) -> None:
    text = "Loading\nrank 3 says\n[rank3]: " + FIRST.replace("\n", "\n[rank3]: ") + "\n" + NOISE * 900
    with pumped(nowhere) as (output, feed):
        for at in range(0, len(text), max(len(text) // pieces, 1)):
            feed(text[at : at + max(len(text) // pieces, 1)])
    assert len(text) > HEAD_BYTES + TAIL_BYTES
    evidence = output.evidence()
    assert evidence.startswith("[rank3]: Traceback")
    assert "\n...\n" in evidence
    assert evidence.endswith(NOISE)
    assert len(evidence) < HEAD_BYTES + TAIL_BYTES + 10
    assert classify_failure(EndedChild(exit_code=1), evidence).cause is causes.CUDA_OUT_OF_MEMORY
    assert classify_failure(EndedChild(exit_code=1), output.tail()).cause is causes.COLLECTIVE_FAILED


@pytest.mark.parametrize("size", [0, HEAD_BYTES, TAIL_BYTES - len(FIRST), TAIL_BYTES, TAIL_BYTES + HEAD_BYTES])
def test_head_and_tail_meet_without_a_gap_or_a_repetition(nowhere: int, size: int) -> None:
    text = "Exception in thread T:\n" + FIRST + "".join(f"{n:07d}\n" for n in range(size // 8))
    with pumped(nowhere) as (output, feed):
        feed(text)
    assert output.evidence().replace("\n...\n", "") in (text, text[:HEAD_BYTES] + text[-TAIL_BYTES:])
    assert output.evidence().startswith("Exception in thread T:")


def test_without_a_traceback_only_the_end_is_kept(nowhere: int) -> None:
    text = "".join(f"{n}\n" for n in range(40000)) + "[INFO:swift] " + FIRST
    with pumped(nowhere) as (output, feed):
        feed(text)
    assert output.evidence() == output.tail() == text[-TAIL_BYTES:]


def test_what_the_training_survived_is_forgotten(nowhere: int) -> None:
    with pumped(nowhere) as (output, feed):
        feed(FIRST + NOISE * 900)
    output.calm(time.monotonic() + CALM_SECONDS / 2)  # another process may log one more step
    assert FIRST in output.evidence()
    output.calm(time.monotonic() + CALM_SECONDS)
    assert output.evidence() == output.tail()


def test_nobody_waits_for_a_reader_of_the_log() -> None:
    unread, target = os.pipe()
    with pumped(target) as (output, feed):
        feed("x" * 150_000)  # more than one pipe holds, less than both
        while len(output.tail()) < TAIL_BYTES // 2:
            time.sleep(0.01)
        since = time.monotonic()
        output.say("dropped")
        assert "x" in output.tail()
        assert time.monotonic() - since < SAY_SECONDS * 3
        os.close(unread)
    os.close(target)


def test_a_full_pipe_drops_the_runners_own_lines_only() -> None:
    unread, target = os.pipe()
    size = fcntl.fcntl(target, fcntl.F_GETPIPE_SZ)
    os.write(target, b"x" * size)
    output = Output(Redactor([]), target=target)
    output.say("dropped")
    assert len(os.read(unread, size)) == size
    output.say("heard")
    assert os.read(unread, 100) == b"\nheard\n"


def test_the_runner_speaks_between_lines_when_an_end_is_held_back() -> None:
    log, target = os.pipe()
    output = Output(Redactor(["other-secret"]), target=target)  # 6F74… in hex: "6" may begin it
    reader, writer = os.pipe()
    thread = threading.Thread(target=output.pump, args=(reader,), daemon=True)
    thread.start()
    os.write(writer, b"step 1\nlength 16")
    while not output.tail().endswith("length 1"):
        time.sleep(0.01)
    output.say("swiftop: saved")
    os.write(writer, b"\ndone\n")
    os.close(writer)
    thread.join(10)
    assert os.read(log, 1000) == b"step 1\nswiftop: saved\nlength 16\ndone\n"
    os.close(target)
    os.close(log)
