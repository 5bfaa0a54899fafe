"""The task ``hub.push``: publish, compare with the hub's listing, and tell the commit."""

from __future__ import annotations

from .connect import run
from .publish import publish

if __name__ == "__main__":
    raise SystemExit(run(publish))
