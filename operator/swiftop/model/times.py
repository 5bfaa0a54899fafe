"""Kubernetes times (RFC 3339, whole seconds, UTC) to seconds since 1970 and back, and spans of time as texts."""

from __future__ import annotations

from datetime import UTC, datetime


def seconds_of(text: str) -> float:
    """Seconds since 1970; 0 for a text that is no time, so that what is unknown counts as long ago."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def duration(seconds: int) -> str:
    """Two units at most, as people say it: 1d4h, 1h12m, 5m30s, 45s."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    units = [(days, "d"), (hour, "h"), (minute, "m"), (second, "s")]
    first = next((i for i, (amount, _) in enumerate(units) if amount), len(units) - 1)
    return "".join(f"{amount}{unit}" for amount, unit in units[first : first + 2] if amount) or "0s"


def text_of(seconds: float) -> str:
    """As Kubernetes writes it: ``2026-01-02T03:04:05Z``."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
