"""Memory of the operator beside many runs that are over: ``python -m tests.bench.operator_memory``.

The operator is the real process. What it lists and watches comes from a server of this script, since a real API server
takes an hour to be filled with 60,000 objects: every run has its Job and its pod, as large as real ones.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from swiftop import names
from swiftop.kinds.registry import WATCHED
from swiftop.shell.rest import path_of
from tests.apiserver.process import free_port
from tests.bench.operator_burst import NAMESPACE, job_object, report, run_object

Object = dict[str, Any]

# What discovery lists besides: kopf waits for these two, though it is told not to watch them.
DISCOVERED = (
    *WATCHED,
    names.Resource("v1", "Namespace", "namespaces"),
    names.Resource("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions"),
)
ENDED = "2026-01-01T12:00:00Z"


def condition(type_: str, status: str) -> Object:
    """One condition as the operator writes it."""
    message = "the training is complete: 1000 of 1000 steps, the last checkpoint is kept" if status == "True" else ""
    return {
        "type": type_,
        "status": status,
        "reason": "MaxSteps",
        "message": message,
        "lastTransitionTime": ENDED,
        "observedGeneration": 1,
    }


def managed_fields(fields: Object) -> list[Object]:
    """About as large as the API server's own: every field once more, as an empty object."""

    def names_of(value: Any) -> Any:
        if isinstance(value, dict):
            return {f"f:{key}": names_of(inner) for key, inner in value.items()}
        return {}

    entry = {"operation": "Update", "apiVersion": "v1", "time": ENDED, "fieldsType": "FieldsV1"}
    return [{**entry, "manager": "swiftop", "fieldsV1": names_of(fields)}]


def run_template() -> Object:
    """A run that is over, as `kubectl get -o json` shows it."""
    run = run_object("@name")
    path = "/swiftop/output/@name-@uid/checkpoint-1000"
    types = ("Succeeded", "Reconciling", "Stalled", "Validated", "JobCreated", "PodScheduled", "Running")
    run["status"] = {
        "observedGeneration": 1,
        "state": "Succeeded",
        "conditions": [condition(type_, "True" if type_ == "Succeeded" else "False") for type_ in types],
        "attempts": 1,
        "startTime": "2026-01-01T00:00:00Z",
        "completionTime": ENDED,
        "gpuSeconds": 43200,
        "progress": {"step": 1000, "maxSteps": 1000, "loss": 1.2345, "learningRate": 1e-5, "memoryGiB": 61.2},
        "checkpoint": {"step": 1000, "path": path, "time": ENDED},
        "bestCheckpoint": {"step": 900, "path": path, "metric": 1.2},
        "tracking": {"url": "https://swanlab.cn/@team/swiftop/runs/@uid"},
        "resolved": {
            "image": "registry.example/trainer:4.6",
            "swiftVersion": "4.6",
            "command": "swift sft " + "x" * 600,
        },
        "display": {"progress": "1000/1000 (100%)", "loss": "1.2345", "gpus": "1", "model": "Qwen/Qwen2.5-7B-Instruct"},
    }
    run["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(run["spec"])}
    return run


def children_templates() -> tuple[Object, Object]:
    """Its Job and its pod."""
    job = json.loads(json.dumps(job_object("x-name")).replace("x-name", "@name"))  # no valid name, so put in afterwards
    labels = {**job["metadata"]["labels"], names.LABEL_UID: "@uid"}
    owner = {"apiVersion": names.API_VERSION, "kind": "SFTRun", "name": "@name", "uid": "@uid", "controller": True}
    job["metadata"] |= {"name": "@name-1", "labels": labels, "ownerReferences": [owner]}
    done = {"type": "Complete", "status": "True", "lastTransitionTime": ENDED, "lastProbeTime": ENDED}
    job["status"] = {"succeeded": 1, "startTime": ENDED, "completionTime": ENDED, "conditions": [done]}
    spec = copy.deepcopy(job["spec"]["template"]["spec"])
    terminated = {"exitCode": 0, "reason": "Completed", "message": json.dumps({"log": "x" * 1500}), "finishedAt": ENDED}
    container = {"name": names.CONTAINER, "image": "registry.example/trainer:4.6", "state": {"terminated": terminated}}
    types = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "@name-1-abcde",
            "namespace": NAMESPACE,
            "labels": labels,
            "ownerReferences": [{**owner, "kind": "Job", "name": "@name-1", "uid": "job-@uid"}],
        },
        "spec": {**spec, "nodeName": "node-1"},
        "status": {
            "phase": "Succeeded",
            "podIP": "10.1.2.3",
            "conditions": [{"type": type_, "status": "True", "lastTransitionTime": ENDED} for type_ in types],
            "containerStatuses": [container],
        },
    }
    return job, pod


class Server:
    """LIST and WATCH of so many runs with their Jobs and pods; nothing ever changes."""

    def __init__(self, count: int) -> None:
        self._count = count
        job, pod = children_templates()
        self._templates: dict[str, tuple[str, str]] = {}
        for resource, template in ((names.SFTRUN, run_template()), (names.JOB, job), (names.POD, pod)):
            prefix = "" if resource == names.SFTRUN else f"{resource.plural}-"
            template["metadata"] |= {
                "uid": f"{prefix}@uid",
                "resourceVersion": "@version",
                "generation": 1,
                "creationTimestamp": ENDED,
                "managedFields": managed_fields({"spec": template["spec"], "status": template["status"]}),
            }
            self._templates[path_of(resource)] = (json.dumps(template), resource.kind)
        for resource in WATCHED:
            self._templates.setdefault(path_of(resource), ("", ""))
        self.watched: set[str] = set()

    def application(self) -> web.Application:
        """All that the operator asks for."""
        app = web.Application()
        app.router.add_get("/api", lambda _: _json({"versions": ["v1"]}))
        app.router.add_get("/apis", self._groups)
        for api_version in {resource.api_version for resource in DISCOVERED}:
            path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
            app.router.add_get(path, self._resources(api_version))
        for path in self._templates:
            app.router.add_get(path, self._objects)
        return app

    async def _groups(self, _: web.Request) -> web.Response:
        found = sorted({resource.api_version for resource in DISCOVERED if resource.group})
        versions = [{"groupVersion": version, "version": version.rpartition("/")[2]} for version in found]
        groups = [
            {"name": v["groupVersion"].partition("/")[0], "versions": [v], "preferredVersion": v} for v in versions
        ]
        return await _json({"groups": groups})

    def _resources(self, api_version: str) -> Callable[[web.Request], Any]:
        verbs = ["list", "watch", "patch"]
        found = [
            {"name": r.plural, "kind": r.kind, "singularName": r.kind.lower(), "namespaced": True, "verbs": verbs}
            for r in DISCOVERED
            if r.api_version == api_version
        ]
        return lambda _: _json({"groupVersion": api_version, "resources": found})

    async def _objects(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch"):
            self.watched.add(request.path)
            response = web.StreamResponse()
            await response.prepare(request)
            await asyncio.sleep(3600)
            return response
        template, _ = self._templates[request.path]
        begin = int(request.query.get("continue", "0"))
        end = min(begin + int(request.query.get("limit", self._count)), self._count if template else 0)
        items = ",".join(filled(template, number) for number in range(begin, end))
        more = {"continue": str(end)} if template and end < self._count else {}
        head = json.dumps({"resourceVersion": str(10 * self._count + 1000), **more})
        return web.Response(text=f'{{"metadata":{head},"items":[{items}]}}', content_type="application/json")


def filled(template: str, number: int) -> str:
    """One object."""
    uid = f"{number:08x}-0000-4000-8000-000000000000"
    return template.replace("@name", f"run-{number}").replace("@uid", uid).replace("@version", str(1000 + number))


async def _json(answer: Object) -> web.Response:
    return web.json_response(answer)


def memory_mib(pid: int) -> Mapping[str, float]:
    """Resident memory now and at its highest."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")}


async def numbers(port: int) -> dict[str, float]:
    """The operator's own metrics."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as response:
        lines = (line.rpartition(" ") for line in (await response.text()).splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}


async def measure(count: int, patience: float) -> None:
    """Start, wait for all objects, wait for one more resync, print."""
    server, port, page = Server(count), free_port(), free_port()
    runner = web.AppRunner(server.application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        cluster = {"name": "fake", "cluster": {"server": f"http://127.0.0.1:{port}"}}
        context = {"name": "fake", "context": {"cluster": "fake", "user": "fake"}}
        user = {"name": "fake", "user": {"token": "none"}}
        config = {"clusters": [cluster], "contexts": [context], "users": [user], "current-context": "fake"}
        kubeconfig.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **config}))
        arguments = ["run", "--no-leader-election", "--port", str(page), "--resync-seconds", "60"]
        process = subprocess.Popen(  # noqa: ASYNC220 - starting it is quick
            [str(Path(sys.executable).parent / "swiftop"), *arguments],
            env={**os.environ, "KUBECONFIG": str(kubeconfig), "SWIFTOP_LOG_JSON": "false"},
        )
        try:
            await watching(server, process, page, count, patience)
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, 30)
            await runner.cleanup()


async def watching(server: Server, process: subprocess.Popen[bytes], page: int, count: int, patience: float) -> None:
    """Print memory once all is watched, and after one more resync."""
    give_up, resynced = time.time() + patience, 0.0
    label = f'swiftop_objects{{kind="SFTRun",namespace="{NAMESPACE}",state="Succeeded"}}'
    for what in ("once all is watched", "after a resync"):
        while True:
            assert process.poll() is None, "the operator ended"
            assert time.time() < give_up, "waited too long"
            await asyncio.sleep(2)
            try:
                now = await numbers(page)
            except aiohttp.ClientError:
                continue
            last = now["swiftop_last_resync_timestamp_seconds"]
            complete = (
                now.get(label) == count and now["swiftop_queue_depth"] == 0 and len(server.watched) == len(WATCHED)
            )
            if complete and last > resynced and now["swiftop_watch_stalled_seconds"] == 0:
                resynced = last
                break
        memory = memory_mib(process.pid)
        report(f"operator RSS with {count} runs over, {what}", f"{memory['VmRSS']:.0f} MiB")
        report("  peak", f"{memory['VmHWM']:.0f} MiB")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--patience", type=float, default=600.0)
    options = parser.parse_args()
    asyncio.run(measure(options.runs, options.patience))


if __name__ == "__main__":
    main()
