"""``swiftop preview``: the exact command and objects of a run, before any GPU is taken and without a cluster.

The operator builds with the same functions, so what is shown is what will be made; only the UID, which a file does not
have yet, stands as zeros, and a word stands for an image that only the platform's ``swiftop-defaults`` knows. Such a
ConfigMap in the same files counts as it does in the cluster: that of the operator's namespace for all runs, and that of
the run's namespace over it. Another object that one refers to counts as far as the files tell; what only its end will
tell stands in brackets.
"""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
import yaml

from swiftop import names
from swiftop.cli import hints
from swiftop.cli.manifests import STDIN, Manifest, Wrong, files, manifests
from swiftop.errors import Invalid, Problem
from swiftop.kinds.registry import KINDS
from swiftop.model.kind import Facts, Kind, Object, Prepared, Reference, Seen, World
from swiftop.model.verdict import Blocked, Create
from swiftop.reasons import Reason
from swiftop.runner import bundle
from swiftop.runner.protocol import NATIVE
from swiftop.workload.defaults import defaults_of
from swiftop.workload.job import plan_of

NO_UID = "00000000-0000-0000-0000-000000000000"
NO_IMAGE = "IMAGE"
EXIT_INVALID = 2


def preview(
    file: Annotated[
        list[str],
        typer.Option("--file", "-f", help="File or directory with objects of swiftop, - for standard input; several."),
    ],
    recursive: Annotated[bool, typer.Option("--recursive", "-R", help="Read directories below a directory too.")] = (
        False
    ),
    swift_version: Annotated[
        str | None, typer.Option(help="Render for this ms-swift version instead of the run's own.")
    ] = None,
) -> None:
    """Print the objects as YAML, under the commands of ms-swift as comments. Needs no cluster; exits 2 when invalid."""
    try:
        given = [manifest for name, text in files(file, recursive=recursive) for manifest in manifests(name, text)]
        found = list(_previews(given, swift_version=swift_version))
    except Wrong as error:
        for source, problem in error.told:
            print(f"error: {source}: {problem}", file=sys.stderr)
        raise typer.Exit(EXIT_INVALID) from None
    except Invalid as error:
        for problem in error.problems:
            print(f"error: {', '.join(file)}: {problem}", file=sys.stderr)
        raise typer.Exit(EXIT_INVALID) from None
    for source, output, warnings in found:
        print(output, end="")
        for warning in warnings:
            print(f"warning: {source}: {warning}", file=sys.stderr)


def previews(text: str, *, swift_version: str | None = None) -> Iterator[tuple[str, list[Problem]]]:
    """Output and warnings of each of our objects in a text; raises ``Invalid`` with the fields to fix."""
    for _, output, warnings in _previews(manifests(STDIN, text), swift_version=swift_version):
        yield output, warnings


def _previews(given: Sequence[Manifest], *, swift_version: str | None) -> Iterator[tuple[str, str, list[Problem]]]:
    found = [manifest for manifest in given if manifest.obj.get("kind") in KINDS]
    wrong = [(_source(manifest, found), problem) for manifest in given for problem in manifest.problems]
    if not found and not wrong:
        raise Invalid((Problem("kind", f"there is no {' or '.join(KINDS)} in this file"),))
    shared = {m.obj["metadata"].get("namespace", "default"): m.obj for m in given if _is_defaults(m.obj)}
    beside = [manifest.obj for manifest in found if manifest.can_be_parsed]
    shown: list[tuple[str, str, list[Problem]]] = []
    for manifest in (manifest for manifest in found if manifest.can_be_parsed):
        try:
            output, warnings = _preview(_with_runtime(manifest.obj, swiftVersion=swift_version), shared, beside)
            shown.append((_source(manifest, found), output, warnings))
        except Invalid as error:
            told = {problem.path for problem in manifest.problems}
            new = (problem for problem in error.problems if problem.path not in told)
            wrong += [(_source(manifest, found), hints.explained(problem, manifest.obj["kind"])) for problem in new]
    if wrong:
        raise Wrong(dict.fromkeys(wrong))
    yield from shown


def _source(manifest: Manifest, found: Sequence[Manifest]) -> str:
    """File, and of several objects which one."""
    return f"{manifest.source}: {manifest.title}" if len(found) > 1 else manifest.source


def _preview(obj: Object, shared: Mapping[str, Object], beside: list[Object]) -> tuple[str, list[Problem]]:
    """Output and warnings of one object, with everything that is wrong found before."""
    kind = KINDS[obj["kind"]]
    resource = _parsed(kind, obj)
    namespace = resource.metadata.namespace
    places = dict.fromkeys((names.OPERATOR_NAMESPACE, namespace))
    world = World(
        defaults=defaults_of(*(_located(shared.get(place), place) for place in places)),
        runner_config_map=names.runner_config_map_name(bundle.digest()),
        references={wanted: _referred(wanted, beside) for wanted in kind.references(resource)},
    )
    warnings = list(kind.warnings(resource))
    if hopeless := _hopeless(kind, resource, obj, world):
        warnings.append(hopeless)
    try:
        prepared = kind.prepare(resource, world)
    except Invalid as error:
        # The platform may know the image, so its absence is no mistake of the file.
        if wrong := tuple(problem for problem in error.problems if problem.reason != Reason.IMAGE_MISSING):
            raise Invalid(wrong) from None
        warnings += error.problems
        prepared = kind.prepare(_parsed(kind, _with_runtime(obj, image=NO_IMAGE)), world)
    return _output(kind, prepared), warnings


def _hopeless(kind: Kind, resource: Any, obj: Object, world: World[Any]) -> Problem | None:
    """What no waiting will change about an object of the same file that this one starts from."""
    if not any(world.references.values()):
        return None
    now = time.time()
    known = {**obj, "metadata": {"uid": NO_UID, **obj["metadata"]}, "status": {}}
    seen = Seen(obj=known, now=now, children={})
    facts = Facts(
        obj=known,
        resource=resource,
        unreadable=None,
        observed=kind.observe(seen),
        references=world.references,
        now=now,
    )
    outlook = kind.decide(facts).outlook
    cause = outlook.cause if isinstance(outlook, Blocked) and outlook.stalled else None
    return Problem("spec", cause.message, suggestion=cause.suggestion) if cause else None


def _output(kind: Kind, prepared: Prepared) -> str:
    """Objects, below the commands and what is to be known of them, as comments, where there are any."""
    children = kind.build(prepared, Create(1))
    dumped = [yaml.safe_dump(child, sort_keys=False, allow_unicode=True, width=120) for child in children]
    commands = "".join(f"# {in_one_line(command)}\n" for command in _commands(children[-1]))
    notes = "".join(f"# {line}".rstrip() + "\n" for line in kind.notes(prepared))
    return commands + notes + "".join(f"---\n{document}" for document in dumped)


def in_one_line(command: Sequence[str]) -> str:
    """A command as bash reads it, without line breaks: a comment ends with its line."""
    return " ".join(_word(word) for word in command)


def _word(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    escaped = re.sub(r"[\\']", r"\\\g<0>", word)
    return "$'" + "".join(c if c.isprintable() else _ESCAPES.get(c, f"\\U{ord(c):08x}") for c in escaped) + "'"


_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _commands(job: Object) -> list[list[str]]:
    """What the pods run of ms-swift: one command, or two where a merged model is quantized or a server is chosen."""
    plan = plan_of(job)
    if plan is None:
        return []
    second = (plan.settings.get("quantize") or {}).get("command") or plan.settings.get("native") or ()
    first = () if plan.settings.get("server") == NATIVE else plan.command
    return [list(command) for command in (first, second) if command]


def _parsed(kind: Kind, obj: Object) -> Any:
    metadata = obj.get("metadata")
    if isinstance(metadata, Mapping):
        obj = {**obj, "metadata": {"uid": NO_UID, **metadata}}
    return kind.parse(obj)


def _referred(wanted: Reference, beside: list[Object]) -> Object | None:
    """Another object of the file, as the API server has it when it is new.

    None for a wrong one: what is wrong with it is told once, as its own.
    """
    kind = KINDS[wanted.resource.kind]
    for obj in (obj for obj in beside if obj["kind"] == kind.resource.kind):
        try:
            meta = _parsed(kind, obj).metadata
        except Invalid:
            continue
        if (meta.namespace, meta.name) == (wanted.namespace, wanted.name):
            known = {"uid": NO_UID, "namespace": meta.namespace, **obj["metadata"]}
            return {**obj, "metadata": known, "status": {}}
    return None


def _with_runtime(obj: Object, **members: str | None) -> Object:
    """``obj`` with these members of its runtime, but for those that are None."""
    given = {name: value for name, value in members.items() if value is not None}
    spec = obj.get("spec")
    if not given or not isinstance(spec, Mapping) or not isinstance(spec.get("runtime") or {}, Mapping):
        return obj
    return {**obj, "spec": {**spec, "runtime": {**(spec.get("runtime") or {}), **given}}}


def _located(config_map: Object | None, namespace: str) -> Object | None:
    return config_map and {**config_map, "metadata": {**config_map["metadata"], "namespace": namespace}}


def _is_defaults(obj: Object) -> bool:
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return obj.get("kind") == names.CONFIG_MAP.kind and name == names.DEFAULTS_CONFIG_MAP
