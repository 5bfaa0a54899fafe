"""Runs inside an environment: imports the real ms-swift once, then runs each program in a fork of itself.

Each program has an interpreter of its own with everything as the import has left it, /tmp included, and standard input,
output and error of its own: what one does no other sees. They come over the socket that the first word names, one
message each: a JSON list of the program's words, with the three files. The answer is the exit status, as
``subprocess`` counts it. A program that imports under other circumstances needs an interpreter that is fresh.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import socket
import subprocess
import sys
import traceback
from pathlib import Path

MESSAGE = 1 << 20
FILES = 3
# A /tmp that the program alone sees, with what importing has left there.
_OWN_TMP = "mount -t tmpfs tmpfs /media && cp -a /tmp/. /media && mount --move /media /tmp"


def preload() -> None:
    """What almost every program begins with."""
    try:
        pipelines, arguments = importlib.import_module("swift.pipelines"), importlib.import_module("swift.arguments")
    except ImportError:
        pipelines = arguments = importlib.import_module("swift.llm")
    for module, name in ((pipelines, "sft_main"), (pipelines, "export_main"), (arguments, "DeployArguments")):
        getattr(module, name)  # their packages import on demand
    importlib.import_module("peft")
    threads = list(Path("/proc/self/task").iterdir())
    assert len(threads) == 1, f"{len(threads)} threads after the import: no fork would have them"
    gc.freeze()


def serve(connection: socket.socket) -> None:
    """Until nobody asks any more."""
    while True:
        message, files, _flags, _address = socket.recv_fds(connection, MESSAGE, FILES)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            connection.close()
            os._exit(run(json.loads(message), files))
        for file in files:
            os.close(file)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        connection.sendall(f"{status}\n".encode())


def run(words: list[str], files: list[int]) -> int:
    """The program, as an interpreter would run it; its exit status."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    try:
        if sys.version_info < (3, 12):
            raise RuntimeError("os.unshare is newer")
        os.unshare(os.CLONE_NEWNS)
        subprocess.run(["sh", "-c", _OWN_TMP], check=True)
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def main() -> None:
    """Import, tell, serve."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    preload()
    connection.sendall(b"ready\n")
    serve(connection)


if __name__ == "__main__":
    main()
