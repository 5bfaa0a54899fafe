"""``swiftop progress``: how far one run is, live on a terminal, as one line per change elsewhere.

It only reads the run's status, with the user's own rights, and so shows what ``kubectl get`` shows, and why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from swiftop import names, reasons
from swiftop.errors import NotFound, Transient
from swiftop.shell.cluster import Cluster

Object = dict[str, Any]

_POLL = 1.0
_COLOURS = {"Succeeded": "green", "Failed": "red", "Running": "cyan"}


def show(name: str, *, namespace: str | None, follow: bool) -> int:
    """Show the run until it has ended; exit code 1 when it failed."""
    console = Console()
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:
            return asyncio.run(_watch(name, namespace, follow, lambda run: live.update(view(run))))
    last = ""

    def print_change(run: Object) -> None:
        nonlocal last
        if (line := one_line(run)) != last:
            last = line
            console.print(line, soft_wrap=True, highlight=False, markup=False)

    return asyncio.run(_watch(name, namespace, follow, print_change))


async def _watch(name: str, namespace: str | None, follow: bool, update: Callable[[Object], None]) -> int:
    cluster = await Cluster.connect()
    try:
        while True:
            try:
                run = await cluster.get(names.SFTRUN, namespace or cluster.namespace, name)
            except Transient:
                if not follow:
                    raise
                await asyncio.sleep(_POLL)
                continue
            if run is None:
                raise NotFound(f"no SFTRun {name} in namespace {namespace or cluster.namespace}")
            update(run)
            if not follow or succeeded(run) != "Unknown":
                return 1 if succeeded(run) == "False" else 0
            await asyncio.sleep(_POLL)
    finally:
        await cluster.close()


def succeeded(run: Object) -> str:
    """Status of the summary condition: Unknown while the run is active."""
    return str(_condition(run, reasons.ConditionType.SUCCEEDED).get("status", "Unknown"))


def one_line(run: Object) -> str:
    """The run as one line of text."""
    status = run.get("status", {})
    display = status.get("display", {})
    parts = [f"{run['metadata']['name']}: {status.get('state') or 'Pending'}"]
    if display.get("progress"):
        parts.append(f"step {display['progress']}")
    if display.get("loss"):
        parts.append(f"loss {display['loss']}")
    if display.get("eta") and succeeded(run) == "Unknown":
        parts.append(f"{display['eta']} left")
    if checkpoint := status.get("checkpoint"):
        parts.append(f"checkpoint {checkpoint['step']}")
    if explanation := _explanation(run):
        parts.append(explanation)
    return ", ".join(parts)


def view(run: Object) -> RenderableType:
    """The run as a small picture."""
    status = run.get("status", {})
    display, progress = status.get("display", {}), status.get("progress", {})
    state = status.get("state") or "Pending"
    title = Text.assemble((run["metadata"]["name"], "bold"), "  ", (state, _COLOURS.get(state, "yellow")))
    facts = Table.grid(padding=(0, 2))
    for label, value in (
        ("model", display.get("model")),
        ("dataset", display.get("dataset")),
        ("loss", display.get("loss")),
        ("learning rate", _number(progress.get("learningRate"))),
        ("step takes", f"{progress['secondsPerStep']:.2f} s" if progress.get("secondsPerStep") else None),
        ("time left", display.get("eta") if succeeded(run) == "Unknown" else None),
        ("checkpoint", status.get("checkpoint", {}).get("path") or status.get("checkpoint", {}).get("step")),
        ("tracker", status.get("tracking", {}).get("url")),
    ):
        if value is not None:
            facts.add_row(Text(label, style="dim"), Text(str(value)))
    lines: list[RenderableType] = [title]
    if progress.get("maxSteps"):
        bar = ProgressBar(total=progress["maxSteps"], completed=progress.get("step") or 0, width=50)
        row = Table.grid(padding=(0, 2))
        row.add_row(bar, Text(display.get("progress", "")))
        lines.append(row)
    lines.append(facts)
    if explanation := _explanation(run):
        lines.append(Text(explanation, style=_COLOURS.get(state, "yellow")))
    return Group(*lines)


def _explanation(run: Object) -> str:
    """Why the run is where it is: the failure with what to do, or the summary's message."""
    if failure := run.get("status", {}).get("failure"):
        parts = (f"{failure.get('reason', '')}: {failure.get('message', '')}", failure.get("suggestion", ""))
        return " ".join(part for part in parts if part)
    return str(_condition(run, reasons.ConditionType.SUCCEEDED).get("message", ""))


def _condition(run: Object, type_: str) -> Object:
    conditions: list[Object] = run.get("status", {}).get("conditions", [])
    return next((condition for condition in conditions if condition["type"] == type_), {})


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.3g}"
