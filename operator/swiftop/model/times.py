"""Kubernetes times (RFC 3339, whole seconds, UTC) to seconds since 1970 and back."""

from __future__ import annotations

from datetime import UTC, datetime


def seconds_of(text: str) -> float:
    """Seconds since 1970; 0 for a text that is no time, so that what is unknown counts as long ago."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def text_of(seconds: float) -> str:
    """As Kubernetes writes it: ``2026-01-02T03:04:05Z``."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
