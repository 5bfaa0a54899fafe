"""What a kubelet would say of pods that no node runs."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from swiftop import names
from swiftop.errors import Conflict
from swiftop.shell.cluster import Cluster
from tests.apiserver.process import eventually
from tests.apiserver.runs import NOW


async def pods_of(cluster: Cluster, namespace: str, name: str, count: int) -> list[dict[str, Any]]:
    """The pods of an object, once the controllers have made so many."""

    async def there() -> list[dict[str, Any]]:
        pods = await cluster.list(names.POD, namespace, {names.LABEL_NAME: name})
        alive = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return list(alive) if len(alive) == count else []

    return await eventually(there, within=60)


async def tell(cluster: Cluster, pod: dict[str, Any], *conditions: str, **container: Any) -> None:
    """The state of its container, and the conditions that are true."""
    meta = pod["metadata"]
    state = {"name": names.CONTAINER, "image": "x", "imageID": "x", "ready": False, "restartCount": 0, **container}
    held = [{"type": type_, "status": "True", **NOW} for type_ in ("PodScheduled", *conditions)]
    status = {"phase": "Running", "conditions": held, "containerStatuses": [state]}

    async def told() -> bool:
        with contextlib.suppress(Conflict):  # the scheduler tells of it as well
            now = await cluster.get(names.POD, meta["namespace"], meta["name"])
            assert now is not None
            await cluster.patch_status(now, status, now["metadata"]["resourceVersion"])
            return True
        return False

    await eventually(told, within=30)


async def answer_wrongly(cluster: Cluster, pod: dict[str, Any]) -> None:
    """Its guard has ended by the gate."""
    said = {"outcome": "failed", "reason": "GateFailed", "message": "prompt 1 of 1, asked of chat: it was a duck"}
    end = {"exitCode": 12, "reason": "Error", "message": json.dumps(said)}
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    await tell(cluster, pod, restartCount=1, state=state, lastState={"terminated": end})
