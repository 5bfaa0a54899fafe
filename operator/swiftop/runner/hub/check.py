"""The task ``hub.check``: may this target be published to? In seconds, before any work that costs something."""

from __future__ import annotations

from .connect import run
from .publish import check

if __name__ == "__main__":
    raise SystemExit(run(lambda hub, push, _tell: check(hub, push)))
