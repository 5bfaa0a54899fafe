"""A door in front of the API server that a test can shut, so that no other test notices: connections through it are
refused or hang, as with an API server that is dead or cut off."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import yaml


class State(Enum):
    """How the door stands."""

    OPEN = "open"
    REFUSING = "refusing"  # connections are reset, as by a dead process
    SILENT = "silent"  # nothing gets through in either direction, as by a lost network


class Gate:
    """A TCP proxy on a loopback port."""

    def __init__(self, kubeconfig: Path) -> None:
        """In front of the API server of this kubeconfig; ``kubeconfig`` then leads through the gate."""
        self._config = yaml.safe_load(kubeconfig.read_text())
        cluster = self._config["clusters"][0]["cluster"]
        server = urlsplit(cluster["server"])
        self._target = (server.hostname, server.port or 443)
        self._state = State.OPEN
        self._opened = asyncio.Event()
        self._opened.set()
        self._links: set[asyncio.StreamWriter] = set()
        self._directory = tempfile.TemporaryDirectory()
        self.kubeconfig = Path(self._directory.name) / "kubeconfig"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._link, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self._config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
        self.kubeconfig.write_text(yaml.safe_dump(self._config))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.refuse()
        self._server.close()
        self._directory.cleanup()

    def refuse(self) -> None:
        """Break all connections and take no more."""
        self._state = State.REFUSING
        self._opened.set()
        for writer in self._links:
            writer.transport.abort()

    def silence(self) -> None:
        """Pass nothing on any more."""
        self._state = State.SILENT
        self._opened.clear()

    def open(self) -> None:
        """Let through again."""
        self._state = State.OPEN
        self._opened.set()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._state is State.REFUSING:
            writer.transport.abort()
            return
        await self._opened.wait()
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            self._links |= {writer, far_writer}
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
            self._links -= {writer, far_writer}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._opened.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
