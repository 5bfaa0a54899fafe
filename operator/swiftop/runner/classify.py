"""From the end of a process to its cause: exit code, signal and the tail of its log in, the cause out. Pure.

Nearly every failure of ms-swift exits with 1, so the log decides: the *last* exception wins, because the earlier ones
were caught or led to it; where nobody knows the last one, the one that it was raised from is taken. Two things would
hide the true cause and are looked through: torchrun's own exceptions about a dead worker, and what the other ranks say
when one dies (NCCL, gloo, broken pipes). CUDA out of memory is often followed by noise of any kind, so nothing
overwrites it. A process that crashed (SIGSEGV, SIGABRT) was ended by no Python exception: what its log has of these was
caught, and only the last words of C++ count.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import Optional

from . import causes, dropped
from .dropped import DroppedRows
from .ends import EndClass
from .exceptions import ABORT, TEARDOWN, UNCAUGHT, Chain, chains, clean_lines, is_progress
from .meaning import Surety, meaning, said, weight
from .protocol import LOG_BYTES
from .serve.causes import ENGINE_DEAD

MESSAGE_CHARS = 400
LAST_WORDS = 2000  # bytes of a log without an exception, in which a line may still tell the cause

_CARETS = re.compile(r"^[\s~^]+$")
_ROOT_CAUSE = "Root Cause (first observed failure)"  # torchrun's summary; those listed above it were killed by torchrun
_EXIT_CODE = re.compile(r"exitcode\s*:\s*(-?\d+)")
_RULE = re.compile(r"^[=\-*_#\s]*$")  # a line that only divides
_ERROR = re.compile(r"^(ERROR:|\S{0,200}python[\d.]{0,8}: )")  # uvicorn's, and Python's own before it runs anything
_MISSES = re.compile(r"\b(worker|process)\b.{0,60}\b(exited|died|terminated|killed|lost)\b|<Signals\.SIGKILL")
_MAPPED = re.compile(r"safetensors|torch/storage|core_model_loading|\bmmap\b")
_STOPPED = re.compile(r"SignalException: Process \d{1,10} got signal: (\d{1,3})")  # torchrun's
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS)


@dataclass(frozen=True)
class EndedChild:
    """How the child ended. ``signal`` is the one that it died of, ``forwarded`` whether the runner passed one on."""

    exit_code: Optional[int]
    signal: Optional[int] = None
    forwarded: bool = False
    memory_killed: Optional[bool] = None  # the kernel's count of out-of-memory kills rose; None: cannot be read
    ended_by: Optional[str] = None  # why the program had it ended, None when it did not


@dataclass(frozen=True)
class Judged:
    """The cause and one line about it."""

    cause: EndClass
    message: str


def classify_failure(end: EndedChild, tail: str, rows: Optional[DroppedRows] = None) -> Judged:
    """Cause of an end that is not a success. ``rows`` is what the whole log tells of dropped rows."""
    judged = _classified(end, tail)
    if judged.cause not in (causes.DATASET_EMPTY, causes.DATASET_FORMAT):
        return judged
    return _with_rows(judged, rows or dropped.read(tail))


def _with_rows(judged: Judged, rows: DroppedRows) -> Judged:
    """When no row was left, that is what matters, and why; the exception is what ms-swift stumbled over then."""
    validates = "eval_loss" in judged.message
    count = rows.validation if validates else rows.train
    if count is None or not count.dropped or count.dropped < count.rows:
        return judged
    text = ("of the validation data " if validates else "") + dropped.words(count)
    return Judged(judged.cause, shorten(f"{text}: {rows.why}" if rows.why and count.too_long != count.rows else text))


def _classified(end: EndedChild, tail: str) -> Judged:
    if end.forwarded:
        return Judged(causes.INTERRUPTED, "stopped on request")
    died_of = end.signal if end.signal is not None else _worker_signal(tail)
    found = _from_log(tail, crashed=died_of in _CRASHES)
    sticky = found is not None and found.cause is causes.CUDA_OUT_OF_MEMORY
    if died_of == signal.SIGKILL and (end.memory_killed or (end.memory_killed is None and not sticky)):
        return Judged(causes.HOST_OUT_OF_MEMORY, "the process was killed for using more memory than its limit")
    if end.signal is not None and end.signal not in _CRASHES and not sticky:
        return Judged(causes.INTERRUPTED, f"the process was ended by {_signal_name(end.signal)}")
    if found is not None and not (end.memory_killed and (found.cause.vague or _MISSES.search(found.message))):
        return found
    if end.memory_killed:
        return Judged(causes.HOST_OUT_OF_MEMORY, "one of its processes was killed for using too much memory")
    return _without_exception(end, died_of, tail)


def _without_exception(end: EndedChild, died_of: Optional[int], tail: str) -> Judged:
    stopped = _STOPPED.search(tail)
    if stopped:
        return Judged(causes.INTERRUPTED, f"the process was ended by {_signal_name(int(stopped.group(1)))}")
    how = f"died of {_signal_name(died_of)}" if died_of is not None else f"exited with code {end.exit_code}"
    lines = [line for line in last_lines(tail, LAST_WORDS).split("\n") if not _RULE.match(line)]
    told, cause = lines[-1] if lines else "", causes.UNKNOWN
    if died_of == signal.SIGBUS and not any(map(_MAPPED.search, lines)):  # a page of /dev/shm had no memory left
        cause = causes.SHARED_MEMORY_EXHAUSTED
    elif died_of is None:
        known = ((line, causes.match(line, vague=False)) for line in reversed(lines) if _ERROR.search(line))
        told, cause = next(((line, found) for line, found in known if found is not None), (told, cause))
    return Judged(cause, shorten(f"the process {how}" + (f": {told}" if told else "")))


def _worker_signal(tail: str) -> Optional[int]:
    """The signal that the first worker to fail died of, as torchrun tells it.

    None when another one exited by itself: then an exception is in the log, and crashes may have followed from it.
    """
    codes = [int(code) for code in _EXIT_CODE.findall(tail)]
    first = _EXIT_CODE.search(tail, max(tail.rfind(_ROOT_CAUSE), 0))
    code = int(first.group(1)) if first else 0
    return -code if code < 0 and max(codes) <= 0 else None


def _from_log(tail: str, *, crashed: bool) -> Optional[Judged]:
    """The last exception that says something, or the vague one when there is no better."""
    everything = chains(tail)
    fatal = [_judged(chain) for chain in everything if chain[-1].kind in (UNCAUGHT, ABORT)]
    memory = [judged for judged in fatal if judged.cause is causes.CUDA_OUT_OF_MEMORY]
    if memory:
        return memory[-1]
    if crashed and TEARDOWN not in tail:
        found_all = [_judged(chain) for chain in everything if chain[-1].kind == ABORT]
    else:
        found_all = fatal or [_judged(chain) for chain in everything]
    if not found_all:
        return None
    last = found_all[-1]
    followed = last.cause in (causes.COLLECTIVE_FAILED, causes.INTERRUPTED, ENGINE_DEAD)  # by what happened elsewhere
    better = [v for v in found_all if v.cause is not last.cause and not v.cause.vague] if followed else []
    return better[-1] if better else last


def _judged(chain: Chain) -> Judged:
    """Cause of a chain: that of its last link, or of the nearest earlier one that is known better.

    The message is that of the link that says most of it: the row that is broken, not that there is one.
    """
    again = [said(later.text) == said(sooner.text) for sooner, later in zip(chain, chain[1:])]
    own = [link for link, repeated in zip(chain, (False, *again)) if not repeated]  # here, after a worker
    links = [meaning(link) for link in reversed(own)]
    # of equals the first, which is the last of the chain; one that only leads to another is none
    chosen = max(links, key=lambda link: (link.surety, link.surety is Surety.MESSAGE and weight(link.text) > 0))
    same = [link for link in reversed(links) if link.cause is chosen.cause]
    told = max(same, key=lambda link: weight(link.text))
    if weight(told.text) == 0:
        told = max((told, *reversed(links)), key=lambda link: weight(link.text))
    text = said(told.text) + told.where
    about = told.about or chosen.about
    return Judged(chosen.cause, shorten(f"{about}: {text}" if about else text))


def last_lines(text: str, limit: int = LOG_BYTES) -> str:
    """The end of the log for a reader: no progress bars, no empty lines, no carets; at most ``limit`` bytes."""
    shown = (line for line in clean_lines(text) if line and not _CARETS.match(line))
    lines = [line for line in shown if not is_progress(line)]
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
