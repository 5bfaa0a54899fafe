"""What a log holds of exceptions, and how far each is believed."""

from __future__ import annotations

import pytest

from swiftop.runner.exceptions import ABORT, ASIDE, BARE, UNCAUGHT, Frame, Raised, chains


def trace(last: str, file: str = "a.py") -> str:
    return f'Traceback (most recent call last):\n  File "{file}", line 1, in <module>\n    f()\n{last}\n'


def at(file: str) -> tuple[Frame, ...]:
    return (Frame(file, "<module>", "f()"),)


def test_cause_and_effect_are_one_chain() -> None:
    log = (
        trace("OSError: [Errno 28] No space left on device", "/x/serialization.py")
        + "\nDuring handling of the above exception, another exception occurred:\n\n"
        + trace("RuntimeError: unexpected pos 64 vs 0", "/x/trainer.py")
        + "went on\n"
        + trace("KeyError: 'x'")
    )
    assert chains(log) == [
        (
            Raised(UNCAUGHT, "OSError: [Errno 28] No space left on device\n", at("/x/serialization.py")),
            Raised(UNCAUGHT, "RuntimeError: unexpected pos 64 vs 0\nwent on", at("/x/trainer.py")),
        ),
        (Raised(UNCAUGHT, "KeyError: 'x'\n", at("a.py")),),
    ]


@pytest.mark.parametrize(
    "before",
    [
        "Exception in thread Thread-3 (_upload):\n",
        "--- Logging error ---\n",
        "Error in atexit._run_exitfuncs:\n",
        "Task exception was never retrieved\nfuture: <Task finished name='Task-1'>\n",
        "[INFO:swift] ",
        "2026-01-02 03:04:05,678 - swift - ERROR - ",
        "[rank3]: [WARNING:swift] ",
    ],
)
def test_what_ends_nothing_stands_aside(before: str) -> None:
    log = before + trace("ValueError: a") + "\nDuring handling of the above exception, another exception occurred:\n\n"
    assert [[raised.kind for raised in chain] for chain in chains(log + trace("ValueError: b"))] == [[ASIDE, ASIDE]]


def test_an_exception_outside_of_any_traceback_is_bare() -> None:
    assert chains("{'row': 1}\nValueError: path: '/x' not found\n") == [
        (Raised(BARE, "ValueError: path: '/x' not found\n"),)
    ]


def test_last_words_of_an_abort() -> None:
    log = (
        "[rank0]:[E1124 08:11:39.1 ProcessGroupNCCL.cpp:632] [Rank 0] Watchdog caught collective operation timeout: x\n"
        "terminate called after throwing an instance of 'c10::DistBackendError'\n  what():  [PG ID 0] Process group\n"
        "terminate called after throwing an instance of 'int'\n"
    )
    assert chains(log) == [
        (Raised(ABORT, "Watchdog caught collective operation timeout: x"),),
        (Raised(ABORT, "c10::DistBackendError: [PG ID 0] Process group"),),
        (Raised(ABORT, "int: "),),
    ]


@pytest.mark.parametrize(
    "noise",
    [
        "[rank0]:[W1124 08:11:39.123 ProcessGroupNCCL.cpp:1496] Warning: destroy_process_group() was not called",
        "[W ProcessGroupNCCL.cpp:1018] Warning: NCCL error",
        "W1124 08:11:39.000000 77 torch/distributed/elastic/multiprocessing/api.py:900] Sending SIGTERM",
        "2026-01-02 03:04:05 ERROR requests.exceptions.ConnectionError",
        "[INFO:swift] last_model_checkpoint: None",
        "Exception in thread Thread-1:",
        "terminate called without an active exception",
        "Train:  50%|#####     | 1/2 [00:01<00:01]",
    ],
)
def test_a_message_ends_where_others_speak(noise: str) -> None:
    assert chains(trace("KeyError: 'x'") + noise + "\nmore\n") == [(Raised(UNCAUGHT, "KeyError: 'x'", at("a.py")),)]


def test_a_log_that_begins_in_a_traceback() -> None:
    assert chains('  File "b.py", line 2, in f\n    g()\nmy.Broken: x') == [
        (Raised(UNCAUGHT, "my.Broken: x", (Frame("b.py", "f", "g()"),)),)
    ]


def test_a_warning_in_a_traceback_does_not_end_it() -> None:
    log = trace("KeyError: 'x'").replace("    f()\n", "    f()\n[W ProcessGroupNCCL.cpp:1018] Warning\n")
    assert chains(log) == [(Raised(UNCAUGHT, "KeyError: 'x'\n", at("a.py")),)]
