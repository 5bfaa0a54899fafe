"""``swiftop suspend`` and ``swiftop resume``: an edit of ``spec.suspend``, with the user's own rights."""

from __future__ import annotations

import asyncio

from swiftop.api.v1alpha1.base import CustomResource
from swiftop.batch.conditions import ended
from swiftop.batch.kind import BatchKind
from swiftop.cli.lookup import model_of
from swiftop.errors import Invalid, NotFound, Problem
from swiftop.kinds.registry import KINDS
from swiftop.shell.cluster import Cluster

_TRAINING = "train"  # the program of what has checkpoints


def change(name: str, *, kind: str, namespace: str | None, context: str | None = None, suspend: bool) -> str:
    """Edit the object; returns what happens now."""
    return asyncio.run(_change(name, model=model_of(kind), namespace=namespace, context=context, suspend=suspend))


async def _change(
    name: str, *, model: type[CustomResource], namespace: str | None, context: str | None, suspend: bool
) -> str:
    resource = model.DEFINITION.resource
    what = f"{resource.kind} {name}"
    found = KINDS[resource.kind]
    if not isinstance(found, BatchKind):
        instead = f"use kubectl scale {resource.plural}/{name} --replicas=0" if model.DEFINITION.scale else ""
        raise Invalid((Problem("--kind", f"a {resource.kind} cannot be suspended", instead),))
    cluster = await Cluster.connect(context=context)
    try:
        place = namespace or cluster.namespace
        obj = await cluster.get(resource, place, name)
        if obj is None:
            raise NotFound(f"no {what} in namespace {place}")
        status = obj.get("status") or {}
        if ended(status):
            raise Invalid((Problem(what, f"it has ended ({status.get('state')}): nothing is left to stop or go on"),))
        if bool(obj["spec"].get("suspend")) == suspend:
            return f"{what} is suspended already" if suspend else f"{what} is not suspended"
        await cluster.edit(resource, place, name, {"spec": {"suspend": suspend}})
    finally:
        await cluster.close()
    trains = found.words.program == _TRAINING
    if suspend:
        first = "what runs saves a checkpoint first, then its Job is deleted" if trains else "its Job is deleted"
        return f"{what} is suspended: {first} and its GPUs are free"
    return f"{what} goes on in a new attempt" + (", from its newest checkpoint where there is one" if trains else "")
