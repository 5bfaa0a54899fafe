"""A served model: the program ``serve`` as PID 1 around real ms-swift, and a client in front of it."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from swiftop.runner.protocol import Owner, ServedAdapter, ServeSettings
from swiftop.runner.typed_json import to_json
from tests.runner.harness import Bench, Execution, free_port, wait_until
from tests.runner.trainer import ASSETS, ENVIRON, FAKES, MODEL, enter, make_assets, trainer
from tests.swift_versions.environments import TRAINER

OWNER = Owner("ModelDeployment", "ns", "chat", "uid-3")
KEY_ENV, KEY = "SERVE_API_KEY", "sk-very-secret-5f1d"
BASE = "tiny"
PLUGIN = Path(__file__).with_name("plugin.py")
HELLO = [{"role": "user", "content": "Hello river"}]
START_SECONDS = 180.0


def make_served_assets(directory: Path, head_dim: int = 16) -> None:
    """The tiny model, its adapters and the plugin."""
    make_assets(directory, head_dim)
    (directory / "tiny_adapters.py").write_bytes((FAKES / "tiny_adapters.py").read_bytes())
    (directory / "plugin.py").write_bytes(PLUGIN.read_bytes())
    words = ["python", f"{ASSETS}/tiny_adapters.py", "--model", MODEL, "--out", f"{ASSETS}/adapters"]
    subprocess.run([*enter(directory, directory), *words], env=ENVIRON, check=True, capture_output=True)


def adapter(name: str, folder: str = "") -> ServedAdapter:
    return ServedAdapter(name, f"{ASSETS}/adapters/{folder or name}")


@dataclass
class Served:
    """One running server."""

    bench: Bench
    execution: Execution
    port: int
    client: httpx.Client

    def chat(self, model: str = BASE, **asked: Any) -> httpx.Response:
        """A short answer, always the same one."""
        body = {"model": model, "messages": HELLO, "max_tokens": 8, "temperature": 0, **asked}
        return self.client.post("/v1/chat/completions", json=body)

    @contextmanager
    def stream(self, model: str = BASE, **asked: Any) -> Iterator[httpx.Response]:
        body = {"model": model, "messages": HELLO, "max_tokens": 8, "temperature": 0, "stream": True, **asked}
        with self.client.stream("POST", "/v1/chat/completions", json=body) as response:
            yield response

    @contextmanager
    def raw(self, body: bytes, *, length: int | None = None) -> Iterator[socket.socket]:
        """A request on a connection of its own, which is closed at the end whatever has come by then."""
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(head.encode() + body)
            yield connection

    def text(self, model: str = BASE, **asked: Any) -> str:
        answer = self.chat(model, **asked)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["choices"][0]["message"]["content"])

    def told(self) -> dict[str, Any]:
        """What ``/ready`` says."""
        found: dict[str, Any] = self.client.get("/ready").json()
        return found

    def not_answering(self) -> dict[str, str]:
        """Names, and why."""
        return {name: said for name, said in self.told()["names"].items() if said != "answering"}

    def metric(self, line: str) -> float:
        """Value of a line of ``/metrics``, 0 where there is none."""
        text = self.client.get("/metrics").text
        return sum(float(row.rpartition(" ")[2]) for row in text.splitlines() if row.startswith(line))

    def counts(self, name: str) -> list[float]:
        """Answers that ended well, tokens, tokens of prompts and first tokens, of that name.

        A client has its answer a moment before it is counted.
        """
        wait_until(lambda: self.metric(f'swiftop_serve_in_flight{{name="{name}"}}') == 0, what="nothing in flight")
        lines = (
            f'requests_total{{name="{name}",outcome="ok"}}',
            f'tokens_total{{name="{name}"}}',
            f'prompt_tokens_total{{name="{name}"}}',
            f'first_token_seconds_count{{name="{name}"}}',
        )
        return [self.metric(f"swiftop_serve_{line}") for line in lines]

    @contextmanager
    def demanding(self, **files: str) -> Iterator[None]:
        """The engine misbehaves: see the plugin."""
        paths = [self.bench.local(name.replace("_", "-")) for name in files]
        for path, content in zip(paths, files.values(), strict=True):
            path.write_text(content)
        try:
            yield
        finally:
            for path in paths:
                path.unlink(missing_ok=True)

    def run_inside(self, program: str, *words: str) -> dict[str, Any]:
        """What a program beside this file prints, with the image's libraries."""
        self.bench.local(program).write_bytes(Path(__file__).with_name(program).read_bytes())
        command = [*self.bench.prefix, self.bench.python, self.bench.inside(program), *words]
        environ = {**self.bench.environ, KEY_ENV: KEY}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def wait_for_state(self, state: str, seconds: float = START_SECONDS) -> dict[str, Any]:
        """Until ``/ready`` tells it."""

        def reached() -> dict[str, Any] | None:
            assert self.execution.process.poll() is None, self.execution.log[-4000:]
            try:
                told = self.told()
            except httpx.TransportError:
                return None
            return told if told["state"] == state else None

        found: dict[str, Any] = wait_until(reached, seconds=seconds, what=f"state {state}")
        return found

    def wait_until_ready(self, seconds: float = START_SECONDS) -> None:
        def ready() -> bool:
            assert self.execution.process.poll() is None, self.execution.log[-4000:]
            try:
                return self.client.get("/ready").status_code == 200
            except httpx.TransportError:
                return False

        try:
            wait_until(ready, seconds=seconds, what="readiness")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.execution.log[-4000:]}") from error


def events(response: httpx.Response) -> list[Any]:
    """Of a stream; the last one is "[DONE]" when it ended well."""
    found = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    return [text if text == "[DONE]" else json.loads(text) for text in found]


def start(
    bench: Bench,
    *adapters: ServedAdapter,
    key: bool = False,
    backend: str = "transformers",
    engine: str = "transformers",
    **settings: Any,
) -> Served:
    """Start a server; it is not waited for."""
    port = settings.pop("port", None) or free_port()
    model = settings.pop("model", MODEL)
    words = ["--model", model, "--infer_backend", backend, "--served_model_name", BASE]
    words += ["--torch_dtype", "float32", "--external_plugins", f"{ASSETS}/plugin.py"]
    words += ["--adapters", *(f"{item.name}={item.path}" for item in adapters)] if adapters else []
    usual: dict[str, Any] = {"key_env": KEY_ENV if key else "", "drain_seconds": 1.0}
    chosen = ServeSettings(
        engine=engine, server="Swift", name=BASE, model=model, adapters=adapters, port=port,
        **{**usual, **settings},
    )  # fmt: skip
    return launch(bench, [bench.python, "-m", "swift.cli.deploy", *words], chosen, key=key)


def launch(bench: Bench, command: list[str], settings: ServeSettings, *, key: bool, seconds: float = 60) -> Served:
    """Start a server by its whole command. ``seconds``: patience of the client."""
    environ = {KEY_ENV: KEY} if key else {}
    execution = bench.start(
        command,
        program="serve",
        owner=OWNER,
        settings=to_json(settings),
        environ=environ,
        secret_env=tuple(environ),
    )
    headers = {"Authorization": f"Bearer {KEY}"} if key else {}
    url = f"http://127.0.0.1:{settings.port}"
    return Served(
        bench, execution, settings.port, httpx.Client(base_url=url, headers=headers, timeout=seconds, trust_env=False)
    )


def bench(directory: Path, assets: Path, image: str = TRAINER) -> Bench:
    """A volume of its own."""
    return trainer(directory, assets, image)
