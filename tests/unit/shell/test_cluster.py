"""The pure parts of the API access."""

from __future__ import annotations

import json

import pytest

from swiftop import names
from swiftop.cluster import error_of, path_of
from swiftop.errors import AlreadyExists, Conflict, Forbidden, NotFound, Refused, Transient


@pytest.mark.parametrize(
    ("kind", "namespace", "name", "path"),
    [
        (names.POD, "", "", "/api/v1/pods"),
        (names.POD, "ns", "", "/api/v1/namespaces/ns/pods"),
        (names.PVC, "ns", "x", "/api/v1/namespaces/ns/persistentvolumeclaims/x"),
        (names.JOB, "ns", "x", "/apis/batch/v1/namespaces/ns/jobs/x"),
        (names.SFTRUN, "", "", "/apis/swiftop.dev/v1alpha1/sftruns"),
        (names.POD, "a/b", "../c", "/api/v1/namespaces/a%2Fb/pods/..%2Fc"),
    ],
)
def test_paths(kind: names.Kind, namespace: str, name: str, path: str) -> None:
    assert path_of(kind, namespace, name) == path


@pytest.mark.parametrize(
    ("status", "reason", "error"),
    [
        (400, "BadRequest", Refused),
        (401, "Unauthorized", Transient),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "AlreadyExists", AlreadyExists),
        (409, "Conflict", Conflict),
        (410, "Expired", Transient),
        (413, "RequestEntityTooLarge", Refused),
        (422, "Invalid", Refused),
        (429, "TooManyRequests", Transient),
        (500, "InternalError", Transient),
        (503, "", Transient),
    ],
)
def test_errors_by_what_to_do_next(status: int, reason: str, error: type[Exception]) -> None:
    raw = json.dumps({"kind": "Status", "reason": reason, "message": "because"}).encode()
    mapped = error_of(status, raw, "POST /x")
    assert type(mapped) is error
    assert str(mapped) == f"POST /x: {status} because"


@pytest.mark.parametrize("raw", [b"<html>bad gateway", b"[]", b"\xff\xfe"])
def test_an_answer_that_is_no_status(raw: bytes) -> None:
    assert type(error_of(502, raw, "GET /x")) is Transient
