"""``/metrics`` of the guard, the same for every engine. Pure."""

from __future__ import annotations

from collections.abc import Callable

from .board import BUCKETS, Board, Histogram, Tally

PREFIX = "swiftop_serve_"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(board: Board, *, ready: bool) -> str:
    """Prometheus text format."""
    lines = [*_head("ready", "gauge", "Whether every name answers rightly"), f"{PREFIX}ready {ready:d}"]
    lines += _head("requests_total", "counter", "Requests that are over, by how they ended")
    for name, tally in board.tallies.items():
        lines += [
            f"{PREFIX}requests_total{_labels(name=name, outcome=outcome)} {count}"
            for outcome, count in tally.requests.items()
        ]
    lines += _each(board, "tokens_total", "counter", "Tokens generated", board.tokens)
    lines += _each(
        board, "prompt_tokens_total", "counter", "Tokens read", lambda name: board.tallies[name].prompt_tokens
    )
    lines += _each(
        board, "in_flight", "gauge", "Requests in flight, waiting ones included", lambda name: len(board.clients(name))
    )
    lines += _each(board, "queued", "gauge", "Requests that wait for the engine", board.queued)
    lines += _histograms(board, "first_token_seconds", "Until the first token", lambda tally: tally.first_token)
    lines += _histograms(board, "request_seconds", "Until the end of the answer", lambda tally: tally.duration)
    return "\n".join(lines) + "\n"


def _each(board: Board, metric: str, kind: str, text: str, value: Callable[[str], int]) -> list[str]:
    rows = [f"{PREFIX}{metric}{_labels(name=name)} {value(name)}" for name in board.tallies]
    return _head(metric, kind, text) + rows


def _histograms(board: Board, metric: str, text: str, of: Callable[[Tally], Histogram]) -> list[str]:
    lines = _head(metric, "histogram", text)
    for name, tally in board.tallies.items():
        found = of(tally)
        rows = [*zip(map(str, BUCKETS), found.counts), ("+Inf", found.count)]
        lines += [f"{PREFIX}{metric}_bucket{_labels(name=name, le=bound)} {count}" for bound, count in rows]
        lines += [f"{PREFIX}{metric}_sum{_labels(name=name)} {found.total}"]
        lines += [f"{PREFIX}{metric}_count{_labels(name=name)} {found.count}"]
    return lines


def _head(metric: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {PREFIX}{metric} {text}", f"# TYPE {PREFIX}{metric} {kind}"]


def _labels(**labels: str) -> str:
    escaped = {
        key: value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for key, value in labels.items()
    }
    return "{" + ",".join(f'{key}="{value}"' for key, value in escaped.items()) + "}"
