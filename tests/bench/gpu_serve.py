"""Serving of a 7B model on a real GPU: ``python -m tests.bench.gpu_serve [--engine transformers] [--directory DIR]``.

Needs one NVIDIA GPU of 40 GB, 20 GB of disk, and in this Python ms-swift 4.6 with its torch; no cluster, no network.
manifests/samples/modeldeployment.yaml is rendered as the operator renders it, with model and adapter in folders, and
run by the runner's zip file on a random model of Qwen2.5-7B's shape and a LoRA adapter. The same command runs without
the runner in between, as ``swift deploy`` by hand. Of both: seconds until they answer, until the first token, and
tokens per second of one stream, by name; of the runner also the end of an answer in flight after SIGTERM. ``--tiny``
takes the tests' model, on any machine. Exits 1 when something does not end as it should.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from swiftop import names
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.modeldeployment import ModelDeployment
from swiftop.kinds.modeldeployment.kind import KIND
from swiftop.model.kind import World
from swiftop.runner.classify import last_lines
from tests.bench.gpu_assets import LARGE, TINY_BF16
from tests.bench.gpu_pods import ADAPTERS, MODELS, SAMPLE, Figures, Object, Pod, Site, installed, pod_of
from tests.runner.harness import free_port

PACKAGES = ("ms-swift", "torch", "transformers", "peft")
ADAPTER = "mh-sft-7b"
READY_SECONDS = 300.0


def make_deployment(site: Site, *, model: str, engine: str) -> Pod:
    """The sample's pod with model and adapter on claims."""
    found = yaml.safe_load((SAMPLE.parent / "modeldeployment.yaml").read_text("utf-8"))
    meta = {"name": found["metadata"]["name"], "namespace": "bench", "uid": "0f3a1c9e-0000-4000-8000-000000000002"}
    wanted = {
        **found["spec"],
        "model": {"persistentVolumeClaim": {"claimName": MODELS, "path": model}, "type": "qwen2"},
        "adapters": [{"name": ADAPTER, "persistentVolumeClaim": {"claimName": ADAPTERS, "path": model}}],
        "engine": engine,
        "runtime": {"image": "this-machine"},
        "resources": {"gpus": site.visible},
        "timeouts": {"drainSeconds": 2},
    }
    deployment = ModelDeployment.from_object(
        {"apiVersion": names.API_VERSION, "kind": "ModelDeployment", "metadata": meta, "spec": wanted}
    )
    world = World(defaults=Defaults(), runner_config_map="none")
    built = KIND.objects(KIND.prepare(deployment, world))[-1]
    return pod_of(site, "serve", built, gpus=site.visible)


@dataclass(frozen=True)
class Server:
    """Where it answers, and what is asked of each name."""

    port: int
    answers: int
    tokens: int

    def wait(self, path: str, process: subprocess.Popen[Any]) -> float:
        """Seconds until it answers with 200."""
        begun = time.monotonic()
        while process.poll() is None and time.monotonic() - begun < READY_SECONDS:
            if self._status(path) == http.HTTPStatus.OK:
                return time.monotonic() - begun
            time.sleep(0.2)
        raise RuntimeError(f"nothing answers {path} after {time.monotonic() - begun:.0f} s")

    def _status(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def stream(self, name: str, tokens: int) -> tuple[float, float, bool]:
        """Seconds until the first token, tokens per second after it, and whether the stream ended well."""
        body = {"model": name, "stream": True, "temperature": 0, "max_tokens": tokens}
        body["messages"] = [{"role": "user", "content": "Tell me of the river and the mountain."}]
        body["stream_options"] = {"include_usage": True}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        begun, first, made, ended = time.monotonic(), 0.0, 0, False
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        for line in connection.getresponse():
            text = line.decode().removeprefix("data:").strip()
            ended = ended or text == "[DONE]"
            if not text.startswith("{"):
                continue
            first = first or time.monotonic() - begun
            made = max(made, (json.loads(text).get("usage") or {}).get("completion_tokens", 0))
        seconds = time.monotonic() - begun - first
        connection.close()
        return first, (made - 1) / seconds if made > 1 else 0.0, ended

    def figures(self, served: tuple[str, ...]) -> Figures:
        """Medians, the names in turn."""
        found: dict[str, list[tuple[float, float, bool]]] = {name: [] for name in served}
        for _ in range(self.answers):
            for name in served:
                found[name].append(self.stream(name, self.tokens))
        for name, answers in found.items():
            yield f"{name}: seconds to the first token", statistics.median(one[0] for one in answers)
            yield f"{name}: tokens per second", statistics.median(one[1] for one in answers)
            yield f"{name}: all streams ended", all(one[2] for one in answers)


def guarded(pod: Pod, answers: int, tokens: int) -> Figures:
    """Under the runner."""
    execution, server = pod.start(), Server(int(pod.plan.settings["port"]), answers, tokens)
    try:
        yield "seconds until ready", server.wait("/ready", execution.process)
        yield from server.figures((str(pod.plan.settings["name"]), ADAPTER))
        ended: list[tuple[float, float, bool]] = []
        last = threading.Thread(target=lambda: ended.append(server.stream(ADAPTER, 4 * tokens)))
        last.start()
        time.sleep(1.0)  # it has begun by then
        stopped = time.monotonic()
        execution.process.terminate()
        last.join(timeout=120)
        yield "stream in flight at SIGTERM ended", bool(ended and ended[0][2])
        yield "exit code", execution.process.wait(timeout=60)
        yield "seconds from SIGTERM to the end", time.monotonic() - stopped
    except Exception:
        print(last_lines(execution.log), flush=True)
        raise
    finally:
        execution.bench.close()


@contextmanager
def by_hand(pod: Pod, port: int) -> Iterator[subprocess.Popen[Any]]:
    """``swift deploy`` with the words of the plan."""
    words = [*pod.plan.command, "--host", "127.0.0.1", "--port", str(port)]
    with (pod.directory / "deploy.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *words[1:]], env=pod.environ, stdout=log, stderr=log, cwd=pod.directory / "tmp"
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def plain(pod: Pod, answers: int, tokens: int) -> Figures:
    """Without the runner."""
    server = Server(free_port(), answers, tokens)
    with by_hand(pod, server.port) as process:
        yield "seconds until healthy", server.wait("/health", process)
        yield from server.figures((str(pod.plan.settings["name"]), ADAPTER))


def run(site: Site, model: str, engine: str, asked: tuple[int, int]) -> Object:
    """One after the other; figures are on disk as soon as they are there."""
    pod = make_deployment(site, model=model, engine=engine)
    figures: Object = {"machine": {name: installed(name) for name in PACKAGES}, "cores": os.cpu_count()}
    print(json.dumps(figures), flush=True)
    for title, found in (("guarded", guarded), ("swift deploy", plain), ("guarded, again", guarded)):
        print(f"== {title}", flush=True)
        figures[title] = {}
        for key, value in found(pod, *asked):
            figures[title][key] = value
            print(f"  {key}: " + (f"{value:.3f}" if isinstance(value, float) else str(value)), flush=True)
            (site.root / "figures.json").write_text(json.dumps(figures, indent=1))
    return figures


def main() -> None:
    """Make the models, serve them and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="transformers", choices=("transformers", "vllm"))
    parser.add_argument("--answers", type=int, default=5, help="of each name")
    parser.add_argument("--tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--tiny", action="store_true", help="the tests' model, on any machine")
    parser.add_argument("--directory", type=Path, help="an empty folder to work in, which stays")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = (options.directory or Path(scratch)).resolve()
        command = [sys.executable, "-m", "tests.bench.gpu_assets", "--out", str(root / "assets")]
        subprocess.run([*command, *(["--tiny"] if options.tiny else [])], check=True)
        site = Site(root, "", None, visible=int(shutil.which("nvidia-smi") is not None))
        figures = run(site, TINY_BF16 if options.tiny else LARGE, options.engine, (options.answers, options.tokens))
    well = [value for key, value in figures["guarded"].items() if key.endswith("ended")]
    sys.exit(not all(well) or figures["guarded"]["exit code"] != 0)


if __name__ == "__main__":
    main()
