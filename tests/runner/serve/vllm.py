"""The guard around vLLM's real engine, inside ms-swift's server or before its own. Each start costs half a minute."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from swiftop.kinds.modeldeployment.kind import KIND
from swiftop.kinds.modeldeployment.prepare import Prepared
from swiftop.runner.protocol import NATIVE, ServedAdapter, ServeSettings
from swiftop.runner.serve import declared
from swiftop.swift.paths import CLAIM_MODELS_DIR
from tests.runner.harness import Bench, descendants, free_port, wait_until
from tests.runner.serve.served import BASE, KEY_ENV, Served, adapter, bench, launch
from tests.runner.trainer import MODEL, SERVER
from tests.unit.kinds.modeldeployment.deployments import minimal, world

CACHE_BYTES = 64 << 20
LENGTH, BATCH = 1024, 4
START_SECONDS = 600.0  # half a minute by itself, and ten times that beside other work
PROMPT_TOKENS, PROMPT_TOKENS_OF_TOOLS = 97, 573  # of a greeting, alone and with one tool: what the training gives
_FILE = ("declared", "..data", "adapters.json")
ENGINE = "EngineCore"  # in the name of the engine's process


def bench_with_vllm(directory: Path, assets: Path) -> Bench:
    """A volume of its own, in the image that has vLLM."""
    return bench(directory, assets, SERVER)


def _rendered(adapters: tuple[ServedAdapter, ...], server: str) -> Prepared:
    """The commands that the operator gives to such a pod; folders are moved to where they lie here."""
    folders = [{"name": item.name, "persistentVolumeClaim": {"claimName": "a", "path": item.name}} for item in adapters]
    deployment = minimal(
        model={"persistentVolumeClaim": {"claimName": "m", "path": Path(MODEL).name}},
        adapters=folders,
        engine="vllm",
        server=server,
        servedModelName=BASE,
        maxModelLength=LENGTH,
        dtype="float32",
        engineArgs=[
            {"name": "vllm_max_num_seqs", "value": str(BATCH)},
            {"name": "vllm_engine_kwargs", "json": json.dumps({"kv_cache_memory_bytes": CACHE_BYTES})},
        ],
    )
    return KIND.prepare(deployment, world())


def _moved(words: tuple[str, ...], adapters: tuple[ServedAdapter, ...]) -> tuple[str, ...]:
    there = {f"{item.name}={CLAIM_MODELS_DIR}/a/{item.name}": f"{item.name}={item.path}" for item in adapters}
    there[f"{CLAIM_MODELS_DIR}/m/{Path(MODEL).name}"] = MODEL
    return tuple(there.get(word, word) for word in words)


def start_vllm(
    volume: Bench,
    *adapters: ServedAdapter,
    server: str,
    key: bool = False,
    words: tuple[str, ...] = (),
    **settings: Any,
) -> Served:
    """Start it; it is not waited for. ``words``: more flags of ms-swift."""
    port, rendered = free_port(), _rendered(adapters, server)
    usual: dict[str, Any] = {"key_env": KEY_ENV if key else "", "drain_seconds": 1.0}
    if server == NATIVE and adapters:
        declare(volume, *adapters)
        usual["adapters_file"] = volume.inside(*_FILE)
    else:
        usual["adapters"] = adapters
    chosen = ServeSettings(
        engine="vllm", server=server, name=BASE, model=MODEL, port=port,
        native=_moved(rendered.native, adapters), **{**usual, **settings},
    )  # fmt: skip
    return launch(volume, [*_moved(rendered.command, adapters), *words], chosen, key=key, seconds=120)


def declare(volume: Bench, *adapters: ServedAdapter) -> str:
    """The adapters that the pod is to follow, as the kubelet writes them. Returns their digest in a report."""
    path, text = volume.local(*_FILE), declared.text_of(adapters)
    now = path.parents[1] / f"..{len(list(path.parents[1].glob('..*')))}"
    now.mkdir(parents=True)
    (now / path.name).write_text(text)
    (path.parents[1] / "..data.part").symlink_to(now.name)
    (path.parents[1] / "..data.part").rename(path.parent)
    return declared.digest(text.encode())


@contextmanager
def with_bad_adapters(directory: Path, assets: Path, *, server: str, **settings: Any) -> Iterator[Served]:
    """One whose adapters but ``ada`` do not load, once each of them was tried."""
    made = bench_with_vllm(directory, assets)
    names = [adapter(name) for name in ("nothing", "cut", "ada", "other", "deep")]
    started = start_vllm(made, *names, server=server, **settings)
    try:
        started.wait_for_state("serving", START_SECONDS)
        wait_until(lambda: "not ready yet" not in str(started.told()), seconds=300, what="the check of all names")
        yield started
    finally:
        made.close()


def assert_that_the_others_answer(server: Served) -> None:
    """Beside the bad adapters."""
    assert {name: said == "answering" for name, said in server.told()["names"].items()} == {
        BASE: True, "nothing": False, "cut": False, "ada": True, "other": False, "deep": False,
    }  # fmt: skip
    assert server.client.get("/ready").status_code == 503
    assert server.text("ada") != server.text(BASE)
    assert server.chat("cut").status_code == 503


def processes(server: Served) -> dict[int, str]:
    """Command lines of all of its processes."""
    found = {}
    for pid in descendants(server.execution.process.pid):
        found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def signal_engine(server: Served, number: int) -> None:
    """To the process that computes."""
    (pid,) = [pid for pid, words in processes(server).items() if ENGINE in words]
    os.kill(pid, number)


def _page(server: Served, path: str) -> str:
    """Of vLLM's own server, which only the guard knows the key of."""
    (pid, words), *_ = [(pid, words) for pid, words in processes(server).items() if "api_server" in words]
    environ = dict(item.partition("=")[::2] for item in Path(f"/proc/{pid}/environ").read_text().split("\0") if item)
    port = words.split("--port ")[1].split()[0]
    headers = {"Authorization": f"Bearer {environ['VLLM_API_KEY']}"}
    return httpx.get(f"http://127.0.0.1:{port}{path}", headers=headers, trust_env=False).text


def running(server: Served) -> float:
    """Requests that vLLM's own server is at work on, as it tells."""
    rows = [row for row in _page(server, "/metrics").splitlines() if row.startswith("vllm:num_requests_running{")]
    return sum(float(row.rpartition(" ")[2]) for row in rows)


def loaded(server: Served) -> list[str]:
    """Names that vLLM's own server knows."""
    return sorted(model["id"] for model in json.loads(_page(server, "/v1/models"))["data"])


def wait_until_it_streams(server: Served) -> None:
    """Until a request gets tokens."""
    wait_until(lambda: server.metric("swiftop_serve_in_flight") >= 1, what="the request")
    wait_until(lambda: server.metric("swiftop_serve_queued") == 0, what="its first token")
