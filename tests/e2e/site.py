"""Where the end-to-end tests run: a namespace under Pod Security ``restricted``, its claims and the fake servers."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from images.cache import cache_root
from tests.e2e import objects
from tests.e2e.support import Kubectl, Object, eventually

ROOT = Path(__file__).parents[2]
FAKES = ROOT / "tests" / "fakes"
NAMESPACE = "e2e"
TOOL = "tool"
KINDS = "sftruns,modelexports,datasetuploads,modeldeployments"
HUB_MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
HUB_DATASET = "CodyWhy/mh-sharegpt-20250820"
SWANLAB_HOST = f"http://swanlab.{NAMESPACE}.svc:8000"
MODELSCOPE_HOST = f"http://modelscope.{NAMESPACE}.svc:8000"
HUB = f"http://hub.{NAMESPACE}.svc:8000"
# Tokens that nothing but their Secret may ever show. A good token and a canary are the same: it must be used to leak.
SWANLAB_KEY = "canary-swanlab-5f1c0b7d2a9e4c68"
MODELSCOPE_TOKEN = "canary-modelscope-e83d91b6047f4a2c"
HUB_TOKEN = "canary-hub-1c5e09b7d2f84a63"
CREDENTIALS = "swiftop-credentials"

_FILL = f"""
set -e
cd /library
tar -x
mkdir -p hub/models/Qwen hub/datasets/{HUB_DATASET}
cp -r {objects.MODEL} hub/models/Qwen/
cp datasets/sharegpt.jsonl hub/datasets/{HUB_DATASET}/
mkdir -p /runs/locked && chmod 555 /runs/locked
"""


@dataclass(frozen=True)
class Site:
    """The namespace and what a test asks of it."""

    kubectl: Kubectl
    trainer: str

    def prepare(self) -> None:
        """Make the namespace anew, fill its claims and start the fake servers."""
        everywhere = self.kubectl
        everywhere.delete("namespace", NAMESPACE)
        everywhere.create(objects.namespace(NAMESPACE))
        claims = (objects.LIBRARY, objects.RUNS, objects.CACHE)
        tool = objects.pod(
            TOOL,
            image=self.trainer,
            command=["sleep", "infinity"],
            claims={name: f"/{name}" for name in claims},
            config_maps={"fakes": "/fakes"},
        )
        self.kubectl.create(
            *(objects.claim(name) for name in claims),
            objects.config_map("fakes", {file.name: file.read_text() for file in FAKES.glob("*.py")}),
            tool,
        )
        self._ready(TOOL)
        self.kubectl("exec", "-i", TOOL, "--", "sh", "-c", _FILL, stdin=self._tiny_model())
        self.kubectl.create(*self._servers())
        for name in ("swanlab", "modelscope", "hub"):
            self._ready(name)

    def _servers(self) -> list[Object]:
        return [
            *self.server("swanlab", "swanlab", "--key-sha256", sha256(SWANLAB_KEY)),
            *self.server(
                "modelscope",
                "modelscope",
                *("--root", "/library/hub", "--token-sha256", sha256(MODELSCOPE_TOKEN)),
                claims={objects.LIBRARY: "/library"},
            ),
            *self.server("hub", "hub", "--url", HUB, "--token-sha256", sha256(HUB_TOKEN)),
        ]

    def server(self, name: str, fake: str, *args: str, claims: dict[str, str] | None = None) -> list[Object]:
        """Pod of a fake server and its Service."""
        command = ["python", f"/fakes/{fake}_server.py", "--port", "8000", *args]
        made = objects.pod(name, image=self.trainer, command=command, claims=claims, config_maps={"fakes": "/fakes"})
        made["spec"]["containers"][0]["readinessProbe"] = {
            "tcpSocket": {"port": 8000},
            "periodSeconds": 1,
            "timeoutSeconds": 10,
            "failureThreshold": 30,  # on a busy machine it may be slow, and must not vanish from its Service
        }
        return [made, objects.service(name)]

    def _tiny_model(self) -> bytes:
        """Model and datasets as a tar, made once for each version of the script and of the image."""
        script = (FAKES / "tiny_model.py").read_bytes()
        key = hashlib.sha256(script + self.trainer.encode()).hexdigest()[:16]
        cache = cache_root() / "tiny-model"
        archive = cache / f"{key}.tar"
        if not archive.exists():
            self.kubectl("exec", TOOL, "--", "python", "/fakes/tiny_model.py", "--out", "/tmp/tiny")
            content = self.kubectl("exec", TOOL, "--", "tar", "-c", "-C", "/tmp/tiny", "models", "datasets")
            cache.mkdir(parents=True, exist_ok=True)
            partial = archive.with_suffix(f".{os.getpid()}")
            partial.write_bytes(content)
            partial.rename(archive)
        return archive.read_bytes()

    def _ready(self, pod: str) -> None:
        self.kubectl("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=300s")

    def shell(self, script: str, *, stdin: bytes = b"") -> str:
        """What a shell script prints in the tool pod, which sees the claims at /library, /runs and /cache."""
        return self.kubectl("exec", "-i", TOOL, "--", "sh", "-c", script, stdin=stdin).decode(errors="replace")

    def recorded(self, server: str, page: str = "_recorded") -> Any:
        """What a fake server saw."""
        path = f"/api/v1/namespaces/{self.kubectl.namespace}/services/{server}:8000/proxy/{page}"
        return json.loads(self.kubectl("get", "--raw", path))

    def run(self, name: str) -> Object:
        """An SFTRun as it is now."""
        found = self.kubectl.get("sftrun", name)
        assert found is not None, f"SFTRun {name} does not exist"
        return found

    def ended(self, name: str, *, seconds: float = 240) -> Object:
        """The run once it has succeeded or failed."""

        def over() -> Object | None:
            run = self.run(name)
            return run if condition(run, "Succeeded").get("status") in ("True", "False") else None

        return eventually(over, what=f"{name} ends", seconds=seconds, explain=lambda: self.story(name))

    def succeeded(self, name: str, *, seconds: float = 240) -> Object:
        """The run once it has succeeded; any other end is told at once."""
        run = self.ended(name, seconds=seconds)
        assert condition(run, "Succeeded")["status"] == "True", self.story(name)
        return run

    def with_reason(
        self, name: str, reason: str, *, type_: str = "Succeeded", told: str = "", seconds: float = 60
    ) -> Mapping[str, Any]:
        """The condition once it has this reason, and these words in its message."""

        def found() -> Mapping[str, Any] | None:
            known = condition(self.run(name), type_)
            return known if known.get("reason") == reason and told in known["message"] else None

        what = f"{name}: condition {type_} has reason {reason} {told}".rstrip()
        return eventually(found, what=what, seconds=seconds, explain=lambda: self.story(name))

    def pods(self, name: str) -> list[Object]:
        """Pods of a run."""
        return self.kubectl.items("pods", f"swiftop.dev/name={name}")

    def evict(self, pod: Object) -> None:
        """Evict a pod, as a drain of its node does."""
        meta = pod["metadata"]
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": meta["name"]}}
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/eviction"
        self.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction).encode())

    def patch(self, name: str, **spec: Any) -> None:
        """Change members of a run's spec, as ``kubectl patch`` and ``kubectl edit`` do; None removes one."""
        self.kubectl("patch", "sftrun", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def record(self, run: Object) -> Object:
        """What the runner has written down on the volume."""
        found: Object = json.loads(self.shell(f"cat /runs/{run['status']['output']['path']}/swiftop-run.json"))
        return found

    def remove(self, *names: str) -> None:
        """Delete runs, and wait until their Jobs and pods are gone. A pod that still trains is not waited for."""
        self.kubectl("delete", "sftrun", *names, "--ignore-not-found", "--wait=true")
        theirs = f"swiftop.dev/name in ({','.join(names)})"
        self.kubectl("delete", "pods", "-l", theirs, "--grace-period=0", "--force")
        eventually(lambda: not self.kubectl.items("jobs,pods", theirs), what=f"{names} are gone", seconds=60)

    def story(self, name: str) -> str:
        """All that helps to see why an object, of whatever kind, is not where it should be."""
        found = [item for item in self.kubectl.items(KINDS) if _is(item, name)]
        parts = [json.dumps(item.get("status"), indent=1, ensure_ascii=False) for item in found]
        for kind in ("jobs", "deployments", "pods"):
            for child in self.kubectl.items(kind, f"swiftop.dev/name={name}"):
                status = json.dumps(child.get("status"), ensure_ascii=False)
                parts.append(f"{kind} {child['metadata']['name']}: {status}")
        events = self.kubectl.text("get", "events", "--sort-by=.metadata.creationTimestamp").splitlines()
        parts += [line for line in events if name in line][-15:]
        parts.append(self.kubectl.text("logs", "--tail=40", "--prefix", "-l", f"swiftop.dev/name={name}"))
        return "\n".join(parts)


def _is(item: Object, name: str) -> bool:
    return bool(item["metadata"]["name"] == name)


def condition(run: Object, type_: str) -> dict[str, Any]:
    """One condition of a run; empty before the first write."""
    conditions = run.get("status", {}).get("conditions", ())
    return next((dict(c) for c in conditions if c["type"] == type_), {})


def sha256(text: str) -> str:
    """Digest by which a fake server knows a token."""
    return hashlib.sha256(text.encode()).hexdigest()
