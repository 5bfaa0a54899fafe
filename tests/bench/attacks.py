"""What a tenant does to an operator: the attacks of `tests.bench.operator_under_attack`, each for as long as it may.

Each is made ready, and then goes on until its process is ended. What only a kubelet may write, the administrator writes
in its place; all else is written by an account that may do everything within its own namespace and nothing elsewhere.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from swiftop import names
from swiftop.shell.rest import path_of
from tests.apiserver.runs import NOW, run_of
from tests.bench.attacked import LOUD
from tests.bench.attacker import (
    MERGE,
    Attack,
    Attacker,
    Request,
    editing,
    edits,
    learning,
    no_objects,
    nothing,
    patch,
    runs,
)
from tests.bench.fairness import misspelt
from tests.bench.operator_burst import Client, Object

_ADDRESSES = "10.99.0.0/16"  # of pods: all of them lead to this machine
_HANGS = 19443  # port of a webhook that never answers
_MANAGED = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_KIND: names.SFTRUN.kind}


def attack(name: str, kubeconfig: Path, token: str, ready: Any, counts: Any) -> None:
    """Attack until this process is ended."""
    chosen = next(known for known in ATTACKS if known.name == name)

    async def be() -> None:
        async with Client(kubeconfig) as admin, Client(kubeconfig, token=token) as tenant:
            attacker = Attacker(admin, tenant, counts)
            await chosen.prepare(attacker)
            ready.set()
            await chosen.go(attacker)

    asyncio.run(be())


# Pods


async def running_pods(attacker: Attacker, count: int = 200) -> None:
    """Runs whose pods have addresses of ours, which the kubelet would have given them."""
    subprocess.run(["ip", "route", "replace", "local", _ADDRESSES, "dev", "lo"], check=True)  # noqa: ASYNC221 - quick
    await runs(count)(attacker)
    pods: list[Object] = []
    while len(pods) < count:
        await asyncio.sleep(1)
        pods = (await attacker.admin.send("GET", path_of(names.POD, LOUD)))["items"]
    for number, pod in enumerate(pods):
        await run(attacker, pod["metadata"]["name"], f"10.99.{number // 250}.{number % 250 + 1}")


async def run(attacker: Attacker, pod: str, address: str) -> None:
    """What a kubelet says of a pod."""
    begun = {"running": {"startedAt": NOW["lastTransitionTime"]}}
    container = {"name": names.CONTAINER, "image": "x", "imageID": "x", "ready": True, "restartCount": 0}
    status = {"podIP": address, "podIPs": [{"ip": address}], "containerStatuses": [{**container, "state": begun}]}
    path = path_of(names.POD, LOUD, pod) + "/status"
    await attacker.admin.send("PATCH", path, {"status": {"phase": "Running", **status}}, content=MERGE)


async def endless(head: bytes, part: bytes, pause: float = 0.0) -> AsyncIterator[bytes]:
    """A beginning, and then the same for ever."""
    yield head
    while True:
        yield part
        await asyncio.sleep(pause)


PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS: tuple[Callable[[], AsyncIterator[bytes]], ...] = (
    lambda: endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    lambda: endless(_OK + b"Content-Length: 20000\r\n\r\n", b"{", 0.01),
    lambda: endless(_OK + b"Content-Length: 10000000000\r\n\r\n", b'{"version": 1, ' * 1000),
    lambda: endless(_OK, b"X-Header: " + b"x" * 8000 + b"\r\n"),
    lambda: endless(_OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n{\r\n" * 1000),
    lambda: endless(b"", b"", 3600),
    lambda: endless(_OK + b"Content-Length: 30000\r\n\r\n" + b"[" * 30000, b"", 3600),
    lambda: endless(_OK + b'Content-Length: 424\r\n\r\n{"version": 1, "step": ' + b"9" * 400 + b"}", b"", 3600),
)  # fmt: skip


async def answer_for_ever(_: Attacker) -> None:
    """The pods' pages. Each address has its own kind of answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = int(writer.get_extra_info("sockname")[0].rpartition(".")[2])
        with suppress(OSError):
            async for part in ANSWERS[number % len(ANSWERS)]():
                writer.write(part)
                await writer.drain()
                if reader.at_eof():
                    break
        writer.transport.abort()

    server = await asyncio.start_server(answer, "0.0.0.0", names.PROGRESS_PORT)  # noqa: S104 - in a cluster's network
    await server.serve_forever()


# Objects


def nested(levels: int, inner: Any) -> Any:
    """A value so deep."""
    for _ in range(levels):
        inner = {"a": inner}
    return inner


def terms(count: int) -> Object:
    """An affinity as large as its form allows: lists in lists."""
    expressions = [{"key": "a", "operator": "In", "values": ["x"] * count}] * count
    return {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": expressions}]}
    }


def patched(edit: int) -> Object:
    """podPatch and affinity at their bounds and far over them, of their form and of none."""
    if edit % 3 == 0:
        tolerations = [{"key": f"{edit}-{n}", "value": "x" * 400} for n in range(128)]
        return {"runtime": {"podPatch": {"spec": {"tolerations": tolerations}}}}
    if edit % 3 == 1:
        return {"placement": {"affinity": {"nodeAffinity": terms(30 + edit % 98)}}}
    value: Any = (
        lambda: nested(40, "x" * 60_000),
        lambda: [nested(40, n) for n in range(220)],
        lambda: list(range(edit, edit + 12_000)),
        lambda: nested(900, "x"),
        lambda: {f"key-{n}": [n] for n in range(20_000)},
        lambda: [[]] * 80_000,
    )[edit % 6]()
    if edit % 2:
        return {"placement": {"affinity": {"nodeAffinity": {"edit": edit, "x": value}}}}
    return {"runtime": {"podPatch": {"spec": {"edit": edit, "tolerations": value}}}}


def large(edit: int) -> Object:
    """A megabyte: of texts, of what has no form, and of objects, which take most memory."""
    if edit % 3 == 0:
        texts = {f"example.com/{n}": f"{edit}" + "x" * 16_000 for n in range(60)}
        return {"runtime": {"podPatch": {"metadata": {"annotations": texts}}}}
    if edit % 3 == 1:
        return {"placement": {"affinity": {"nodeAffinity": {"edit": edit, "x": [[]] * 330_000}}}}
    labels = {"matchExpressions": [{"key": f"{edit}", "operator": "In", "values": ["x"] * 60}] * 20}
    near = {PREFERRED: [{"podAffinityTerm": {"labelSelector": labels}}] * 128}
    return {"placement": {"affinity": {"podAffinity": near}}}


async def large_runs(attacker: Attacker) -> None:
    """Two dozen: more than fit into one page of a LIST."""
    for n in range(24):
        body = run_of(f"run-{n}", LOUD, **large(n))
        await attacker.tenant.ask("POST", path_of(names.SFTRUN, LOUD), json.dumps(body))


LAUGHS = "[&a [x], " + ", ".join(f"&{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]" for n in range(20)) + "]"


def defaults(edit: int) -> Object:
    """The platform's file as a tenant may write it."""
    return (
        lambda: {"env": LAUGHS},
        lambda: {"env": "{A: x}", "images": "- " * 440_000},
        lambda: {"env": "{" + ", ".join(f"A{n}: x" for n in range(100_000))[:890_000] + "}"},
        lambda: {"env.A.b": "x", "a.b[0]": "{c: d}", "..": "1"},
        lambda: {"podPatch": "[" * 4000 + "]" * 4000},
        lambda: {"stallSeconds": "9" * 400, "resources": "{gpus: 1e400, memory: 0x" + "f" * 300 + "}"},
        lambda: {"env": f"{{EDIT: 'x{edit}'}}"},
    )[edit % 7]()


async def runs_and_defaults(attacker: Attacker) -> None:
    """Some runs, and the ConfigMap."""
    await runs(100)(attacker)
    await attacker.make(names.CONFIG_MAP, [{"metadata": {"name": names.DEFAULTS_CONFIG_MAP}, "data": {}}])


async def edit_defaults(attacker: Attacker) -> None:
    """The ConfigMap, and runs that make the operator read it."""

    def requests() -> Iterator[Request]:
        changes = edits(100, learning)
        for edit in itertools.count():
            name = names.DEFAULTS_CONFIG_MAP
            body = {"metadata": {"name": name}, "data": defaults(edit)}
            yield "PUT", path_of(names.CONFIG_MAP, LOUD, name), json.dumps(body)
            yield from itertools.islice(changes, 5)

    await attacker.send_for_ever(requests())


ODD: tuple[Object, ...] = (
    {"training": {"learningRate": "9" * 400}},
    {"training": {"learningRate": "1e99999999"}},
    {"training": {"epochs": "9" * 400}},
    {"resources": {"memory": "9" * 400}},
    {"resources": {"memory": "1e999999999", "cpu": "0." + "0" * 300 + "1"}},
    {"extraArgs": [{"name": "num_train_epochs", "value": "1" + "0" * 4000}]},
    {"extraArgs": [{"name": "lora_rank", "value": "1e400"}, {"name": "seed", "value": "-" * 4000}]},
    {"extraArgs": [{"name": "x" * 128, "value": "\u0000\u202e\ud83d\ude00"}]},
    {"model": {"id": "a/" + "\u0130" * 200}},
    {"placement": {"affinity": {"nodeAffinity": None, "podAffinity": [1.5e308, -0.0, True, None, ""]}}},
    {"placement": {"affinity": "text"}},
    {"runtime": {"podPatch": {"metadata": 7, "spec": [[], {}, None]}}},
    {"runtime": {"podPatch": {"metadata": {"labels": {"a": 10**18, "b": None}}, "spec": {"containers": {"name": 1}}}}},
    {"lifecycle": {"activeDeadlineSeconds": 2**63 - 1}},
    {"lifecycle": {"activeDeadlineSeconds": 10**300}},
)  # fmt: skip


def odd(edit: int) -> Object:
    """Numbers and types that nobody foresaw."""
    return {**learning(edit), **ODD[edit % len(ODD)]}


# What the operator depends on


async def refuse_jobs(attacker: Attacker) -> None:
    """A webhook that never answers a creation of a Job of this namespace, and runs."""
    await hook(attacker, "jobs", "batch", "CREATE", f"https://127.0.0.1:{_HANGS}/")
    await runs(300)(attacker)


async def refuse_status(attacker: Attacker) -> None:
    """A webhook that is down refuses each status of this namespace's runs."""
    await hook(attacker, "sftruns/status", names.GROUP, "UPDATE", "https://127.0.0.1:1/")
    await runs(300)(attacker)


async def hook(attacker: Attacker, resource: str, group: str, operation: str, url: str) -> None:
    """Admission for the loud namespace."""
    rule = {"apiGroups": [group], "apiVersions": ["*"], "operations": [operation], "resources": [resource]}
    webhook = {
        "name": "down.example.com",
        "clientConfig": {"url": url},
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": LOUD}},
        "failurePolicy": "Fail",
        "timeoutSeconds": 10,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    body = {"metadata": {"name": "down"}, "webhooks": [webhook]}
    api = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    await attacker.admin.send("POST", api, body)


async def hang_and_edit(attacker: Attacker) -> None:
    """Take the webhook's connections and say nothing."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await reader.read()
        writer.close()

    await asyncio.start_server(hang, "127.0.0.1", _HANGS)
    await attacker.send_for_ever(edits(300, learning))


async def warn_and_edit(attacker: Attacker) -> None:
    """Events of a kilobyte about the runs' pods, and edits of the runs."""

    def requests() -> Iterator[Request]:
        changes = edits(200, learning)
        for number in itertools.count():
            about = {"kind": "Pod", "namespace": LOUD, "name": f"run-{number % 200}-1-0", "apiVersion": "v1"}
            event = {
                "metadata": {"generateName": "e.", "namespace": LOUD},
                "involvedObject": about,
                "type": "Warning",
                "reason": "FailedScheduling",
                "message": "x" * 1000,
            }
            yield "POST", path_of(names.EVENT, LOUD), json.dumps(event)
            yield next(changes)

    await attacker.send_for_ever(requests())


# Forged children


async def forge(attacker: Attacker) -> None:
    """Pods and Jobs with the labels of one run, as if they were its own; some of the pods run."""
    subprocess.run(["ip", "route", "replace", "local", _ADDRESSES, "dev", "lo"], check=True)  # noqa: ASYNC221 - quick
    path = path_of(names.SFTRUN, LOUD)
    victim = await attacker.tenant.send("POST", path, run_of("victim", LOUD))
    labels = {**_MANAGED, names.LABEL_NAME: "victim", names.LABEL_UID: victim["metadata"]["uid"]}
    spec = {"containers": [{"name": names.CONTAINER, "image": "x"}], "restartPolicy": "Never"}
    gated = {**spec, "schedulingGates": [{"name": "example.com/never"}]}
    meta = {"labels": labels}
    pods = [{"metadata": {**meta, "name": f"pod-{n}"}, "spec": gated if n > 100 else spec} for n in range(2000)]
    await attacker.make(names.POD, pods)
    template = {"metadata": meta, "spec": spec}
    jobs = [
        {"metadata": {**meta, "name": f"job-{n}"}, "spec": {"suspend": True, "template": template}} for n in range(1000)
    ]
    await attacker.make(names.JOB, jobs)
    for n in range(100):
        await run(attacker, f"pod-{n}", f"10.99.0.{n + 1}")


async def flood_forged(attacker: Attacker) -> None:
    """Edit them."""

    def requests() -> Iterator[Request]:
        for edit in itertools.count():
            note = {"metadata": {"annotations": {"edit": str(edit)}}}
            yield patch(f"pod-{edit % 2000}", note, names.POD)
            yield patch(f"job-{edit % 1000}", note, names.JOB)

    await attacker.send_for_ever(requests())


def config_map(n: int, edit: int) -> Object:
    """900 KB under the labels of what the operator watches."""
    labels = {**_MANAGED, names.LABEL_NAME: f"run-{n}", names.LABEL_UID: "x"}
    data = {"edit": str(edit), "text": "x" * 900_000} if n % 2 else {f"k{k}": str(edit) for k in range(40_000)}
    return {"metadata": {"name": f"map-{n}", "labels": labels}, "data": data}


async def config_maps(attacker: Attacker) -> None:
    """Some of them."""
    await attacker.make(names.CONFIG_MAP, [config_map(n, 0) for n in range(24)])


async def flood_config_maps(attacker: Attacker) -> None:
    """Edit them."""

    def requests() -> Iterator[Request]:
        for edit in itertools.count():
            body = config_map(edit % 24, edit)
            yield "PUT", path_of(names.CONFIG_MAP, LOUD, body["metadata"]["name"]), json.dumps(body)

    await attacker.send_for_ever(requests(), at_once=3)


INVALID = 10_000

ATTACKS = (
    Attack("none", "no attack", no_objects, nothing),
    Attack("answers", "200 pods whose answers never end", running_pods, answer_for_ever),
    Attack("logs", "200 pods without a page, and with endless logs", running_pods, nothing, fault="logs"),
    Attack("large", "24 runs of 1 MB, edited", large_runs, editing(24, large, at_once=3)),
    Attack("nested", "podPatch and affinity near and over their bounds, edited", runs(200),
           editing(200, patched, at_once=2)),  # more, and the API server itself stands still
    Attack("defaults", "`swiftop-defaults` with aliases, of 890 KB, with odd keys, edited", runs_and_defaults,
           edit_defaults),
    Attack("odd", "numbers of 400 digits and odd types, edited", runs(200), editing(200, odd)),
    Attack("slow-events", "Events that take 25 s, and a flood of them", runs(200), warn_and_edit, fault="events"),
    Attack("no-events", "Events that are forbidden", runs(200), warn_and_edit, without_right="events"),
    Attack("webhook", "a webhook for Jobs that hangs, 300 runs edited", refuse_jobs, hang_and_edit),
    Attack("status", "300 runs whose status is refused, edited", refuse_status, editing(300, learning)),
    Attack("forged", "2,000 pods and 1,000 Jobs with the labels of one run, edited", forge, flood_forged),
    Attack("config-maps", "24 ConfigMaps of 900 KB with swiftop's labels, edited", config_maps, flood_config_maps),
    Attack("invalid", f"{INVALID:,} invalid runs, edited", runs(INVALID, extraArgs=misspelt(0)),
           editing(INVALID, lambda edit: {"extraArgs": misspelt(edit)})),
)  # fmt: skip
