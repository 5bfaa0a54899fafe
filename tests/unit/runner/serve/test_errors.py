"""What a client is told of an exception."""

from __future__ import annotations

import pytest

from swiftop.runner.serve import errors
from swiftop.runner.serve.errors import Problem


class OutOfMemoryError(RuntimeError):
    """As torch has it."""


class EngineDeadError(Exception):
    """As vLLM has it."""


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ValueError("max_tokens must be positive"), 400, None),
        (ValueError("Current length of row(9052) is larger than the max_length(8192)"), 400, "context_length_exceeded"),
        (KeyError("content"), 400, None),
        (OSError("cannot identify image file"), 400, None),
        (RuntimeError("shape mismatch"), 500, None),
        (OutOfMemoryError("CUDA out of memory."), 500, None),
        (RuntimeError("CUDA error: out of memory"), 500, None),
        (MemoryError(), 500, None),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), 503, "engine_dead"),
        (EngineDeadError("see the root cause above"), 503, "engine_dead"),
        (Problem(413, "too large"), 413, None),
        (ValueError("Tool choice 'EngineDeadError' not found in tools."), 400, None),
        (KeyError("CUDA error: misaligned address"), 400, None),
        (Problem(500, "no tool EngineCore is known"), 500, None),
        (Problem(400, "EngineCore is no tool"), 400, None),
    ],
)
def test_an_exception(error: Exception, status: int, code: str | None) -> None:
    problem = errors.problem_of(error)
    assert (problem.status, problem.code) == (status, code)
    assert problem.body["error"]["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    assert problem.message
    assert errors.is_dead(error) == (code == "engine_dead")


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (400, {"message": "x is wrong", "object": "error"}, (400, "x is wrong", None)),
        (422, {"detail": [{"loc": ["body", "stop"], "msg": "not a list"}]}, (400, "stop: not a list", "stop")),
        (422, {"detail": [{"loc": ["body"], "msg": "no"}]}, (400, "no", None)),
        (422, {"detail": []}, (400, "the request is not valid", None)),
        (404, {"detail": "Not Found"}, (404, "Not Found", None)),
        (500, None, (500, "status 500", None)),
        (500, ["x"], (500, "status 500", None)),
    ],
)
def test_an_answer_of_ms_swift(status: int, body: object, told: tuple[int, str, str | None]) -> None:
    problem = errors.problem_in(status, body)
    assert (problem.status, problem.message, problem.param) == told
