"""Task: serve until told to stop. The engine and ms-swift live in this process, the port and the key are the guard's.

Request: ``{settings, words}``; the API key is in the environment, and is taken out before anything else is imported.
Progress: members of ``protocol.SERVING``, once a second. Result: nothing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from .. import task
from ..protocol import ServeSettings
from ..typed_json import from_json


def work(request: Mapping[str, Any], progress: task.Progress) -> Mapping[str, Any]:
    """Load and serve."""
    started = time.monotonic()
    settings = from_json(ServeSettings, request["settings"])
    key = os.environ.pop(settings.key_env, "") if settings.key_env else ""
    from . import deploy, listener

    listening = listener.bind(settings.port)  # before the minutes of loading
    names = (settings.name, *(adapter.name for adapter in settings.adapters))
    made = deploy.load(request["words"], names)
    from .serving import Serving

    seconds = time.monotonic() - started
    sys.stdout.write(f"swiftop: loaded in {seconds:.1f} s, serving {', '.join(names)} on port {settings.port}\n")
    sys.stdout.flush()
    Serving(made, settings, key=key, progress=progress, load_seconds=seconds).run(listening)
    return {}


if __name__ == "__main__":
    code = task.main(work)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the engine's threads may hang, and would be waited for
