"""Looks for tokens in everything that a cluster shows: all objects, all logs, the operator's metrics, all files.

In plain and in base64, also as a part of a longer text, whose place in it decides how its letters come out.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterable, Iterator

from tests.e2e.site import CREDENTIALS, NAMESPACE, Site

SYSTEM = "swiftop-system"


def findings(site: Site, tokens: Iterable[str], *, secrets: Iterable[str] = (CREDENTIALS,)) -> list[str]:
    """Every place that holds one of the tokens; the Secrets that are for them aside."""
    needles = [form for token in tokens for form in (token, *encoded(token))]
    texts = [*_objects(site, {f"{NAMESPACE}/{name}" for name in secrets}), *_logs(site), *_metrics(site)]
    found = [place for place, text in texts if any(needle in text for needle in needles)]
    return sorted({*found, *_files(site, needles)})


def encoded(token: str) -> list[str]:
    """What stays of a token in the base64 of any text around it: three letters hold the same bytes as no neighbour."""
    forms = []
    for before in range(3):
        letters = base64.b64encode(b"." * before + token.encode()).decode().rstrip("=")
        whole = (before + len(token.encode())) // 3 * 4  # the last letters share their bits with what follows
        forms.append(letters[(before * 4 + 2) // 3 : whole])
    return forms


def _objects(site: Site, secrets: Collection[str]) -> Iterator[tuple[str, str]]:
    """All objects of all kinds, Events among them, but for these Secrets."""
    kinds = site.kubectl.text("api-resources", "--verbs=list", "-o", "name").split()
    for kind in kinds:
        for item in site.kubectl.everywhere(kind):
            meta = item["metadata"]
            name = f"{meta.get('namespace', '')}/{meta['name']}"
            if kind != "secrets" or name not in secrets:
                yield f"{kind} {name}", json.dumps(item)


def _logs(site: Site) -> Iterator[tuple[str, str]]:
    for pod in site.kubectl.everywhere("pods"):
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        if pod["status"]["phase"] != "Pending":
            text = site.kubectl.within(namespace).text("logs", name, "--all-containers", "--tail=-1")
            yield f"log of {namespace}/{name}", text


def _metrics(site: Site) -> Iterator[tuple[str, str]]:
    for pod in site.kubectl.within(SYSTEM).items("pods", "app.kubernetes.io/name=swiftop"):
        name = pod["metadata"]["name"]
        path = f"/api/v1/namespaces/{SYSTEM}/pods/{name}:8080/proxy/metrics"
        yield f"metrics of {name}", site.kubectl.text("get", "--raw", path)


def _files(site: Site, needles: list[str]) -> list[str]:
    """Files on the output and cache volumes. The needles go in by stdin: a command line is seen by others."""
    patterns = "\n".join(needles).encode()
    script = "cat > /tmp/needles; grep -rlaF -f /tmp/needles /runs /cache || [ $? -eq 1 ]; rm /tmp/needles"
    return [f"file {path}" for path in site.shell(script, stdin=patterns).splitlines()]
