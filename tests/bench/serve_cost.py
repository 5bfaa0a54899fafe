"""What the guard costs beside plain ``swift deploy``: ``python -m tests.bench.serve_cost [--pairs 300]``.

Both serve the same tiny model by real ms-swift 4.6 on the transformers engine, in the trainer image, at the same time;
they are asked in turns that alternate, so that what else the machine does falls on both. Short requests (one token)
give the cost of a request, streams the tokens per second; then a client leaves a long stream, and the next one asks.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from swiftop.runner.protocol import Owner, ServeSettings
from swiftop.runner.typed_json import to_json
from tests.runner.harness import descendants, free_port, wait_until
from tests.runner.trainer import ENVIRON, MODEL, enter, make_assets, trainer

NAME = "tiny"
WORDS = (
    *("--model", MODEL, "--infer_backend", "transformers", "--served_model_name", NAME),
    *("--torch_dtype", "float32", "--max_batch_size", "1"),
)
TURN = [{"role": "user", "content": "Hello river"}]
STREAM_TOKENS, LONG_TOKENS = 256, 900
START_SECONDS = 240.0


class Server:
    """One of the two."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300, trust_env=False)

    def up(self) -> bool:
        """Whether it answers."""
        with contextlib.suppress(httpx.TransportError):
            return self.ask(1).status_code == 200
        return False

    def ask(self, tokens: int) -> httpx.Response:
        """One answer in one piece."""
        return self.client.post("/v1/chat/completions", json=_asked(tokens))

    def request(self) -> float:
        """Milliseconds of a request for one token."""
        begun = time.perf_counter()
        self.ask(1).raise_for_status()
        return 1000 * (time.perf_counter() - begun)

    def stream(self) -> float:
        """Tokens per second of a stream."""
        begun, count = time.perf_counter(), 0
        with self.client.stream("POST", "/v1/chat/completions", json={**_asked(STREAM_TOKENS), "stream": True}) as told:
            for line in told.iter_lines():
                count += line.startswith("data: {")
        return count / (time.perf_counter() - begun)

    def left(self) -> float:
        """Seconds until the next client is answered, when one has left a long stream after its first words."""
        asked = {**_asked(LONG_TOKENS), "stream": True}
        with (
            httpx.Client(base_url=self.client.base_url, timeout=300, trust_env=False) as client,
            client.stream("POST", "/v1/chat/completions", json=asked) as told,
        ):
            lines = told.iter_lines()
            for _ in range(5):
                next(lines)
        begun = time.perf_counter()
        self.ask(1).raise_for_status()
        return time.perf_counter() - begun


def _asked(tokens: int) -> dict[str, Any]:
    return {"model": NAME, "messages": TURN, "max_tokens": tokens, "temperature": 0}


@contextmanager
def plain(root: Path, assets: Path) -> Iterator[Server]:
    """``swift deploy`` by itself."""
    port, work = free_port(), root / "plain"
    work.mkdir()
    work.chmod(0o777)
    words = ("python", "-m", "swift.cli.deploy", *WORDS, "--host", "127.0.0.1", "--port", str(port))
    with (root / "plain.log").open("wb") as log:
        quiet = (*words, "--verbose", "false", "--log_interval", "-1")
        process = subprocess.Popen([*enter(work, assets), *quiet], env=ENVIRON, stdout=log, stderr=log)
    try:
        yield Server("plain", port)
    finally:
        for pid in [*descendants(process.pid), process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


@contextmanager
def guarded(root: Path, assets: Path) -> Iterator[Server]:
    """The same under the runner and its guard."""
    port, bench = free_port(), trainer(root / "guarded", assets)
    settings = ServeSettings(engine="transformers", server="Swift", name=NAME, model=MODEL, port=port)
    bench.start(
        [bench.python, "-m", "swift.cli.deploy", *WORDS],
        program="serve",
        owner=Owner("ModelDeployment", "bench", "bench", "uid"),
        settings=to_json(settings),
    )
    try:
        yield Server("guarded", port)
    finally:
        bench.close()


def pairs(count: int, ours: Callable[[], float], theirs: Callable[[], float]) -> list[tuple[float, float]]:
    """Ours and theirs, the one first and then the other."""
    found = []
    for number in range(count):
        first = ours() if number % 2 == 0 else None
        other = theirs()
        found.append((ours() if first is None else first, other))
    return found


def spread(numbers: Sequence[float], digits: int = 2) -> str:
    """Median, and the middle half."""
    low, middle, high = statistics.quantiles(numbers, n=4)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def report(guard: Server, bare: Server, count: int, streams: int, leavers: int) -> None:
    """Measure and print."""
    for server in (guard, bare):
        for _ in range(10):
            server.request()
    requests = pairs(count, guard.request, bare.request)
    ours, theirs = zip(*requests, strict=True)
    extra = [one - other for one, other in requests]
    print(f"request for one token, ms: guarded {spread(ours)}, plain {spread(theirs)}; in {count} pairs")
    print(f"  more with the guard, ms, by pair: {spread(extra)}")
    speeds = pairs(streams, guard.stream, bare.stream)
    ours, theirs = zip(*speeds, strict=True)
    ratio = [one / other for one, other in speeds]
    print(f"tokens per second of a stream: guarded {spread(ours, 1)}, plain {spread(theirs, 1)}; in {streams} pairs")
    print(f"  guarded / plain, by pair: {spread(ratio, 3)}")
    gone = pairs(leavers, guard.left, bare.left)
    ours, theirs = zip(*gone, strict=True)
    print(
        f"answer after a client has left a stream of {LONG_TOKENS} tokens, s: guarded {spread(ours)} (at most", end=" "
    )
    print(f"{max(ours):.2f}), plain {spread(theirs)}; {leavers} times each")
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")


def main() -> None:
    """Start both, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=300, help="of short requests")
    parser.add_argument("--streams", type=int, default=20, help="pairs of streams")
    parser.add_argument("--leavers", type=int, default=6, help="clients that leave")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        root.chmod(0o755)
        assets = root / "assets"
        assets.mkdir()
        make_assets(assets)
        with guarded(root, assets) as guard, plain(root, assets) as bare:
            for server in (guard, bare):
                wait_until(server.up, seconds=START_SECONDS, what=f"an answer of {server.name}")
            print("both answer", file=sys.stderr)
            report(guard, bare, options.pairs, options.streams, options.leavers)


if __name__ == "__main__":
    main()
