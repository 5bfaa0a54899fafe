"""``swiftop preview``: the exact command and objects of a run, before any GPU is taken and without a cluster.

The operator builds with the same functions, so what is shown is what will be made; only the UID, which a file does not
have yet, stands as zeros, and a word stands for an image that only the platform's ``swiftop-defaults`` knows. Such a
ConfigMap in the same file counts as it does in the cluster: that of the operator's namespace for all runs, and that of
the run's namespace over it. Another object that one refers to counts as far as the file tells; what only its end will
tell stands in brackets.
"""

from __future__ import annotations

import difflib
import re
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from swiftop import names
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
    file: Annotated[Path, typer.Option("--file", "-f", help="File with objects of swiftop; - reads standard input.")],
    swift_version: Annotated[
        str | None, typer.Option(help="Render for this ms-swift version instead of the run's own.")
    ] = None,
) -> None:
    """Print the commands of ms-swift, then the objects as YAML. Needs no cluster; exits 2 on an invalid file."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
        found = list(previews(text, swift_version=swift_version))
    except (OSError, UnicodeDecodeError) as error:
        print(f"error: {file}: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_INVALID) from None
    except Invalid as error:
        for problem in error.problems:
            print(f"error: {file}: {problem}", file=sys.stderr)
        raise typer.Exit(EXIT_INVALID) from None
    for output, warnings in found:
        print(output, end="")
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)


def previews(text: str, *, swift_version: str | None = None) -> Iterator[tuple[str, list[Problem]]]:
    """Output and warnings of each of our objects in a file; raises ``Invalid`` with the field to fix."""
    objects = _documents(text)
    if foreign := [problem for obj in objects if (problem := _no_kind(obj))]:
        raise Invalid(tuple(foreign))
    found = [obj for obj in objects if obj.get("kind") in KINDS]
    if not found:
        raise Invalid((Problem("kind", f"there is no {' or '.join(KINDS)} in this file"),))
    shared = {o["metadata"].get("namespace", "default"): o for o in objects if _is_defaults(o)}
    for obj in found:
        yield _preview(_with_runtime(obj, swiftVersion=swift_version), shared, found)


def _no_kind(obj: Object) -> Problem | None:
    """What of our API would be left out in silence, or what kubectl would refuse, for its first two lines."""
    kind, version = str(obj.get("kind", "")), str(obj.get("apiVersion", ""))
    if kind in KINDS and not version:
        return Problem("apiVersion", "required value is missing", suggestion=f"write apiVersion: {names.API_VERSION}")
    near = [known for known in KINDS if known.lower() == kind.lower()]
    if kind in KINDS or not (near or version.startswith(f"{names.GROUP}/")):
        return None
    near = near or difflib.get_close_matches(kind, tuple(KINDS), n=1)
    return Problem("kind", f"there is no kind {kind!r}", suggestion=f"use {' or '.join(near or KINDS)}")


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
        observed=kind.observe(seen, resource),
        references=world.references,
        now=now,
    )
    outlook = kind.decide(facts).outlook
    cause = outlook.cause if isinstance(outlook, Blocked) and outlook.stalled else None
    return Problem("spec", cause.message, suggestion=cause.suggestion) if cause else None


def _output(kind: Kind, prepared: Prepared) -> str:
    """Commands on the first lines where there are any, in their order, objects below them."""
    children = kind.build(prepared, Create(1))
    dumped = [yaml.safe_dump(child, sort_keys=False, allow_unicode=True, width=120) for child in children]
    commands = "".join(f"{shlex.join(command)}\n" for command in _commands(children[-1]))
    return commands + "".join(f"---\n{document}" for document in dumped)


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
    """Another object of the file, as the API server has it when it is new; raises ``Invalid`` for a wrong one."""
    kind = KINDS[wanted.resource.kind]
    for obj in (obj for obj in beside if obj["kind"] == kind.resource.kind):
        meta = _parsed(kind, obj).metadata
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


class _Loader(yaml.SafeLoader):
    """YAML as kubectl reads it: ``2e-4`` is a number there, and a text for PyYAML alone."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    """A map, unless it has a key twice: the first value would be lost in silence."""
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise yaml.constructor.ConstructorError(None, None, f"{twice} is given twice", node.start_mark)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def _documents(text: str) -> list[Object]:
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "file"
        raise Invalid((Problem(where, f"is not valid YAML: {getattr(error, 'problem', None) or error}"),)) from None
    return [document for document in documents if isinstance(document, dict)]
