"""What is wrong with an export beyond the form of its fields: against the flags of its ms-swift."""

from __future__ import annotations

from collections.abc import Iterator

from swiftop.api.fields import marks
from swiftop.api.v1alpha1.flags import field_of_flag
from swiftop.api.v1alpha1.modelexport import ModelExportSpec
from swiftop.api.v1alpha1.quantization import ExportQuantization
from swiftop.errors import Problem
from swiftop.kinds.modelexport.command import quantization_flags
from swiftop.kinds.modelexport.source import Subject
from swiftop.swift import check, datasets
from swiftop.swift.releases import FlagTable, table

_FIELD = "quantization"
_FIELD_OF_FLAG = field_of_flag(marks(ExportQuantization, _FIELD))


def problems(spec: ModelExportSpec, found: Subject) -> Iterator[Problem]:
    """Everything that this version would refuse, each with what to do instead."""
    wanted, version = spec.quantization, spec.runtime.swift_version or ""
    yield from _types(spec, table(version))
    yield from _owners(spec)
    if wanted is None:
        return
    yield from check.rendered(
        quantization_flags(wanted, found), table(version, "export"), field_of={**_FIELD_OF_FLAG, "load_args": _FIELD}
    )
    yield from datasets.problems(
        datasets.placed("spec.quantization.datasets", wanted.datasets),
        hub=found.hub or "modelscope",
        hub_field="the model's hub",
        known=table(version),
    )


def _owners(spec: ModelExportSpec) -> Iterator[Problem]:
    source = spec.source
    ids = {"spec.source.id": source.id}
    ids |= {f"spec.source.adapters[{index}].id": adapter.id for index, adapter in enumerate(source.adapters)}
    yield from check.owned(ids, source.hub, hub_field="source.hub")
    if source.base is not None:
        yield from check.owned({"spec.source.base.id": source.base.id}, source.base.hub, hub_field="source.base.hub")


def _types(spec: ModelExportSpec, known: FlagTable) -> Iterator[Problem]:
    base = spec.source.base
    for path, type_ in (("source.type", spec.source.type), ("source.base.type", base.type if base else None)):
        if type_ is not None:
            yield from check.registered({"model_type": (type_,)}, (), known, field_of={"model_type": path})
