"""No secret value gets through, however the stream is cut."""

from __future__ import annotations

import base64
import json
import re
import textwrap
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftop.runner.redact import MASK, Redactor

KEY = "sk-Ab+/9 Z=ü%7"
SECRETS = st.lists(st.text(alphabet="abc+/%", min_size=4, max_size=9), min_size=1, max_size=3)


def run(redactor: Redactor, pieces: list[bytes]) -> bytes:
    return b"".join([*(redactor.feed(piece) for piece in pieces), redactor.close()])


@pytest.mark.parametrize(
    "form",
    [
        KEY,
        json.dumps(KEY),
        json.dumps({"key": KEY}, ensure_ascii=False),
        repr([KEY]),
        "https://x/?k=" + quote(KEY, safe=""),
        base64.b64encode(KEY.encode()).decode(),
        base64.b64encode(f"user:{KEY}".encode()).decode(),
        base64.b64encode(f"me:{KEY}@host".encode()).decode(),
        base64.urlsafe_b64encode(f"oauth2:{KEY}".encode()).decode(),
        re.sub("%..", lambda code: code.group().lower(), quote(KEY, safe="")),
        "".join(f"%{byte:02x}" for byte in KEY.encode()),
        KEY.encode().hex(),
        KEY.encode().hex().upper(),
        repr(KEY.encode()),
        base64.encodebytes(KEY.encode()).decode().rstrip(),
    ],
)
def test_every_printed_form_is_masked(form: str) -> None:
    shown = Redactor([KEY]).text(f"a {form} b")
    assert shown.startswith("a ")
    assert shown.endswith(" b")
    assert MASK.decode() in shown
    assert form not in shown


LONG = "hf_" + "aZ9+" * 40


@pytest.mark.parametrize(
    "form",
    [
        base64.encodebytes(LONG.encode()).decode(),  # lines of 76
        base64.encodebytes(f"user:{LONG}".encode()).decode(),
        textwrap.fill(LONG, 20),
        textwrap.fill(LONG, 60, subsequent_indent="        "),
        textwrap.fill(LONG, 40).replace("\n", "\r\n"),
        "".join(f"\u2502 {line:<50} \u2502\n" for line in textwrap.wrap(LONG, 40)),
        textwrap.fill(LONG.encode().hex(), 32),
        "first line\nsecond",
        "first line\n\nthird",
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_value_that_is_wrapped_over_lines_is_masked(form: str, size: int) -> None:
    stream = f"a {form} b".encode()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    shown = run(Redactor([LONG, "first line\nsecond", "first line\n\nthird"]), pieces)
    assert shown.startswith(b"a ")
    assert shown.rstrip().endswith(b" b")
    assert MASK in shown
    assert len(re.sub(rb"\W", b"", shown)) < 15
    assert Redactor([LONG, "first line\nsecond", "first line\n\nthird"]).text(stream.decode()).encode() == shown


def test_lines_are_kept_as_they_are() -> None:
    stream = b"one\n\n  two \r\nsecre\nt\n\nthree\n"
    assert run(Redactor(["another-key"]), [stream]) == stream
    assert run(Redactor(["secret"]), [stream]) == b"one\n\n  two \r\n***\n\nthree\n"


def test_nothing_without_an_end_is_held_back() -> None:
    redactor = Redactor(["secret-key"])
    for piece in (b"s" + b"\n" * 100_000, b"s" + b" " * 100_000 + b"\n", b"se\n" * 1000):
        redactor.feed(piece)
        assert len(redactor._held) < 1000


def test_a_key_with_a_newline_behind_is_found_without_it() -> None:
    assert run(Redactor(["secret-key\n"]), [b"x secret-key y"]) == b"x *** y"


def test_the_result_is_the_same_for_a_shorter_key_inside_a_longer_one() -> None:
    redactor = Redactor(["abcd", "abcdefgh"])
    assert run(redactor, [b"1abc", b"d2abcdef", b"gh3abcde4"]) == b"1***2***3***e4"


def test_a_beginning_is_held_back_only_while_it_may_be_the_key() -> None:
    redactor = Redactor(["secret"])
    assert redactor.feed(b"my sec") == b"my "
    assert redactor.feed(b"ond") == b"second"
    assert redactor.close() == b""


def test_most_of_a_key_at_the_end_is_masked() -> None:
    redactor = Redactor(["abcdefgh"])
    redactor.feed(b"abcdefg")
    assert redactor.close() == MASK


def test_short_and_empty_values_leave_the_log_alone() -> None:
    assert run(Redactor(["", "a", "abc"]), [b"abc a b c"]) == b"abc a b c"


@given(SECRETS, st.text(alphabet="abc+/% \n", max_size=60), st.lists(st.integers(1, 7), max_size=40))
def test_no_secret_and_no_dependence_on_the_cuts(secrets: list[str], noise: str, sizes: list[int]) -> None:
    stream = (noise + secrets[0] + noise + secrets[-1] + "|").encode()
    pieces, rest = [], stream
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    out = run(Redactor(secrets), [*pieces, rest])
    assert out == run(Redactor(secrets), [stream])
    for secret in secrets:
        assert secret.encode() not in out


def test_redaction_is_cheap() -> None:
    redactor = Redactor([f"token-number-{n}-with-some-length" for n in range(4)])
    line = b"Train:  10%|#         | 100/1000 [00:10<01:30, 10.0it/s]\r"
    start = time.process_time()
    for _ in range(2000):
        redactor.feed(line)
    assert time.process_time() - start < 2
