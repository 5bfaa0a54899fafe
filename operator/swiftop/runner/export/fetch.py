"""Task: the folders of what is named by an id of a hub, downloaded if they are not there yet.

It is the one task beside those of the hubs that gets their tokens, and it runs no code of a model: the tasks that do
are given folders, and no token.

Request: ``{names, hub?, revision?, model?}``; the revision is that of ``model``. Result: ``{folders: {name: folder}}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import origin, task


def work(request: Mapping[str, Any], progress: task.Progress) -> Mapping[str, Any]:
    """Find or download."""
    progress({"phase": "Loading"})
    revision, model = str(request.get("revision") or ""), request.get("model")
    return {
        "folders": {
            name: str(origin.folder_of(name, request, revision=revision if name == model else ""))
            for name in request["names"]
        }
    }


if __name__ == "__main__":
    raise SystemExit(task.main(work))
