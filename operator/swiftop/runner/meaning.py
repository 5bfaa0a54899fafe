"""What one exception of a log means: its cause, and whose thing it is about. Pure.

A pattern that knows the message comes first, then the place that raised it, then what the message may mean anywhere.
Two things are looked at more closely, since the same text is told of several: an error of the file system by the volume
of its path, and one of the network by whose host it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Optional

from . import causes, hosts, image, machine, trackers, training, volumes
from .ends import EndClass, bounded
from .exceptions import Frame, Raised
from .hub import causes as hub
from .places import asked_by, imported_by_plugin, place, resumes


class Surety(IntEnum):
    """How far a meaning may be believed."""

    NOTHING = 0
    SYMPTOM = 1  # another process' failure, or the loop that all is called from
    PLACE = 2
    MESSAGE = 3


@dataclass(frozen=True)
class Meaning:
    """What one exception means; ``about`` is the volume or the field that it is about, for the message."""

    cause: EndClass
    surety: Surety
    text: str
    about: str = ""
    where: str = ""  # the line that raised it, for a text that is of no use without


_ON_THE_NET = (
    *(hub.HUB_UNREACHABLE, hub.HUB_AUTH_FAILED, hub.MODEL_NOT_FOUND),
    *(trackers.UNREACHABLE, machine.CERTIFICATE_UNTRUSTED),
)
_OF_FILES = (training.MODEL_UNREADABLE, training.TUNER_MISMATCH)  # and whose files these are the frames tell
_ASKING = (causes.DATASET_FORMAT, causes.DATASET_NOT_FOUND, training.PLUGIN_FAILED, trackers.FAILED)
_OF_PACKAGES = (image.PACKAGE_MISSING, image.PACKAGE_BROKEN, training.ARCHITECTURE_UNKNOWN)
_BETWEEN_PODS = re.compile(r"^torch\.distributed\.|\[c10d\]|TCPStore")
_HTTP = re.compile(r"HTTP\w*Error|\b4\d\d Client Error")
_PART_OF_A_PACKAGE = re.compile(r"No module named '\w+\.|cannot import name")  # the package itself is there
_DENIED = (causes.VOLUME_NOT_WRITABLE, machine.SOURCE_READ_ONLY, machine.SOURCE_UNREADABLE, machine.PATH_NOT_WRITABLE)
_ON_A_VOLUME = (
    *(causes.DISK_FULL, machine.VOLUME_LOST, machine.VOLUME_UNSUPPORTED),
    *(causes.DATASET_NOT_FOUND, hub.MODEL_NOT_FOUND),
)
_ANYWHERE = (
    (re.compile(r"^UnicodeDecodeError|^UnicodeError|can't decode byte"), causes.DATASET_FORMAT),
    (re.compile(r"^ZeroDivisionError"), causes.UNKNOWN),
    (re.compile(r"^(ImportError|ModuleNotFoundError)"), image.PACKAGE_BROKEN),
    (re.compile(r"\bcollectives?\b"), causes.COLLECTIVE_FAILED),
    (re.compile(r"\b(CUDA|cuDNN|cuBLAS)\b"), machine.CUDA_FAILED),
    (re.compile(r"^OSError: \[Errno \d{1,4}\].{0,200}'/(swiftop|data|models)/"), machine.VOLUME_UNSUPPORTED),
    (re.compile(r"^(ConnectionResetError|BrokenPipeError|EOFError)"), causes.COLLECTIVE_FAILED),
    (re.compile(r"^(swift\.)?KeyError: '(\w+_)?(model_type|template_type)'"), causes.INVALID_ARGUMENTS),
)
_OF_SOMEBODY = re.compile(r"-packages/|^/swiftop/files/")
_SHORT = 60  # characters of a text that says next to nothing
_OF_PROGRAMMERS = re.compile(
    r"(Assertion|Key|Name|Type|Attribute|Index|ZeroDivision|Syntax|Indentation)Error\b|[\w.]+$"
)
_FILE_TYPE = re.compile(r"(?:reach|find|Dataset) '([\w.-]{1,40})' (?:on the Hub|doesn't exist)")


def meaning(raised: Raised) -> Meaning:
    """What an exception means."""
    text = bounded(raised.text)
    if text.startswith("KeyboardInterrupt"):  # wherever it was
        return Meaning(causes.INTERRUPTED, Surety.SYMPTOM, "KeyboardInterrupt")
    volume = volumes.told(text)
    cause = volumes.denied(text, volume, output=causes.VOLUME_NOT_WRITABLE) or causes.match(text)
    if cause in _ON_THE_NET:
        cause = _on_the_net(cause, text, raised.frames)
    elif cause is machine.ADDRESS_INVALID and (found := place(raised.frames, text)) and found.cause in _ASKING:
        cause = found.cause  # as for a picture, in a row
    elif cause in _OF_FILES and resumes(raised.frames):
        cause = causes.SOURCE_CHECKPOINT_UNFIT
    elif cause in _OF_PACKAGES and _PART_OF_A_PACKAGE.search(text) and imported_by_plugin(raised.frames):
        cause = training.PLUGIN_FAILED
    found = None if cause is not None and not cause.vague else place(raised.frames, text)
    if cause is not None and (found is None or found.cause.vague):
        about = volume.name if volume is not None and _tells_volume(cause) else _file_type(cause, text)
        return Meaning(cause, Surety.SYMPTOM if cause.vague else Surety.MESSAGE, raised.text, about)
    guess = causes.match(text, loose=True) if found is None or found.cause.vague else None
    if guess is not None:
        return Meaning(guess, Surety.PLACE, raised.text)
    if found is not None:
        surety = Surety.SYMPTOM if found.cause.vague else Surety.PLACE
        about = found.field or _of_data(found.cause, text)
        return Meaning(found.cause, surety, raised.text, about, "" if about else _where(raised))
    anywhere = next((known for pattern, known in _ANYWHERE if pattern.search(text)), causes.UNKNOWN)
    surety = Surety.NOTHING if anywhere is causes.UNKNOWN else Surety.SYMPTOM if anywhere.vague else Surety.PLACE
    return Meaning(anywhere, surety, raised.text, volume.name if volume is not None and _tells_volume(anywhere) else "")


def _on_the_net(cause: EndClass, text: str, frames: tuple[Frame, ...]) -> EndClass:
    """The same text is told of every host: whose it is decides, and without a word of that who asked."""
    if _BETWEEN_PODS.search(text):
        return causes.COLLECTIVE_FAILED
    whose = hosts.whose(text)
    if whose in (None, hosts.OTHER):
        whose = asked_by(frames) or whose
    if cause in (hub.MODEL_NOT_FOUND, hub.HUB_AUTH_FAILED):
        return _refused(cause, text, frames, whose)
    if cause is machine.CERTIFICATE_UNTRUSTED:
        return cause
    if whose == hosts.TRACKER:
        return trackers.UNREACHABLE
    if whose == hosts.OTHER and cause is hub.HUB_UNREACHABLE:
        return machine.HOST_UNREACHABLE
    return hub.HUB_UNREACHABLE if whose == hosts.HUB else cause


def _refused(cause: EndClass, text: str, frames: tuple[Frame, ...], whose: Optional[str]) -> EndClass:
    """A host answers that it has not what is asked for, or gives it not to this user."""
    if cause is hub.MODEL_NOT_FOUND and not _HTTP.search(text):
        return cause
    if whose == hosts.TRACKER:
        return trackers.FAILED if cause is hub.MODEL_NOT_FOUND else trackers.AUTH_FAILED
    found = place(frames, text) if whose == hosts.OTHER else None
    return cause if found is None or found.cause.vague else found.cause


def _tells_volume(cause: EndClass) -> bool:
    return cause in (*_DENIED, *_ON_A_VOLUME)


def _file_type(cause: EndClass, text: str) -> str:
    named = _FILE_TYPE.search(text) if cause is causes.DATASET_FORMAT else None
    return f"no known file type '{named.group(1)}'" if named else ""


def _where(raised: Raised) -> str:
    first = raised.text.partition("\n")[0]
    if not raised.frames or len(first) > _SHORT or not _OF_PROGRAMMERS.match(first):
        return ""
    # the standard library's own lines tell less than who called it
    frame = next((one for one in reversed(raised.frames) if _OF_SOMEBODY.search(one.file)), raised.frames[-1])
    line = f": {frame.code}" if frame.code else ""
    return f" ({'/'.join(frame.file.split('/')[-2:])}, {frame.function}{line})"


def _of_data(cause: EndClass, text: str) -> str:
    if cause is not causes.DATASET_EMPTY:
        return ""
    return "too few rows, as to split them" if text.startswith("AssertionError") else "no row is left"


_VALIDATION = r"validation errors? for [\w.]{1,100}$"  # pydantic's: then the field, and what is wrong with it
_GOES_ON = re.compile(  # what matters is on the next line
    r":\s*$|\(Request ID: [^)\n]{0,100}\)\s*$|gated repo\.$|failed to download from \S{1,200}$|" + _VALIDATION
)
_BELOW = (  # what is told, and the line below in which the cause stands
    (re.compile(""), re.compile(r"^Last error:\s*\n(.{1,300})", re.MULTILINE)),  # NCCL's
    (re.compile("CompilationError"), re.compile(r"^(\w+Error\b.{1,300})", re.MULTILINE)),  # Triton's, after the source
    (re.compile("Weights only load failed"), re.compile(r"^\s*(WeightsUnpickler error: .{1,300})", re.MULTILINE)),
)


def said(text: str) -> str:
    """What an exception says, as one line: its first, and of another where that one only leads to it."""
    first, _, rest = text.partition("\n")
    cause = next((found for known, below in _BELOW if known.search(first) and (found := below.search(rest))), None)
    if cause:
        return f"{cause.group(1).strip()}: {first}"
    if not _GOES_ON.search(first):
        return first
    following = [line.strip() for line in rest.split("\n") if line.strip()]
    return " ".join([first.rstrip(), *following[: 2 if re.search(_VALIDATION, first) else 1]]).strip()


_SAYS_NOTHING = re.compile(
    r"^[\w.]+:?\s*$|<Response \[\d{3}\]>$"
    r"|An error occurred while generating the dataset|Dataset generation (error|failed)"
    r"|Caught \w+ in (DataLoader|pin memory) \w+|One or more errors occurred"
)
_STATUS_ONLY = re.compile(r"\b[45]\d\d (Client|Server) Error: [\w ]{0,60}for url")  # and the answer had more to say
_SAYS_WHERE = re.compile(r"\b(row|line|column|index|record) ?[:#]? ?('|\d)|\bin row \d|column '", re.IGNORECASE)
_SAYS_WHAT = re.compile(r"['\"`/]|\d")


def weight(text: str) -> int:
    """How much a message says: nothing at all, something, something of a thing, or where in the data."""
    first = said(text)
    if _SAYS_NOTHING.search(first):
        return 0
    if _STATUS_ONLY.search(first):
        return 1
    return 1 + (1 if _SAYS_WHAT.search(first) else 0) + (2 if _SAYS_WHERE.search(first) else 0)
