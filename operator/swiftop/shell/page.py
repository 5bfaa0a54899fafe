"""One answer of a pod to one GET, bounded in bytes and in time, whatever the pod sends.

An HTTP client of the usual kind bounds the body alone: a pod that sends interim answers (``100 Continue``) or headers
for ever keeps it busy, and with it the event loop. Here all bytes of an answer are counted before anything is read in
them; what is longer is no answer.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import re
from contextlib import suppress
from typing import Any, cast
from urllib.parse import urlsplit

LONGEST = 32 * 1024  # bytes of an answer: status lines, headers and body, interim answers included

_BLANK = b"\r\n\r\n"  # after the head
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,6})[ \t]*(?=\r\n)", re.IGNORECASE)


async def fetch(url: str, *, seconds: float) -> bytes | None:
    """Body of a complete answer 200, None for any other. Redirects are not followed, no proxy is asked."""
    target = urlsplit(url)
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(target.hostname, target.port, limit=LONGEST)
            try:
                lines = (f"GET {target.path} HTTP/1.1", f"Host: {target.netloc}", "Accept: */*", "Connection: close")
                writer.write("\r\n".join((*lines, "", "")).encode("ascii"))
                return body_of(await _read(reader))
            finally:
                writer.transport.abort()  # what is still on its way is of no interest
    except (OSError, TimeoutError):
        return None


async def _read(reader: asyncio.StreamReader) -> bytes:
    """The answer; empty when it is too long. Its head is looked at once: it may come byte by byte."""
    raw, head, end = bytearray(), -1, LONGEST + 1
    while len(raw) < end:
        more = await reader.read(LONGEST + 1 - len(raw))
        if not more:
            break
        known = max(len(raw) - len(_BLANK) + 1, 0)
        raw += more
        if head < 0 and (head := raw.find(_BLANK, known)) >= 0:
            end = _end(raw, head)
    return bytes(raw) if len(raw) <= LONGEST else b""


def _end(raw: bytearray, head: int) -> int:
    """Where the announced body ends: not every server closes when it is asked to. Interim answers have none."""
    length = _LENGTH.search(raw, 0, head + 2)
    return min(head + len(_BLANK) + int(length.group(1)), LONGEST + 1) if length else LONGEST + 1


class _Received:
    """What is left of a socket."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, *_: Any) -> io.BytesIO:
        """All of the answer."""
        return io.BytesIO(self._raw)


def body_of(raw: bytes) -> bytes | None:
    """Body of an answer 200 that is whole."""
    with suppress(http.client.HTTPException, ValueError, OSError):
        response = http.client.HTTPResponse(cast("Any", _Received(raw)))
        response.begin()
        if response.status == http.HTTPStatus.OK:
            return response.read()
    return None
