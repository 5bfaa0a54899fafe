"""The file of the adapters that a pod follows: whatever stands in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftop.runner.protocol import ServedAdapter
from swiftop.runner.serve import declared
from swiftop.runner.serve.declared import BadFile

ADAPTERS = (ServedAdapter("ada", "/a", 8, "uid-1"), ServedAdapter("team/bob:2", "me/bob"))


def test_what_is_written_is_read() -> None:
    assert declared.parse(declared.text_of(ADAPTERS).encode(), model="base") == ADAPTERS
    assert declared.parse(declared.text_of(()).encode(), model="base") == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b" " * (declared.LARGEST + 1), "larger than"),
        (b"[]", "does not declare adapters"),
        (b'{"adapters": {}}', "does not declare adapters"),
        (b'{"adapters": [{"name": "a"}]}', "does not declare adapters"),
        (b'{"adapters": [{"name": "a", "path": "/a", "rank": "x"}]}', "does not declare adapters"),
        (b'{"adapters": [{"name": "a", "path": "/a", "rank": 0}]}', "the rank of a"),
        (b'{"adapters": [{"name": "a", "path": ""}]}', "the path of a"),
        (b'{"adapters": [{"name": "a", "path": "/\\u0000"}]}', "the path of a"),
        (b'{"adapters": [{"name": "a", "path": "/\\ud800"}]}', "the path of a"),
        (b'{"adapters": [{"name": "a@1", "path": "/a"}]}', "'a@1', which no adapter can have"),
        (b'{"adapters": [{"name": "\\ud800", "path": "/a"}]}', "which no adapter can have"),
        (b'{"adapters": [{"name": "base", "path": "/a"}]}', "'base', which no adapter can have"),
        (b'{"adapters": [{"name": "a", "path": "/a"}, {"name": "a", "path": "/b"}]}', "a name twice"),
        (json.dumps({"adapters": [{"name": f"a{n}", "path": "/a"} for n in range(65)]}).encode(), "more than 64"),
    ],
)
def test_what_is_no_such_file(content: bytes, said: str) -> None:
    with pytest.raises(BadFile, match=said):
        declared.parse(content, model="base")


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["adapters", "name", "path", "rank"]), inner),
    max_leaves=12,
)


@given(st.binary() | st.builds(lambda value: json.dumps(value).encode(), _anything))
def test_anything_is_read_or_refused_with_a_short_text(content: bytes) -> None:
    said = ""
    try:
        found: Any = declared.parse(content, model="base")
    except BadFile as error:
        said, found = str(error), ()
    assert len(said.encode()) < 1500
    assert all(isinstance(one, ServedAdapter) for one in found)


@pytest.mark.parametrize(("rank", "limit"), [(0, 8), (8, 8), (9, 16), (300, 320), (512, 512), (600, 512)])
def test_the_least_limit_that_takes_a_rank(rank: int, limit: int) -> None:
    assert declared.rank_limit(rank) == limit
