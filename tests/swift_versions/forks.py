"""Asks a ``fork_server.py`` for programs: an import of ms-swift costs ten seconds, a fork of it a few hundredths."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO


@dataclass(frozen=True)
class Done:
    """A program that has ended."""

    returncode: int
    stdout: str
    stderr: str


class ForkServer:
    """One process that has imported ms-swift. It ends when this one does, however that ends."""

    def __init__(self, start: Callable[[int], Sequence[str]]) -> None:
        """``start``: the command that serves on a socket, by the number of the socket's file."""
        self._connection, theirs = socket.socketpair()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        with theirs:
            self._process = subprocess.Popen(
                start(theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=[theirs.fileno()],
            )
        assert self._answer() == "ready"

    def run(self, words: Sequence[str], stdin: str = "") -> Done:
        """A program to its end. ``words``: its path in there, and what it is given."""
        with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            asked.write(stdin.encode())
            asked.seek(0)
            files = [file.fileno() for file in (asked, output, errors)]
            try:
                socket.send_fds(self._connection, [json.dumps(words).encode()], files)
                status = int(self._answer())
            except BaseException:  # a test that ran out of time: its answer must not be taken for the next one's
                self._process.kill()
                raise
            return Done(status, _text(output), _text(errors))

    def _answer(self) -> str:
        """One line."""
        told = b""
        while not told.endswith(b"\n"):
            part = self._connection.recv(64)
            if not part:
                code, log = self._process.wait(), _text(self._log)[-4000:]
                raise RuntimeError(f"the process that is forked ended with {code}:\n{log}")
            told += part
        return told.decode().strip()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()
