"""From the end of a process to its cause: exit code, signal and the tail of its log in, a verdict out. Pure.

Nearly every failure of ms-swift exits with 1, so the log decides: the *last* exception wins, because the earlier ones
were caught or led to it. Two things would hide the true cause and are looked through: torchrun's own exceptions about
a dead worker, and what the other ranks say when one dies (NCCL, gloo, broken pipes). CUDA out of memory in particular
is often followed by such noise of any kind, so it is never overwritten by a cause that nobody knows.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from . import causes
from .causes import Cause

LOG_BYTES = 2048
MESSAGE_CHARS = 400
CONTINUATION_LINES = 5  # an exception's message may go on over some lines

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
_RANK = re.compile(r"^\[(?:rank\s*)?(?:default)?\d+\]:\s?", re.IGNORECASE)
_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(
    r"^((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Failure|Exit|Iteration))(?:: .*|:)?$"
)
_NAME = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?::|$)")
_ARGPARSE = re.compile(r"^\S+: error: \S.*$")
_CARETS = re.compile(r"^[\s~^]+$")
_PROGRESS_BAR = re.compile(r"\d+%\|.*\|.*\[.*\]|swiftop-progress ")
_WRAPPERS = re.compile(
    r"ChildFailedError|SignalException|^subprocess\.CalledProcessError|^SystemExit|ProcessRaisedException"
)
_KILLED_WORKER = re.compile(r"exitcode\s*:\s*-9\b|Signal 9 \(SIGKILL\) received")
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS)


@dataclass(frozen=True)
class End:
    """How the child ended. ``signal`` is the one that it died of, ``forwarded`` whether the runner passed one on."""

    exit_code: Optional[int]
    signal: Optional[int] = None
    forwarded: bool = False
    memory_killed: Optional[bool] = None  # the kernel's count of out-of-memory kills rose; None: cannot be read


@dataclass(frozen=True)
class Verdict:
    """The cause and one line about it."""

    cause: Cause
    message: str


def classify_failure(end: End, tail: str) -> Verdict:
    """Cause of an end that is not a success."""
    if end.forwarded:
        return Verdict(causes.INTERRUPTED, "stopped on request")
    killed = end.signal == signal.SIGKILL or (end.signal is None and _KILLED_WORKER.search(tail) is not None)
    if killed and end.memory_killed is not False:
        return Verdict(causes.HOST_OUT_OF_MEMORY, "the training was killed for using more memory than its limit")
    if end.signal is not None and end.signal not in _CRASHES:
        return Verdict(causes.INTERRUPTED, f"the training was ended by {_signal_name(end.signal)}")
    found = _from_log(tail)
    if found is not None and not (end.memory_killed and found.cause.vague):
        return found
    if end.memory_killed:
        return Verdict(causes.HOST_OUT_OF_MEMORY, "a process of the training was killed for using too much memory")
    how = f"died of {_signal_name(end.signal)}" if end.signal is not None else f"exited with code {end.exit_code}"
    last = last_lines(tail, 300).rpartition("\n")[2]
    return Verdict(causes.UNKNOWN, shorten(f"the training {how}" + (f": {last}" if last else "")))


def _from_log(tail: str) -> Optional[Verdict]:
    """The last exception that says something, or the vague one when there is no better."""
    verdicts = [
        Verdict(causes.match(text) or causes.UNKNOWN, shorten(text.partition("\n")[0])) for text in exceptions(tail)
    ]
    if not verdicts:
        return None
    last = verdicts[-1]
    if last.cause.vague:
        sticky = (causes.CUDA_OUT_OF_MEMORY,) if last.cause is causes.UNKNOWN else causes.FAILURES
        better = [v for v in verdicts if v.cause in sticky and not v.cause.vague]
        return better[-1] if better else last
    return last


def exceptions(tail: str) -> Iterator[str]:
    """Each exception in the log, in order: type and message, with up to some lines of a longer message.

    torchrun's wrappers are left out, and so is what Python prints when a destructor fails ("Exception ignored in").
    """
    lines = clean_lines(tail)
    in_traceback = ignored = False
    for at, line in enumerate(lines):
        if _TRACEBACK in line:
            in_traceback = True
            ignored = at > 0 and lines[at - 1].startswith("Exception ignored in")
        elif in_traceback and (line.startswith((" ", "\t")) or not line):
            continue
        elif _is_exception(line, in_traceback):
            if not ignored and not _WRAPPERS.search(line):
                yield "\n".join([line, *_continuation(lines[at + 1 :])])
            in_traceback = ignored = False
        else:
            in_traceback = False


def _is_exception(line: str, in_traceback: bool) -> bool:
    if in_traceback and _NAME.match(line):
        return True
    return bool(_EXCEPTION.match(line) or _ARGPARSE.match(line))


def _continuation(lines: list[str]) -> list[str]:
    kept = []
    for line in lines[:CONTINUATION_LINES]:
        if _TRACEBACK in line or line.startswith(("During handling", "The above exception", "Exception ignored")):
            break
        if _EXCEPTION.match(line) or _ARGPARSE.match(line) or _PROGRESS_BAR.search(line):
            break
        kept.append(line)
    return kept


def clean_lines(text: str) -> list[str]:
    """Lines as a terminal would show them: no colours, of a redrawn line only the last state, no rank in front."""
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        shown = next((part for part in reversed(line.split("\r")) if part.strip()), "")
        # a traceback that starts in the middle of a progress bar's line is a line of its own
        start = shown.find(_TRACEBACK)
        if start > 0 and not _RANK.match(shown):
            shown = shown[start:]
        lines.append(_RANK.sub("", _ANSI.sub("", shown)).rstrip())
    return lines


def last_lines(text: str, limit: int = LOG_BYTES) -> str:
    """The end of the log for a reader: no progress bars, no empty lines, no carets; at most ``limit`` bytes."""
    shown = (line for line in clean_lines(text) if line and not _CARETS.match(line))
    lines = [line for line in shown if not _PROGRESS_BAR.search(line)]
    return tail_bytes("\n".join(lines), limit)


def tail_bytes(text: str, limit: int) -> str:
    """The last ``limit`` bytes of ``text`` in UTF-8, cut between characters and, where one is near, after a newline."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return raw.decode("utf-8")
    kept = raw[len(raw) - limit :].decode("utf-8", "ignore")
    first, newline, rest = kept.partition("\n")
    return rest if newline and len(rest) > len(first) else kept


def head_bytes(text: str, limit: int) -> str:
    """The first ``limit`` bytes of ``text`` in UTF-8, cut between characters."""
    raw = text.encode("utf-8", "replace")
    return raw.decode("utf-8") if len(raw) <= limit else raw[:limit].decode("utf-8", "ignore")


def shorten(text: str) -> str:
    """One line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= MESSAGE_CHARS else line[: MESSAGE_CHARS - 1] + "…"


def _signal_name(number: Optional[int]) -> str:
    try:
        return signal.Signals(number or 0).name
    except ValueError:
        return f"signal {number}"
