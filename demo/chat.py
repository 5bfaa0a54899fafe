"""One question to a served model, through ``kubectl port-forward``, as a person at a terminal would ask it."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

ANSWER_SECONDS = 120.0
_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


@contextmanager
def forwarded(kubectl: Sequence[str], service: str, *, env: Mapping[str, str]) -> Iterator[str]:
    """Address of a Service's first port on this machine, as long as the context lasts.

    Raises:
        subprocess.CalledProcessError: kubectl cannot reach it; its own message is on stderr.
    """
    command = [*kubectl, "port-forward", "--address", "127.0.0.1", f"service/{service}", ":8000"]
    with subprocess.Popen(command, env=dict(env), stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            found = _FORWARDING.match(line)
            if found is None:
                raise subprocess.CalledProcessError(process.poll() or 1, command)
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            process.terminate()


def ask(address: str, name: str, question: str) -> str:
    """What one served name answers; the same each time."""
    body = {"model": name, "messages": [{"role": "user", "content": question}], "max_tokens": 32, "temperature": 0}
    request = urllib.request.Request(  # noqa: S310 - the address is ours
        f"{address}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine needs no proxy
    with opener.open(request, timeout=ANSWER_SECONDS) as response:
        return str(json.load(response)["choices"][0]["message"]["content"]).strip()
