"""An upload merged with the platform's defaults and checked as a whole: once per attempt."""

from __future__ import annotations

from dataclasses import dataclass

from swiftop.api.v1alpha1.datasetupload import DatasetUpload, DatasetUploadSpec
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.validate import problems
from swiftop.errors import Invalid
from swiftop.model.kind import World
from swiftop.swift import check
from swiftop.workload.resolve import digest_of, missing_images, resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All that the children of an attempt are made of."""

    upload: DatasetUpload
    spec: DatasetUploadSpec  # with the defaults in it
    runner_config_map: str
    digest: str


def prepare(upload: DatasetUpload, world: World[Defaults]) -> Prepared:
    """Merge and check; raises ``Invalid`` with all mistakes at once."""
    spec, found = resolved(upload.spec, world), list(problems(upload))
    found += missing_images(spec, spec.runtime.swift_version or "")
    if spec.tokenizer is not None:
        hub = spec.tokenizer.hub or spec.destination.hub
        found += check.owned({"spec.tokenizer.model": spec.tokenizer.model}, hub, hub_field="tokenizer.hub")
    if found:
        raise Invalid(tuple(found))
    return Prepared(upload=upload, spec=spec, runner_config_map=world.runner_config_map, digest=digest_of(spec))
