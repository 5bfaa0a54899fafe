"""Task: serve until told to stop. The port and the key are the guard's, whatever answers behind it.

Request: ``{settings, words, prompt, also, declared}``: the server is chosen by now, ``prompt`` is what ``serve.prompt``
has found where that was asked, ``also`` goes into each report, and ``declared`` is the digest of the file of adapters
as ``settings`` has them, where that is followed. The API key is in the environment, and is taken out before
anything else is imported or started. Progress: members of ``report.SERVING``, once a second. Result: nothing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from .. import task
from ..protocol import NATIVE, ServeSettings
from ..typed_json import from_json


def work(request: Mapping[str, Any], progress: task.Progress) -> Mapping[str, Any]:
    """Load and serve."""
    started = time.monotonic()
    settings = from_json(ServeSettings, request["settings"])
    key = os.environ.pop(settings.key_env, "").strip() if settings.key_env else ""
    from . import listener

    listening = listener.bind(settings.port)  # before the minutes of loading
    names = (settings.name, *(adapter.name for adapter in settings.adapters))
    loaded = _load(settings, request, names)
    from .serving import Serving

    seconds = time.monotonic() - started
    sys.stdout.write(f"swiftop: loaded in {seconds:.1f} s, serving {', '.join(names)} on port {settings.port}\n")
    sys.stdout.flush()
    serving = Serving(
        loaded, settings, key=key, progress=progress, load_seconds=seconds, also=request.get("also") or {},
        start=_followed(settings, request),
    )  # fmt: skip
    try:
        serving.run(listening)
    finally:
        loaded.backend.close()
    return {}


def _followed(settings: ServeSettings, request: Mapping[str, Any]) -> Any:
    """Where adapters are declared that may change; None where they stay."""
    if not settings.adapters_file or settings.server != NATIVE:
        return None
    from .changes import Start

    return Start(
        path=settings.adapters_file,
        model=settings.name,
        digest=str(request.get("declared") or ""),
        adapters=settings.adapters,
        words=settings.native,
        flags=request["words"],
        folders=(request.get("prompt") or {}).get("folders") or {},
    )


def _load(settings: ServeSettings, request: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """Each in its own module: the engine's own server needs none of the libraries in this process."""
    if settings.server == NATIVE:
        from . import native
        from .own_process import EndedEarly

        try:
            return native.load(settings, request.get("prompt") or {})
        except EndedEarly as error:
            sys.stderr.write(f"swiftop: {error}\n")
            sys.stderr.flush()
            os._exit(1)  # PID 1 reads why in the server's log
    from . import deploy

    return deploy.load(request["words"], names)


if __name__ == "__main__":
    code = task.main(work)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the engine's threads may hang, and would be waited for
