"""A token goes to the hub itself and nowhere else.

Both clients send it to whatever host an answer of the hub names: ModelScope's with each large file (header and cookie),
Hugging Face's to confirm an upload. Object storage needs none, since its links are signed. So credentials are taken off
each request for another host where it leaves the process, whichever library made it. The same place sets the time limit
that some of these requests lack.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Callable
from urllib.parse import SplitResult, urlsplit

CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 300.0  # the hub reads and hashes a shard before it answers
_CREDENTIALS = ("authorization", "cookie")
_PORTS = {"http": 80, "https": 443}


def is_own(endpoint: str, url: str) -> bool:
    """Whether the URL is the hub's: the same scheme, host and port, or its sibling for large files.

    ModelScope keeps these at ``lfs.`` beside the first label of its own name, and wants the token there.
    """
    home, there = urlsplit(endpoint), urlsplit(url)
    try:
        if _origin(home) == _origin(there):
            return True
    except ValueError:  # a port that is no number
        return False
    labels = (home.hostname or "").split(".")
    domain = ".".join(labels[1:] if len(labels) > 2 else labels)
    siblings = {f"lfs.{domain}", f"pre-lfs.{domain}"} if len(labels) > 1 and not labels[-1].isdigit() else set()
    return home.scheme == there.scheme == "https" and _port(there) == _port(home) and there.hostname in siblings


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, parts.hostname or "", _port(parts)


def _port(parts: SplitResult) -> int:
    return parts.port or _PORTS.get(parts.scheme, 0)


def strip(headers: MutableMapping[str, Any]) -> None:
    """Take off what tells who is asking."""
    for name in [name for name in headers if name.lower() in _CREDENTIALS]:
        del headers[name]


def guard_requests(endpoint: str) -> None:
    """For every session of the requests library in this process, also those that a client makes for itself."""
    from requests import adapters

    library: Any = adapters.HTTPAdapter
    plain: Callable[..., Any] = library.send

    def send(self: Any, request: Any, *args: Any, **options: Any) -> Any:
        if not is_own(endpoint, request.url):
            strip(request.headers)
        if not args and not options.get("timeout"):
            options["timeout"] = (CONNECT_SECONDS, ANSWER_SECONDS)
        return plain(self, request, *args, **options)

    library.send = send


def httpx_client(endpoint: str) -> Any:
    """A client of the httpx library; its hook sees redirects too."""
    import httpx

    def own_only(request: Any) -> None:
        if not is_own(endpoint, str(request.url)):
            strip(request.headers)

    limits = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    return httpx.Client(follow_redirects=True, timeout=limits, event_hooks={"request": [own_only]})
