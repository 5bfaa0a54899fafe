"""``swiftop progress``: how far one object is, live on a terminal, as one line per change elsewhere.

It only reads the status, with the user's own rights, and shows the columns of ``kubectl get -o wide``, and why.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from swiftop.api.v1alpha1.base import CustomResource
from swiftop.cli.lookup import model_of
from swiftop.errors import NotFound, Transient
from swiftop.model.conditions import by_type
from swiftop.reasons import ConditionType, State
from swiftop.shell.cluster import Cluster

Object = dict[str, Any]
Model = type[CustomResource]

Place = tuple[str | None, str | None]  # context and namespace, None for the current ones

_POLL = 1.0
_PATIENCE = 60.0  # seconds without an answer, once there has been one
_COLOURS: dict[str, str] = {
    State.SUCCEEDED: "green",
    State.READY: "green",
    State.FAILED: "red",
    State.INVALID: "red",
    State.NOT_READY: "red",
    State.RUNNING: "cyan",
}
_LIVE = ("Progress", "ETA")  # of interest here, even where kubectl get shows them by -o wide alone
_TOLD_APART = ("Status", "State", "Age", "Reason", "Ready")  # columns whose content stands elsewhere


def show(name: str, *, kind: str, namespace: str | None, context: str | None = None, follow: bool) -> int:
    """Show the object until it has ended, answers, or waits for an edit; exit code 1 when that is no success."""
    model, console = model_of(kind), Console()
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:
            return asyncio.run(
                _watch(name, model, (context, namespace), follow, lambda obj: live.update(view(obj, model)))
            )
    last = ""

    def print_change(obj: Object) -> None:
        nonlocal last
        if (line := one_line(obj, model)) != last:
            last = line
            console.print(line, soft_wrap=True, highlight=False, markup=False)

    return asyncio.run(_watch(name, model, (context, namespace), follow, print_change))


async def _watch(name: str, model: Model, place: Place, follow: bool, update: Callable[[Object], None]) -> int:
    context, namespace = place
    resource, cluster = model.DEFINITION.resource, await Cluster.connect(context=context)
    namespace = namespace or cluster.namespace
    answered = -_PATIENCE  # a server that has never answered is not waited for
    try:
        while True:
            try:
                obj = await cluster.get(resource, namespace, name)
            except Transient:
                if not follow or time.monotonic() - answered >= _PATIENCE:
                    raise
                await asyncio.sleep(_POLL)
                continue
            answered = time.monotonic()
            if obj is None:
                raise NotFound(f"no {resource.kind} {name} in namespace {namespace}")
            update(obj)
            if not follow or settled(obj, model):
                return 1 if failed(obj, model) else 0
            await asyncio.sleep(_POLL)
    finally:
        await cluster.close()


def settled(obj: Object, model: Model) -> bool:
    """Whether there is nothing more to wait for. What serves may always come to answer."""
    status = _summary(obj, model).get("status", "Unknown")
    return status == "True" or (status == "False" and _ends(model)) or _waits_for_an_edit(obj)


def _waits_for_an_edit(obj: Object) -> bool:
    """Whether only a person can help, said of the spec as it is now."""
    stalled = by_type(obj.get("status") or {}).get(ConditionType.STALLED, {})
    generation = obj["metadata"].get("generation", 0)
    return bool(stalled.get("status") == "True" and stalled.get("observedGeneration", generation) == generation)


def failed(obj: Object, model: Model) -> bool:
    """Whether it has ended badly, or does not answer."""
    summary = _summary(obj, model).get("status")
    return bool(summary == "False" or (summary != "True" and _waits_for_an_edit(obj)))


def _ends(model: Model) -> bool:
    return model.DEFINITION.summary == ConditionType.SUCCEEDED


def one_line(obj: Object, model: Model) -> str:
    """The object as one line of text."""
    shown = (f"{_within_a_line(name)} {value}" for name, value in columns(obj, model, wide=False))
    return ", ".join(
        part for part in (f"{obj['metadata']['name']}: {_state(obj)}", *shown, _explanation(obj, model)) if part
    )


def view(obj: Object, model: Model) -> RenderableType:
    """The object as a small picture."""
    colour = _COLOURS.get(_state(obj), "yellow")
    lines: list[RenderableType] = [Text.assemble((obj["metadata"]["name"], "bold"), "  ", (_state(obj), colour))]
    progress = (obj.get("status") or {}).get("progress") or {}
    for done, total in (("step", "maxSteps"), ("bytesDone", "bytesTotal")):
        if progress.get(total):
            bar = Table.grid()  # a bar by itself ends without a new line
            bar.add_row(ProgressBar(total=progress[total], completed=progress.get(done) or 0, width=50))
            lines.append(bar)
    facts = Table.grid(padding=(0, 2))
    for name, value in columns(obj, model, wide=True):
        facts.add_row(Text(name, style="dim"), Text(str(value)))
    lines.append(facts)
    if explanation := _explanation(obj, model):
        lines.append(Text(explanation, style=colour))
    return Group(*lines)


def columns(obj: Object, model: Model, *, wide: bool) -> Iterator[tuple[str, Any]]:
    """Printed columns that have a value, in their order."""
    for column in model.DEFINITION.columns:
        if column.name in _TOLD_APART or (column.wide and not wide and column.name not in _LIVE):
            continue
        value: Any = obj
        for member in column.path.lstrip(".").split("."):
            value = value.get(member) if isinstance(value, dict) else None
        if value is not None:
            yield column.name, value


def _within_a_line(name: str) -> str:
    return name if name[1:2].isupper() else name.lower()  # ETA, GPUs


def _state(obj: Object) -> str:
    return str((obj.get("status") or {}).get("state") or State.PENDING)


def _explanation(obj: Object, model: Model) -> str:
    """Why the object is where it is and what to do: reason and message of the summary, as the documents list them."""
    summary = _summary(obj, model)
    reason = summary.get("reason")
    known = f"{reason}: " if reason and reason != _state(obj) else ""
    return f"{known}{summary.get('message', '')}"


def _summary(obj: Object, model: Model) -> Object:
    return by_type(obj.get("status") or {}).get(model.DEFINITION.summary, {})
