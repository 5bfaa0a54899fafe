"""``swiftop preview``: the exact command and objects of a run, before any GPU is taken and without a cluster.

The operator builds with the same functions, so what is shown is what will be made; only the UID, which a file does not
have yet, stands as zeros, and a word stands for an image that only the platform's ``swiftop-defaults`` knows. Such a
ConfigMap in the same file counts as it does in the cluster: that of the operator's namespace for all runs, and that of
the run's namespace over it.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from swiftop import names
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.api.validate import problems
from swiftop.errors import Invalid, Problem
from swiftop.kinds.sftrun import check
from swiftop.kinds.sftrun.build import Context, build
from swiftop.kinds.sftrun.command import command
from swiftop.runner import bundle
from swiftop.swift.paths import Identity
from swiftop.swift.releases import table
from swiftop.workload.resolve import Defaults, defaults_of, image_missing, merged

NO_UID = "00000000-0000-0000-0000-000000000000"
NO_IMAGE = "IMAGE"
EXIT_INVALID = 2

Object = dict[str, Any]


def preview(
    file: Annotated[Path, typer.Option("--file", "-f", help="File with an SFTRun; - reads standard input.")],
    swift_version: Annotated[
        str | None, typer.Option(help="Render for this ms-swift version instead of the run's own.")
    ] = None,
) -> None:
    """Print the training command, then the objects as YAML. Needs no cluster; exits 2 on an invalid file."""
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
    """Output and warnings of each run in a file; raises ``Invalid`` with the field to fix."""
    objects = _documents(text)
    found = [o for o in objects if o.get("kind") == names.SFTRUN.kind]
    if not found:
        raise Invalid((Problem("kind", "there is no SFTRun in this file"),))
    shared = {o["metadata"].get("namespace", "default"): o for o in objects if _is_defaults(o)}
    for obj in found:
        run = _with_runtime(_parsed(obj), swift_version=swift_version)
        places = dict.fromkeys((names.OPERATOR_NAMESPACE, run.metadata.namespace))
        yield _preview(run, defaults_of(*(_located(shared.get(place), place) for place in places)))


def _preview(run: SFTRun, defaults: Defaults) -> tuple[str, list[Problem]]:
    """Output and warnings of one run, with everything that is wrong found before."""
    spec = merged(run.spec, defaults)
    wrong = (*problems(run), *check.problems(spec, spec.runtime.swift_version or ""))
    if wrong:
        raise Invalid(tuple(dict.fromkeys(wrong)))
    if spec.runtime.image is not None:
        return _output(run, defaults), check.warnings(spec)
    missing = image_missing(spec.runtime.swift_version or "")
    return _output(_with_runtime(run, image=NO_IMAGE), defaults), [*check.warnings(spec), missing]


def _output(run: SFTRun, defaults: Defaults) -> str:
    """Command on the first line, objects below it."""
    spec, meta = merged(run.spec, defaults), run.metadata
    identity = Identity(name=meta.name, uid=meta.uid, namespace=meta.namespace)
    words = command(spec, table=table(spec.runtime.swift_version or ""), identity=identity).command
    config_map = names.runner_config_map_name(bundle.digest())
    children = build(run, Context(runner_config_map=config_map, defaults=defaults))
    dumped = [yaml.safe_dump(child, sort_keys=False, allow_unicode=True, width=120) for child in children]
    return f"{shlex.join(words)}\n" + "".join(f"---\n{document}" for document in dumped)


def _parsed(obj: Object) -> SFTRun:
    metadata = obj.get("metadata")
    if isinstance(metadata, Mapping):
        obj = {**obj, "metadata": {"uid": NO_UID, **metadata}}
    return SFTRun.from_object(obj)


def _with_runtime(run: SFTRun, **members: str | None) -> SFTRun:
    """``run`` with these members of its runtime, but for those that are None."""
    given = {name: value for name, value in members.items() if value is not None}
    runtime = run.spec.runtime.model_copy(update=given)
    return run.model_copy(update={"spec": run.spec.model_copy(update={"runtime": runtime})})


def _located(config_map: Object | None, namespace: str) -> Object | None:
    return config_map and {**config_map, "metadata": {**config_map["metadata"], "namespace": namespace}}


def _is_defaults(obj: Object) -> bool:
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return obj.get("kind") == names.CONFIG_MAP.kind and name == names.DEFAULTS_CONFIG_MAP


class _Loader(yaml.SafeLoader):
    """YAML as kubectl reads it: ``2e-4`` is a number there, and a text for PyYAML alone."""


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
