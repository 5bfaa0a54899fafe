"""The exceptions in a log, in order, and how far each may be believed. Pure.

A log is full of exceptions that ended nothing: those that were caught and logged, those of threads, of logging itself
and of functions run at exit, rows of a dataset that look like one. What ended a training is a traceback that Python
printed by itself, or the last words of a C++ abort, which has no traceback at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple, Optional

UNCAUGHT = "uncaught"  # a traceback as Python prints it when nobody caught the exception
ABORT = "abort"  # last words of C++
ASIDE = "aside"  # of a thread, of logging, of an exit function, or logged
BARE = "bare"  # looks like an exception, but stands outside of any traceback

CONTINUATION_LINES = 5  # an exception's message may go on over some lines
SOURCE_LINES = 40  # and a compiler's shows the source before it comes to the point
CODE_CHARACTERS = 300  # of a line of source
MOST_FRAMES = 200  # of one traceback, the innermost: a recursion has a thousand
TEARDOWN = "terminate called without an active exception"  # C++ threads that still run when Python has ended

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
_RANK = re.compile(  # torchrun's (both when it tees) and vLLM's
    r"^(?:(?:\[(?:rank\s*)?(?:default)?\d{1,6}\]:|\(\w{1,60} pid=\d{1,10}\))\s?){1,3}", re.IGNORECASE
)
_GROUP = re.compile(r"^ {2,40}(?:\|(?: |$)|\+ (?=Exception Group))")  # in front of the members of an ExceptionGroup
_TRACEBACK = "Traceback (most recent call last):"
_ORIGINAL = "Original Traceback (most recent call last):"  # of a DataLoader's worker: the cause below its effect
_FRAME = re.compile(r'^\s+File "([^"]+)", line \d+(?:, in (\S+))?')
_EXCEPTION = re.compile(
    r"^((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Failure|Exit|Iteration|Invalid|Timeout|OutOfResources))"
    r"(?:: .*|:)?$"
)
_COMPILER = re.compile(r"^[\w.]*CompilationError\b")  # Triton's
_NAME = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?::|$)")
_ARGPARSE = re.compile(r"^\S+: error: \S.*$")
_TERMINATE = re.compile(r"^terminate called after throwing an instance of '([^']+)'")
_WHAT = re.compile(r"^\s*what\(\):\s*(.*)$")
_WATCHDOG = re.compile(  # NCCL ends the process after this
    r"Watchdog caught collective operation timeout.*|Terminating the process after attempting to dump debug info.*"
)
_NO_THREADS = re.compile(r"^(libgomp: |OpenBLAS blas_thread_init: pthread_create failed)")  # and C exits
_LINKS = ("During handling of the above", "The above exception was the direct cause")
_IGNORED = "Exception ignored in"  # a destructor; from Python 3.10 on an exit function as well
_ASIDES = (
    "Exception in thread",
    "Exception in callback",
    "--- Logging error ---",
    "Error in atexit",
    "Error in sys.excepthook",
    "future: <",  # asyncio's "Task exception was never retrieved"
)
_LOGGED = re.compile(
    r"^(\[[IWEFC]\d{3,4} |\[[IWEF] |[IWEFC]\d{4} \d\d:|\[?\d{4}-\d\d-\d\d[ T]\d\d:|swanlab: "
    r"|\[?(DEBUG|INFO|WARNING|ERROR|CRITICAL)\b)"
)
# Each part is bounded: this is matched against lines of other people, and `.*` thrice would take cubic time.
_BAR = re.compile(r"\d{1,3}%\|[^|\n]{0,300}\|[^\[\n]{0,100}\[[^\]\n]{0,200}\]|swiftop-progress ")
_WRAPPERS = re.compile(
    r"ChildFailedError|SignalException|^SystemExit|ProcessRaisedException"
    r"|^subprocess\.CalledProcessError: Command '(\[')?[^', ]{0,400}\b(python[\d.]{0,8}|torchrun|swift)[', ]"
    r"|Engine core initialization failed"  # vLLM's, of its engine's process
)


class Frame(NamedTuple):
    """One line of a traceback."""

    file: str
    function: str = ""
    code: str = ""  # its line of source, where the log has it


@dataclass(frozen=True)
class Raised:
    """One exception: its kind, type and message (over some lines), and the frames that led to it, innermost last."""

    kind: str
    text: str
    frames: tuple[Frame, ...] = ()

    @property
    def where(self) -> str:
        """The file that raised it."""
        return self.frames[-1].file if self.frames else ""


Chain = tuple[Raised, ...]


def chains(log: str) -> list[Chain]:
    """Exceptions in order; those that Python prints as cause and effect are one chain, the effect last.

    Left out are torchrun's own about a dead worker, and what Python prints when a destructor fails.
    """
    lines = clean_lines(log)
    reader = _Reader(cut=bool(lines and _FRAME.match(lines[0])))
    for at, line in enumerate(lines):
        length = SOURCE_LINES if _COMPILER.match(line) else CONTINUATION_LINES
        reader.take(line, lines[at + 1 : at + 1 + length])
    return reader.chains


class _Reader:
    def __init__(self, *, cut: bool) -> None:
        """``cut``: the log begins in the middle of a traceback."""
        self.chains: list[Chain] = []
        self._kind: Optional[str] = UNCAUGHT if cut else None  # of the traceback that is being read
        self._ignored = self._linked = self._open = False  # _open: the last chain may get another link
        self._below = False  # what comes is the cause of the link before it
        self._frames: list[Frame] = []
        self._before = ""

    def take(self, line: str, following: list[str]) -> None:
        """Next line, and those behind it for a message that goes on."""
        terminate, watchdog = _TERMINATE.match(line), _WATCHDOG.search(line)
        if _TRACEBACK in line:
            self._begin(line)
        elif terminate:
            self._add(ABORT, f"{terminate.group(1)}: {_what(following)}")
        elif watchdog:
            self._add(ABORT, watchdog.group())
        elif _NO_THREADS.match(line):
            self._add(ABORT, line)
        elif line.startswith(_LINKS):
            self._linked = True
        elif self._kind is not None:
            self._inside(line, following)
        elif _ARGPARSE.match(line):
            self._add(UNCAUGHT, line)
        elif _EXCEPTION.match(line):
            self._add(BARE, "\n".join([line, *_continuation(following)]))
        elif _FRAME.match(line):  # of a traceback whose first line is lost, or of a warning that shows its stack
            self._kind, self._frames = BARE, []
            self._inside(line, following)
        self._before = line or self._before

    def _begin(self, line: str) -> None:
        self._frames, self._ignored = [], self._before.startswith(_IGNORED)
        self._below = line.startswith(_ORIGINAL) and self._open
        if self._open and (self._linked or self._below):
            self._kind = self.chains[-1][-1].kind
        elif self._before.startswith(_ASIDES) or not line.startswith(_TRACEBACK):
            self._kind = ASIDE
        else:
            self._kind = UNCAUGHT

    def _inside(self, line: str, following: list[str]) -> None:
        frame = _FRAME.match(line)
        if frame:
            self._frames = [*self._frames[1 - MOST_FRAMES :], Frame(frame.group(1), frame.group(2) or "")]
        elif line.startswith("    ") and self._frames and not self._frames[-1].code:
            self._frames[-1] = self._frames[-1]._replace(code=line.strip()[:CODE_CHARACTERS])
        elif line and not line[0].isspace() and not _LOGGED.match(line):
            kind, self._kind = self._kind or UNCAUGHT, None
            if _NAME.match(line) if kind != BARE else _EXCEPTION.match(line):
                self._add(kind, "\n".join([line, *_continuation(following)]))

    def _add(self, kind: str, text: str) -> None:
        linked, below = self._linked and self._open, self._below and self._open
        self._linked = self._below = False
        self._open = not self._ignored and not _WRAPPERS.search(text)
        if self._open:
            raised = Raised(kind, text, tuple(self._frames))
            if below:
                *before, effect = self.chains[-1]
                self.chains[-1] = (*before, raised, effect)
            elif linked:
                self.chains[-1] = (*self.chains[-1], raised)
            else:
                self.chains.append((raised,))
        self._frames, self._ignored = [], False


def _what(following: list[str]) -> str:
    found = next((match for match in map(_WHAT.match, following[:2]) if match), None)
    return found.group(1) if found else ""


def _continuation(lines: list[str]) -> list[str]:
    kept = []
    for line in lines:
        if _TRACEBACK in line or line.startswith((*_LINKS, *_ASIDES, _IGNORED, TEARDOWN)) or _LOGGED.match(line):
            break
        if _EXCEPTION.match(line) or _ARGPARSE.match(line) or _TERMINATE.match(line) or is_progress(line):
            break
        kept.append(line)
    return kept


def is_progress(line: str) -> bool:
    """Whether it is a bar, or a line of the runner's own."""
    return bool(_BAR.search(line))


def clean_lines(text: str) -> list[str]:
    """Lines as a terminal would show them: no colours, of a redrawn line only the last state, no rank in front."""
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        shown = next((part for part in reversed(line.split("\r")) if part.strip()), "")
        # a traceback, or the log's line about one, that starts in the middle of a progress bar's line is its own line
        bar = _BAR.search(shown) if _TRACEBACK in shown else None
        if bar and bar.end() <= shown.index(_TRACEBACK):
            shown = shown[bar.end() :].lstrip()
        lines.append(_GROUP.sub("", _RANK.sub("", _ANSI.sub("", shown))).rstrip())
    return lines
