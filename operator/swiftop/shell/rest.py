"""The Kubernetes API as REST: where an object is, and what an error of the server means."""

from __future__ import annotations

from urllib.parse import quote

from swiftop import names
from swiftop.errors import AlreadyExists, Conflict, Forbidden, NotFound, Refused, SwiftopError, Transient
from swiftop.shell.decode import loads


def path_of(kind: names.Resource, namespace: str = "", name: str = "") -> str:
    """URL path of an object, or of a collection when ``name`` is empty (of all namespaces when that is empty too)."""
    root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
    scope = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"{root}{scope}/{kind.plural}" + (f"/{quote(name, safe='')}" if name else "")


def error_of(status: int, raw: bytes, what: str) -> SwiftopError:
    """Class of an API error by what to do next. 401 is transient: a token is being renewed."""
    try:
        answer = loads(raw)
        reason, message = str(answer.get("reason", "")), str(answer.get("message", ""))
    except (ValueError, AttributeError):  # a proxy's HTML page
        reason, message = "", raw[:200].decode("utf-8", "replace")
    text = f"{what}: {status} {message or reason}"
    if status == 409:
        return AlreadyExists(text) if reason == "AlreadyExists" else Conflict(text)
    classes = {400: Refused, 403: Forbidden, 404: NotFound, 405: Refused, 413: Refused, 415: Refused, 422: Refused}
    return classes.get(status, Transient)(text)
