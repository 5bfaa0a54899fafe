"""What ms-swift's log tells of dropped rows, in the words of its releases."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftop.runner.dropped import Count, DroppedRows, read, words

NAMED = "[INFO:swift] {}_dataset: Dataset({{\n    features: ['messages', 'lengths'],\n    num_rows: {}\n}})\n"
NONE = "[INFO:swift] {}_dataset: None\n"
FILTERED = "[INFO:swift] Dataset filtered, origin length: {}, filtered dataset length: {}\n"
ERROR = (
    "[INFO:swift] Traceback (most recent call last):\n"
    '  File "/x/swift/template/base.py", line 1449, in _swift_encode\n'
    "{}\n\n[WARNING:swift] 👆👆👆There are errors in the dataset, the data will be deleted\n"
)
ODD_ROLE = ERROR.format('AssertionError: response_role: "system"')
TOO_LONG = ERROR.format("swift.llm.template.base.MaxLengthError: Current length of row(1094) is larger than (256).")


@pytest.mark.parametrize(
    ("log", "train", "validation"),
    [
        (NAMED.format("train", 40) + NONE.format("val"), Count(40, 0, 0), None),
        (NAMED.format("train", 40) + NAMED.format("val", 5), Count(40, 0, 0), Count(5, 0, 0)),
        (FILTERED.format(40, 10) + NAMED.format("train", 10) + NONE.format("val"), Count(40, 30, 30), None),
        (
            FILTERED.format(40, 10) + FILTERED.format(20, 0) + NAMED.format("train", 10) + NONE.format("val"),
            Count(40, 30, 30),
            Count(20, 20, 20),
        ),
        (
            FILTERED.format(20, 0) + NAMED.format("train", 40) + NONE.format("val"),
            Count(40, 0, 0),
            Count(20, 20, 20),
        ),
        (FILTERED.format(20, 0) + NONE.format("train") + NONE.format("val"), Count(20, 20, 20), None),
        (
            2 * ODD_ROLE + FILTERED.format(40, 10) + NAMED.format("train", 10) + NONE.format("val"),
            Count(40, 30, 28),
            None,
        ),
        (
            10 * ODD_ROLE + FILTERED.format(40, 10) + NAMED.format("train", 10) + NONE.format("val"),
            Count(40, 30, None),
            None,
        ),
        (  # one of two files had broken rows already
            ODD_ROLE
            + FILTERED.format(20, 19)
            + FILTERED.format(39, 30)
            + NAMED.format("train", 30)
            + NAMED.format("val", 5),
            Count(40, 10, 9),
            Count(5, 0, 0),
        ),
    ],
)
def test_releases_that_name_what_is_left(log: str, train: Count, validation: Count | None) -> None:
    """4.x and 3.12."""
    found = read(log)
    assert (found.train, found.validation) == (train, validation)


@pytest.mark.parametrize(
    ("log", "train", "validation"),
    [
        ("", Count(40, 0, 0), Count(20, 0, 0)),
        (2 * TOO_LONG + FILTERED.format(40, 38), Count(40, 2, 2), Count(20, 0, 0)),
        (10 * TOO_LONG + FILTERED.format(40, 10), Count(40, 30, 30), Count(20, 0, 0)),
        (2 * TOO_LONG + ODD_ROLE + FILTERED.format(40, 37), Count(40, 3, 2), Count(20, 0, 0)),
        (10 * TOO_LONG + FILTERED.format(20, 0), Count(40, 0, 0), Count(20, 20, 20)),
        (
            FILTERED.format(40, 10) + FILTERED.format(20, 0),
            Count(40, 30, 30),
            Count(20, 20, 20),
        ),
    ],
)
def test_a_release_that_names_what_it_begins_with(log: str, train: Count, validation: Count | None) -> None:
    """3.7."""
    found = read(NAMED.format("train", 40) + NAMED.format("val", 20) + log)
    assert (found.train, found.validation) == (train, validation)


def test_nothing_is_known_of_streamed_rows() -> None:
    found = read("[INFO:swift] train_dataset: IterableDataset({\n    features: ['messages'],\n    num_shards: 1\n})\n")
    assert (found.train, found.validation) == (None, None)


def test_a_training_that_ended_while_it_read() -> None:
    found = read(ODD_ROLE + FILTERED.format(1, 0))
    assert (found.train, found.why) == (Count(1, 1, 0), 'AssertionError: response_role: "system"')


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (Count(20, 20, 20), "all 20 rows were dropped, 20 longer than training.maxLength"),
        (Count(40, 30, 28), "30 of 40 rows were dropped, 28 longer than training.maxLength, 2 that the chat template"),
        (Count(40, 30, None), "30 of 40 rows were dropped, some may be longer than training.maxLength"),
        (Count(40, 1, 0), "1 of 40 rows were dropped, 1 that the chat template cannot encode"),
    ],
)
def test_words(count: Count, text: str) -> None:
    assert words(count).startswith(text)


@pytest.mark.parametrize(("strategy", "cut"), [("delete", False), ("'raise'", False), ("left", True), ("split", True)])
def test_whether_rows_are_cut(strategy: str, cut: bool) -> None:
    assert read(f"truncation_strategy={strategy},\n").truncates is cut


PIECES = st.sampled_from(
    [
        "origin length: 9",
        "filtered dataset length: ",
        "train_dataset: Dataset(",
        "val_dataset: None",
        "num_rows: 7",
        "\r",
    ]
)


@given(st.lists(st.one_of(PIECES, st.text(), st.binary().map(lambda raw: raw.decode("utf-8", "replace")))))
def test_any_log_in_any_pieces(pieces: list[str]) -> None:
    found = DroppedRows()
    for piece in pieces:
        found.feed(piece)
    for count in (found.train, found.validation):
        assert count is None or 0 <= count.dropped <= count.rows
