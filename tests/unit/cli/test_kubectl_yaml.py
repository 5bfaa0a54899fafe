"""Texts as kubectl reads them; tests/apiserver/test_preview_agrees.py asks kubectl itself."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftop.cli.kubectl_yaml import documents, plain
from swiftop.errors import Invalid


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((word, True) for word in ("y", "Y", "yes", "on", "On", "TRUE")),
        *((word, False) for word in ("n", "No", "off", "false")),
        *(
            (word, word)
            for word in ("yEs", "12:30:00", "2025-08-20", "0o8", "0x", "_1", "1.2.3", "1e400", "=", "+", ".")
        ),
        *(("010", 8), ("0o17", 15), ("08", 8), ("0x1F", 31), ("0b11", 3), ("1_000", 1000), ("+1", 1), ("-010", -8)),
        *(("1e3", 1000), ("2.0", 2), ("2e-4", 0.0002), (".5", 0.5), ("5.", 5), ("1_0.5", 10.5)),
        *((str(2**63 - 1), 2**63 - 1), (str(2**63), float(2**63)), ("1e22", 1e22)),
        *(("", None), ("~", None), ("Null", None), ("nULL", "nULL")),
    ],
)
def test_a_word_without_quotes(text: str, value: Any) -> None:
    assert (plain(text), type(plain(text))) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("# nothing\n---\n---\n", []),
        ("a: 1\n---\nb: 2", [{"a": 1}, {"b": 2}]),
        ('{"a":\t1.0}\n{"b": 2}', [{"a": 1}, {"b": 2}]),
        ("{a: 1, 'b': \"2\"}", [{"a": 1, "b": "2"}]),
        ('a: {"b":\t1}', [{"a": {"b": 1}}]),
        ("x: &c {a: 1, b: 2}\nz: {<<: *c, b: 3}", [{"x": {"a": 1, "b": 2}, "z": {"a": 1, "b": 3}}]),
        ("{b: 2, <<: [{a: 1}, {a: 2, b: 3}]}", [{"a": 1, "b": 3}]),
        ("{1: a, yes: b, 1.5: c}", [{"1": "a", "true": "b", "1.5": "c"}]),
        ("a: !!str 5\nb: !!binary aGk=\nc: !mine 5", [{"a": "5", "b": "hi", "c": "5"}]),
        ("\ufeffa: x\r\nb: |\r\n  y", [{"a": "x", "b": "y\n"}]),
        ("[]", [[]]),
    ],
)
def test_documents(text: str, values: list[Any]) -> None:
    assert documents(text) == values


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "line 1: is not valid YAML"),
        ("a:\n\tb: 1", "line 2: is not valid YAML"),
        ("a: 1\na: 2", "line 1: is not valid YAML: a is given twice"),
        ("a: .inf", "line 1: is not valid YAML: .inf is not a number that JSON can write"),
        ("a: 1\nb: *c", "line 2: is not valid YAML"),
        ("a: &b [*b]", "an anchor contains itself"),
        ("<<: 3", "a merge key (<<) needs a map"),
        ("? [a]\n: b", "a key must be a text"),
        ("a: !!int x", "'x' does not fit its tag !!int"),
        ("[" * 200, "more than 100 levels deep"),
        ("a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
            f"{c}: &{c} [{','.join([f'*{chr(ord(c) - 1)}'] * 10)}]\n" for c in "bcdefg"
        ), "more than 100000 values"),
    ],
)  # fmt: skip
def test_what_is_not_valid(text: str, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        documents(text)
    assert words in str(caught.value)


@given(st.text(alphabet="ab:-[]{}#&*!|>'\"%@`,? \t\n0.1y<=~", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(Invalid):
        documents(text)
