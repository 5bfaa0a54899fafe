"""A run merged with the platform's defaults, checked as a whole and rendered: once per attempt."""

from __future__ import annotations

from dataclasses import dataclass

from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.sftrun import SFTRun, SFTRunSpec
from swiftop.api.validate import problems
from swiftop.batch.origin import Origin, origin, pinned
from swiftop.errors import Invalid, Problem
from swiftop.kinds.sftrun import check, source, uploads
from swiftop.kinds.sftrun.command import Rendered, command, typed_flags
from swiftop.model.kind import World
from swiftop.runner.protocol import UploadedDataset
from swiftop.swift.paths import identity_of
from swiftop.swift.releases import table
from swiftop.workload.resolve import digest_of, missing_images, resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All that the children of an attempt are made of."""

    run: SFTRun
    spec: SFTRunSpec  # with the defaults in it, and a dataset of a hub in place of each uploadRef
    rendered: Rendered
    runner_config_map: str
    origin: Origin | None
    datasets: tuple[UploadedDataset, ...]  # of each uploadRef
    digest: str


def prepare(run: SFTRun, world: World[Defaults]) -> Prepared:
    """Merge, check and render; raises ``Invalid`` with all mistakes at once."""
    written, found = resolved(run.spec, world), list(problems(run))
    datasets = _datasets(run, world)
    spec = uploads.with_uploads(written, datasets)
    try:
        known = table(spec.runtime.swift_version or "")
    except Invalid as error:
        raise Invalid((*found, *error.problems)) from None
    identity = identity_of(run)
    typed = typed_flags(spec, table=known, identity=identity)
    found += check.problems(spec, known=known, typed=typed)
    found += missing_images(spec, known.version)
    if found:
        raise Invalid(tuple(dict.fromkeys(found)))  # a rule may be checked by both
    return Prepared(
        run=run,
        spec=spec,
        rendered=command(spec, typed=typed, table=known, identity=identity),
        runner_config_map=world.runner_config_map,
        origin=_origin(run, world),
        datasets=datasets,
        digest=digest_of(written),
    )


def warnings(run: SFTRun) -> tuple[Problem, ...]:
    """What is allowed but has no effect."""
    return tuple(check.warnings(run.spec))


def _origin(run: SFTRun, world: World[Defaults]) -> Origin | None:
    if world.pinned is not None:
        return pinned(world.pinned.source)
    where = source.reference(run)
    return origin(world.references.get(where)) if where else None


def _datasets(run: SFTRun, world: World[Defaults]) -> tuple[UploadedDataset, ...]:
    """An upload that is deleted, or made anew, after the start changes nothing."""
    known = {dataset.upload: dataset for dataset in world.pinned.datasets} if world.pinned is not None else {}
    return tuple(known.get(dataset.upload, dataset) for dataset in uploads.uploaded(run, world.references))
