"""Tokens per second of vLLM's real engine on the CPU: ``python -m tests.bench.serve_vllm [--seconds N]``.

Three servers of the same tiny model, one after the other: plain ``swift deploy``, the guard around its server and
the guard before vLLM's own. Each is asked by 1, 4 and 8 clients at once for so many seconds, who each ask again as soon
as they have their answer. The model is so small that what is measured is what the servers cost.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.runner.harness import Bench, free_port, wait_until
from tests.runner.serve.served import BASE, HELLO, make_served_assets
from tests.runner.serve.vllm import BATCH, CACHE_BYTES, LENGTH, START_SECONDS, bench_with_vllm, start_vllm
from tests.runner.trainer import MODEL

CLIENTS = (1, 4, 8)
TOKENS = 200  # of an answer
PLAIN = (
    *("python", "-m", "swift.cli.deploy", "--model", MODEL, "--served_model_name", BASE, "--infer_backend", "vllm"),
    *("--torch_dtype", "float32", "--vllm_max_model_len", str(LENGTH), "--vllm_max_num_seqs", str(BATCH)),
    *("--vllm_engine_kwargs", json.dumps({"kv_cache_memory_bytes": CACHE_BYTES}), "--host", "127.0.0.1", "--port"),
)


@contextmanager
def plain(volume: Bench) -> Iterator[httpx.Client]:
    """ms-swift by itself."""
    port = free_port()
    command = [*volume.prefix, *PLAIN, str(port)]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as client:
        process = subprocess.Popen(command, env=volume.environ, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: _answers(client), seconds=START_SECONDS, what="an answer of swift deploy")
            yield client
        finally:
            process.kill()  # and with it all that it has started, which has a PID namespace of its own
            process.wait()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def guarded(volume: Bench, server: str) -> Iterator[httpx.Client]:
    """The guard with one of the two servers."""
    served = start_vllm(volume, server=server)
    try:
        served.wait_until_ready(START_SECONDS)
        yield served.client
    finally:
        volume.close()


def tokens_per_second(client: httpx.Client, clients: int, seconds: float) -> float:
    """Of all answers that are complete, by the time that they took."""
    began = time.monotonic()

    def ask() -> int:
        made = 0
        while time.monotonic() < began + seconds:
            body = {"model": BASE, "messages": HELLO, "max_tokens": TOKENS, "temperature": 0}
            answer = client.post("/v1/chat/completions", json=body)
            answer.raise_for_status()
            made += int(answer.json()["usage"]["completion_tokens"])
        return made

    with ThreadPoolExecutor(clients) as pool:
        made = sum(future.result() for future in [pool.submit(ask) for _ in range(clients)])
    return made / (time.monotonic() - began)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    seconds = parser.parse_args().seconds
    print("tokens per second     " + "".join(f"{clients:>8} clients" for clients in CLIENTS), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        assets = Path(scratch, "assets")
        assets.mkdir()
        Path(scratch).chmod(0o755)
        make_served_assets(assets, head_dim=32)
        for name in ("swift deploy", "guard, Swift", "guard, Native"):
            volume = bench_with_vllm(Path(scratch, name.replace(", ", "-").replace(" ", "-")), assets)
            with plain(volume) if name == "swift deploy" else guarded(volume, name.removeprefix("guard, ")) as client:
                tokens_per_second(client, 1, 2)  # what is done once
                figures = [tokens_per_second(client, clients, seconds) for clients in CLIENTS]
            print(f"{name:<22}" + "".join(f"{figure:>16.1f}" for figure in figures), flush=True)


if __name__ == "__main__":
    main()
