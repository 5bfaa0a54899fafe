"""An export merged with the platform's defaults, checked as a whole and rendered: once per attempt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.modelexport import ModelExport, ModelExportSpec
from swiftop.api.validate import problems
from swiftop.errors import Invalid
from swiftop.kinds.modelexport import check, source
from swiftop.kinds.modelexport.card import card
from swiftop.kinds.modelexport.command import merge_command, quantize_command
from swiftop.kinds.modelexport.memory import memory_gib
from swiftop.kinds.modelexport.source import Subject
from swiftop.model.kind import World
from swiftop.swift.paths import identity_of
from swiftop.swift.releases import table
from swiftop.workload.resolve import GIB_PER_GPU, digest_of, missing_images, resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All that the children of an attempt are made of."""

    export: ModelExport
    spec: ModelExportSpec  # with the defaults in it
    subject: Subject
    command: tuple[str, ...]
    quantize: tuple[str, ...]  # a second command; empty: the model stays as it is
    card: Mapping[str, Any]
    runner_config_map: str
    digest: str


def prepare(export: ModelExport, world: World[Defaults]) -> Prepared:
    """Merge, check and render; raises ``Invalid`` with all mistakes at once."""
    spec, found = resolved(export.spec, world), list(problems(export))
    try:
        known = table(spec.runtime.swift_version or "")
    except Invalid as error:
        raise Invalid((*found, *error.problems)) from None
    found += missing_images(spec, known.version)
    if found:
        raise Invalid(tuple(dict.fromkeys(found)))
    where = source.reference(export)
    run = world.references.get(where) if where else None
    subject = source.pinned(world.pinned.source) if world.pinned else source.subject(export, run)
    if found := list(check.problems(spec, subject)):
        raise Invalid(tuple(found))
    return Prepared(
        export=export,
        spec=_with_memory(export, spec, subject),
        subject=subject,
        command=merge_command(spec, subject, identity_of(export)),
        quantize=quantize_command(spec, subject, identity_of(export)),
        card=card(export, subject, spec, run),
        runner_config_map=world.runner_config_map,
        digest=digest_of(spec),
    )


def _with_memory(export: ModelExport, spec: ModelExportSpec, found: Subject) -> ModelExportSpec:
    """Memory follows the size of the model, where the spec does not say.

    Who gives GPUs merges on them, and gets what comes with them; before a quantization it is merged in host memory.
    """
    wanted, quantized = export.spec.resources, spec.quantization is not None
    if wanted.memory is not None or (wanted.gpus > 0 and not quantized):
        return spec
    gib = memory_gib(found.model, dtype=spec.dtype or "", verified=spec.verify == "Auto")
    gib = max(gib, wanted.gpus * GIB_PER_GPU)
    return spec.model_copy(update={"resources": spec.resources.model_copy(update={"memory": f"{gib}Gi"})})
