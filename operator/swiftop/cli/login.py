"""``swiftop login``: the tokens of a ``.env`` file as the Secret that runs take them from.

kubectl's own ``--from-env-file`` takes quotes, ``export`` and comments behind a value for parts of it. Values go to the
API server and nowhere else: neither into arguments, which the process list shows, nor onto the terminal.
"""

from __future__ import annotations

import asyncio
import base64
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from swiftop import names
from swiftop.errors import Invalid, NotFound, Problem
from swiftop.runner.protocol import CLIENT_TOKENS
from swiftop.shell.cluster import Cluster

KNOWN = ("SWANLAB_API_KEY", *CLIENT_TOKENS.values())
"""The tokens that something of swiftop asks for."""
_SHOWN = 8  # names of a file in which none is a token
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.DOTALL)
_VALUE = re.compile(r"""(?P<text>"(?:[^"\\]|\\.)*"|'[^']*'|(?!["'])(?:[^\s#]|(?<!\s)\#)*)\s*(?:\#.*)?""", re.DOTALL)
_UNASSIGNED = re.compile(r"(?:\w+\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*[^\s=\w;].*")
"""A name with something else than = behind it, as the colon of YAML."""
_REPLACED = re.compile(r"\$[A-Za-z_{(]|`")
"""What a shell would put something else in the place of."""
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_MEANING = {"n": "\n", "t": "\t", "r": "\r"}


def variables(text: str, source: str, wanted: Collection[str]) -> dict[str, str]:
    """Names and values of a ``.env`` file, as a shell would read it; raises ``Invalid`` that shows no value.

    Lines that are no assignment, or one that only another tool understands, are that tool's.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        assigned = _LINE.fullmatch(line.strip())
        value = _VALUE.fullmatch(assigned[2]) if assigned else None
        if assigned and value:
            found[assigned[1]] = _unquoted(value["text"])
        named = assigned or _UNASSIGNED.fullmatch(line.strip())
        if named and named[1] in wanted and (problem := _problem(named[1], value and value["text"], bool(assigned))):
            raise Invalid((replace(problem, path=f"{source}: line {number}"),))
    return found


def _problem(name: str, text: str | None, assigned: bool) -> Problem | None:
    """What is wrong with the line of a token, without its value."""
    if not assigned:
        return Problem("", f"{name} is not followed by =", f"write {name}=value")
    if text is None:
        return Problem("", f"the value of {name} has blanks outside of quotes, or a quote that does not end")
    if not text.startswith("'") and _REPLACED.search(text):
        said = f"the value of {name} refers to a variable or a command, which only a shell replaces"
        return Problem("", said, "write the token itself, in single quotes where it has such signs")
    return None


def _unquoted(text: str) -> str:
    if text.startswith('"'):
        return _ESCAPE.sub(lambda found: _MEANING.get(found[1], found[1]), text[1:-1])
    return text.strip("'") if text.startswith("'") else text


def chosen(found: Mapping[str, str], also: list[str], source: str) -> dict[str, str]:
    """The tokens among the variables, and those that are asked for by name; empty ones say nothing."""
    if missing := [name for name in also if not found.get(name)]:
        raise Invalid((Problem(source, f"has no {' and no '.join(missing)}"),))
    wanted = {name: value for name, value in found.items() if value and name in (*KNOWN, *also)}
    if not wanted:
        others = f", but {', '.join(list(found)[:_SHOWN])}" if found else ""
        raise Invalid((Problem(source, f"has none of {', '.join(KNOWN)}{others}", "name others by --also"),))
    return wanted


def login(file: str, *, also: list[str], secret: str, namespace: str | None, context: str | None) -> str:
    """Make the Secret, or change these keys of it; returns what was done, by names alone."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "is not text in UTF-8"
        raise Invalid((Problem(file, str(said)),)) from None
    found = variables(text, file, (*KNOWN, *also))
    tokens = chosen(found, also, file)
    told = asyncio.run(_write(tokens, secret=secret, namespace=namespace, context=context))
    left = [name for name in found if name not in tokens]
    return told + (f"; left out: {', '.join(left)}" if left else "")


async def _write(tokens: Mapping[str, str], *, secret: str, namespace: str | None, context: str | None) -> str:
    cluster = await Cluster.connect(context=context)
    try:
        place = namespace or cluster.namespace
        data = {name: base64.b64encode(value.encode()).decode() for name, value in tokens.items()}
        try:
            await cluster.edit(names.SECRET, place, secret, {"data": data})
            done = "changed"
        except NotFound:
            made = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "type": "Opaque", "data": data}
            await cluster.make(names.SECRET, place, made)
            done = "made"
    finally:
        await cluster.close()
    return f"Secret {secret} in namespace {place} {done}: {', '.join(tokens)}"
