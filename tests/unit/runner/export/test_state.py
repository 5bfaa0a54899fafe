"""What is written down of an export lies on a volume that others may write to."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from swiftop.runner.export.state import NAME, State
from swiftop.runner.record import LARGEST, Unreadable


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        "[]",
        '{"artifact": [1]}',
        '{"artifact": "x"}',
        '{"pushed": {"modelscope:me/a": 5}}',
        '{"card": [1]}',
        "{",
        "\xff",
    ],
)
def test_a_damaged_state_is_unreadable(tmp_path: Path, content: str) -> None:
    (tmp_path / NAME).write_bytes(content.encode("latin-1"))
    with pytest.raises(Unreadable):
        State(tmp_path).load()


def test_a_state_without_end_is_not_taken_into_memory(tmp_path: Path) -> None:
    with (tmp_path / NAME).open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(Unreadable, match="larger than 4 MiB"):
        State(tmp_path).load()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / NAME)
    with pytest.raises(Unreadable, match="not a file"):
        State(tmp_path).load()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.begin({"name": "x"})
    state.complete({"digest": "d"})
    state.publish("modelscope:me/a", {"commit": "c"})
    again = State(tmp_path)
    again.load()
    assert again.data == json.loads((tmp_path / NAME).read_text()) == state.data
