"""Whether two names answer with different weights."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop.runner.serve import identity


def answer(**chances: float) -> dict[str, Any]:
    tops = [{"token": word, "bytes": list(word.encode()), "logprob": chance} for word, chance in chances.items()]
    return {"choices": [{"logprobs": {"content": [{"top_logprobs": tops}]}}]}


BASE = identity.fingerprint([answer(a=-1.0, b=-2.0), answer(a=-0.5)])


@pytest.mark.parametrize(
    ("answers", "noise", "differs"),
    [
        ([answer(a=-1.0, b=-2.0), answer(a=-0.5)], 0.0, False),
        ([answer(a=-1.0, b=-2.0), answer(a=-0.501)], 0.0, True),
        ([answer(a=-1.0, b=-2.0), answer(a=-0.500001)], 0.0, False),  # the same, on another path
        ([answer(a=-1.0, b=-2.0), answer(a=-0.5001)], 0.001, False),
        ([answer(a=-1.0, b=-3.0), answer(a=-0.5)], 0.001, True),
        ([answer(a=-1.0, c=-2.0), answer(a=-0.5)], 0.0, True),
        ([answer(a=-1.0, c=-2.0), answer(a=-0.5)], 0.001, False),  # the last of the likeliest may change places
        ([answer(x=-1.0), answer(y=-0.5)], 0.0, True),
    ],
)
def test_they_differ(answers: list[dict[str, Any]], noise: float, differs: bool) -> None:
    assert identity.differ(identity.fingerprint(answers), BASE, noise=noise) is differs


def test_an_answer_without_probabilities_tells_nothing() -> None:
    nothing = identity.fingerprint([{"choices": [{"logprobs": None}]}, {}])
    assert (nothing, identity.differ(nothing, nothing)) == ({}, False)
    assert identity.difference(nothing, BASE) is None
