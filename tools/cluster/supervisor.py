"""The one process of a cluster in the host's namespaces: starts it, leads a loopback port into it, ends with it.

The listening socket is made in the host's network namespace; then the process joins the cluster's one, so that every
connection it opens from there on reaches the API server. Whichever of the two dies first, the kernel takes the other:
the parent-death signal one way, a process descriptor the other way.
"""

import asyncio
import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from tools.cluster.host import REPOSITORY
from tools.cluster.layout import ClusterError, Layout
from tools.cluster.wait import eventually

START_SECONDS = 60.0
LOCK_SECONDS = 5.0
_CLONE_NEWNET = 0x40000000
_CHUNK = 1 << 16


def main() -> None:
    """Take the same JSON as process 1 gets."""
    plan = json.loads(sys.argv[1])
    layout = Layout(plan["name"], Path(plan["cache"]))
    lock = take(layout.lock)
    listener = _listen(plan["port"])
    # Accepted sockets inherit it; asyncio sets it on no socket of protocol 0, and each answer then waits some 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    namespaces = _start_init(sys.argv[1], layout)
    _join_network(namespaces.pid)
    state = {
        "supervisor": os.getpid(),
        "namespaces": namespaces.pid,
        "init": _child_of(namespaces.pid),
        "port": listener.getsockname()[1],
        "options": plan["options"],
        "binaries": plan["binaries"],
    }
    scratch = layout.state.with_suffix(".new")
    scratch.write_text(json.dumps(state))
    scratch.rename(layout.state)
    asyncio.run(_serve(listener, namespaces))
    lock.close()


def launch(plan: Mapping[str, Any], layout: Layout, seconds: float = START_SECONDS) -> None:
    """Start a supervisor and wait until it has written down what it started; one that does not, does not stay."""
    log = layout.log / "supervisor.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.cluster.supervisor", json.dumps(plan)],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    if not eventually(lambda: layout.state.exists() or process.poll() is not None, seconds):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise ClusterError(f"the supervisor did not start within {seconds:.0f} s; see {layout.log}")
    if not layout.state.exists():
        raise ClusterError(f"the supervisor ended: {log.read_text()[-2000:]}")


def take(path: Path, seconds: float = LOCK_SECONDS) -> TextIO:
    """The lock that says the cluster lives; whoever only asks whether it does holds it for a moment."""
    lock = path.open("a")

    def taken() -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    if not eventually(taken, seconds):
        raise ClusterError(f"another supervisor holds {path}")
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _listen(preferred: int) -> socket.socket:
    """The port of the last boot where it is free: an open shell keeps its kubeconfig."""
    try:
        return socket.create_server(("127.0.0.1", preferred))
    except OSError:
        return socket.create_server(("127.0.0.1", 0))


def _start_init(plan: str, layout: Layout) -> subprocess.Popen[bytes]:
    command = [
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", "--net", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=KILL"),
        *("--mount-proc", sys.executable, "-m", "tools.cluster.init", plan),
    ]
    with (layout.log / "init.log").open("w") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _join_network(pid: int) -> None:
    """Enter the network namespace of a process as soon as it has made its own."""
    own = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{pid}/ns/net").readlink() == own or not _child_of(pid):
        time.sleep(0.01)
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot join the cluster's network namespace")
    os.close(descriptor)


def _child_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else 0


async def _serve(listener: socket.socket, namespaces: subprocess.Popen[bytes]) -> None:
    """Forward until the cluster ends or somebody asks for its end."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(os.pidfd_open(namespaces.pid), ended.set)
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await asyncio.start_server(_forward, sock=listener)
    await ended.wait()
    server.close()
    namespaces.kill()
    namespaces.wait()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", 443)
    except OSError:
        writer.close()
        return
    await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


if __name__ == "__main__":
    main()
