"""The port of the endpoint: exactly this one. Also where connections of the container before still close."""

from __future__ import annotations

import errno
import socket

from ..task import Refused
from .causes import PORT_TAKEN

UNREAD_SECONDS = 60  # that an answer may lie unread
_TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", 0)  # not on every system


def bind(port: int) -> socket.socket:
    """A socket of both families where there are two; raises ``Refused`` when somebody listens there."""
    try:
        return _bound(socket.AF_INET6, "::", port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _taken(port) from error
    try:
        return _bound(socket.AF_INET, "0.0.0.0", port)  # noqa: S104 - the endpoint is for other pods
    except OSError as error:
        raise _taken(port) from error


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    # asyncio turns Nagle's delay off only where it reads TCP: else every second packet waits 40 ms for the first's ACK.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if _TCP_USER_TIMEOUT:
            # A client that reads nothing counts as a request in flight for as long as it likes, and by those replicas
            # are added. Connections inherit it from here.
            made.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, round(UNREAD_SECONDS * 1000))
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made


def _taken(port: int) -> Refused:
    return Refused(PORT_TAKEN, f"port {port} cannot be listened on: something else has it")
