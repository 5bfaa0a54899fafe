"""The engine's own server as a child of the guard, from its start to its end.

It writes to the guard's output, so that PID 1 redacts its log too, and belongs to the guard's group, which PID 1 ends.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Optional

from .own_servers import OwnServer
from .upstream import HOST, Upstream

CHECK_SECONDS = 0.2
ANSWER_SECONDS = 5.0
END_SECONDS = 10.0  # between asking it to end and ending it
_PYTHON = "python"


class EndedEarly(Exception):
    """The server has ended while it loaded; its log tells why."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the engine's server has ended with exit code {code} while it loaded")


class OwnProcess:
    """One running server."""

    def __init__(self, kind: OwnServer, words: Sequence[str], port: int) -> None:
        key = secrets.token_urlsafe(24) if kind.key_env else ""  # other containers of the pod reach the port as well
        environ: dict[str, str] = {**os.environ, **kind.environ, **({kind.key_env: key} if key else {})}
        command = [sys.executable if word == _PYTHON and not at else word for at, word in enumerate(words)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environ)
        self._kind = kind
        self._headers: Mapping[str, str] = {"authorization": f"Bearer {key}"} if key else {}
        self._port = port

    @property
    def upstream(self) -> Upstream:
        """How it is asked."""
        return Upstream(self._port, self._headers)

    @property
    def ended(self) -> Optional[int]:
        """Its exit code, None while it runs."""
        return self._process.poll()

    def wait_until_healthy(self) -> None:
        """For as long as it takes: PID 1 limits it. Raises ``EndedEarly``."""
        while not self._is_healthy():
            if self.ended is not None:
                raise EndedEarly(self.ended)
            time.sleep(CHECK_SECONDS)

    def _is_healthy(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=ANSWER_SECONDS)
        try:
            connection.request("GET", self._kind.health, headers=dict(self._headers))
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def end(self) -> None:
        """Nobody is answered any more: it has no reason to take its time, and its helpers go with PID 1's last look."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
            return
        self._process.kill()
        self._process.wait()
