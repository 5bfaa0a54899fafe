"""What a client may hold before it has asked anything, key or none: uvicorn bounds neither connections nor heads."""

from __future__ import annotations

import contextlib
import resource
from typing import Any

MOST = 500  # connections on which nothing is being answered
HEAD_BYTES = 1 << 16
FILES = 1 << 16
_FRAMES = 8  # bytes around each byte of a body that comes in pieces
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def bounded(protocol: type[Any], *, most: int = MOST) -> type[Any]:
    """That of uvicorn with bounds. When there are too many, the one goes that has been silent for longest: whoever
    opens a thousand and says nothing keeps neither the kubelet's probes out nor anybody else."""
    known: dict[Any, None] = {}  # oldest first
    keeps_heads = hasattr(protocol, "on_message_begin")  # httptools; h11 has a bound of its own

    class Bounded(protocol):  # type: ignore[misc]
        """One connection."""

        _received = _body = 0  # bytes of this request, and those of them that are its body

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            known[self] = None
            silent = [one for one in known if one.cycle is None or one.cycle.response_complete]
            for one in silent[: max(len(silent) - most, 0)]:
                del known[one]
                one.transport.close()

        def connection_lost(self, exc: Any) -> None:
            known.pop(self, None)
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if known.pop(self, self) is None:
                known[self] = None
            self._received += len(data)
            super().data_received(data)
            if (
                keeps_heads
                and self._received - (1 + _FRAMES) * self._body > HEAD_BYTES
                and not self.transport.is_closing()
            ):
                self.transport.write(_TOO_LARGE)
                self.transport.close()

        def on_message_begin(self) -> None:
            """Of httptools: counted anew."""
            self._received = self._body = 0
            super().on_message_begin()

        def on_body(self, body: bytes) -> None:
            """Of httptools."""
            self._body += len(body)
            super().on_body(body)

    return Bounded


def allow_many() -> None:
    """As many open files as the container may have: many images begin with 1024."""
    with contextlib.suppress(OSError, ValueError):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
