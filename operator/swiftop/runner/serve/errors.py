"""What is told to a client whose request fails, in OpenAI's form. Pure.

ms-swift answers 400 to whatever goes wrong, a dead engine included: status and type are decided here, by the exception
where there is one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Optional

from ..classify import shorten

INVALID_REQUEST, SERVER_ERROR = "invalid_request_error", "server_error"
TOO_LONG = "context_length_exceeded"

_DEAD = re.compile(
    r"EngineDeadError|EngineCore|AsyncEngineDeadError|device-side assert|illegal (memory access|instruction)"
    r"|unspecified launch failure|uncorrectable ECC|misaligned address|CUDA error: (?!out of memory)"
)
_DEAD_SERVER = ("EngineCore ", "EngineDeadError")
_TOO_LONG = re.compile(
    r"larger than the max_length|leaves no room for generation|MaxLengthError|longer than the maximum"
    r"|maximum (context|model) length|exceeds the maximum"
)
_OURS = ("RuntimeError", "OutOfMemoryError", "MemoryError", "SystemError", "NotImplementedError")


class Problem(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str, *, code: Optional[str] = None, param: Optional[str] = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = shorten(message)  # what was sent may be quoted in it
        self.code = code
        self.param = param

    @property
    def body(self) -> dict[str, Any]:
        """As the client reads it."""
        kind = SERVER_ERROR if self.status >= 500 else INVALID_REQUEST
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def problem_of(error: BaseException) -> Problem:
    """What an exception of the engine or of ms-swift means for the client."""
    if isinstance(error, Problem):
        return error
    name, text = type(error).__name__, str(error)
    shown = shorten(text if text and isinstance(error, (ValueError, RuntimeError)) else f"{name}: {text}".rstrip(": "))
    if is_dead(error):
        return Problem(503, f"the engine has failed: {shown}", code="engine_dead")
    if _TOO_LONG.search(f"{name} {text}"):
        return Problem(400, shown, code=TOO_LONG, param="messages")
    if any(cls.__name__ in _OURS for cls in type(error).__mro__):
        return Problem(500, shown)
    return Problem(400, shown)


def is_dead(error: BaseException) -> bool:
    """Whether the engine cannot answer any more after this.

    A text counts only in errors of the machine: in others a client's own words may stand, as the name of a tool.
    """
    if any(_DEAD.search(cls.__name__) for cls in type(error).__mro__):
        return True
    if isinstance(error, Problem):  # of an engine's own server
        return error.status >= 500 and error.message.startswith(_DEAD_SERVER)
    return isinstance(error, RuntimeError) and bool(_DEAD.search(str(error)))


def problem_in(status: int, body: object) -> Problem:
    """What the backend's own answer of that status says."""
    found = body if isinstance(body, Mapping) else {}
    if isinstance(found.get("detail"), list):  # FastAPI's: a list of what is wrong where
        first = next((item for item in found["detail"] if isinstance(item, Mapping)), {})
        where = ".".join(str(part) for part in first.get("loc", ()) if part != "body")
        text = f"{where}: {first.get('msg')}" if where else str(first.get("msg") or "the request is not valid")
        return Problem(400, shorten(text), param=where or None)
    told = found.get("error")  # in OpenAI's form, as engines' own servers have it
    told = told if isinstance(told, Mapping) else found
    text = shorten(str(told.get("message") or told.get("detail") or f"status {status}"))
    if _TOO_LONG.search(text):
        return Problem(400, text, code=TOO_LONG, param="messages")
    param = told.get("param")
    return Problem(400 if status == 422 else status, text, param=param if isinstance(param, str) else None)
