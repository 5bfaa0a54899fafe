"""The command of an export, for ms-swift's own parser, and where its files lie in the pod."""

from __future__ import annotations

from swiftop.api.v1alpha1.modelexport import ModelExportSpec
from swiftop.kinds.modelexport.source import Subject
from swiftop.swift.argv import Flags, words
from swiftop.swift.paths import Identity, join, output_dir

PROGRAM = "swift.cli.export"
MODEL_DIR = "model"
"""Folder of the result in the output directory."""
_PARTIAL_DIR = "model.partial"  # what is written to; renamed when it is complete and verified


def partial_dir(spec: ModelExportSpec, identity: Identity) -> str:
    """Folder of a result that is being made."""
    return join(output_dir(spec.output, identity), _PARTIAL_DIR)


def merge_command(spec: ModelExportSpec, found: Subject, identity: Identity) -> tuple[str, ...]:
    """Merges the adapter into its model, in host memory. A full-tuned checkpoint is converted by the runner instead."""
    return ("python", "-m", PROGRAM, *words(_flags(spec, found, identity)))


def _flags(spec: ModelExportSpec, found: Subject, identity: Identity) -> Flags:
    flags: Flags = {}
    if found.model:
        flags["model"] = (found.model,)
    if found.type:
        flags["model_type"] = (found.type,)
    if found.revision:
        flags["model_revision"] = (found.revision,)
    if found.hub == "huggingface":
        flags["use_hf"] = ("true",)
    adapter = found.directory or hub_adapter(spec)
    if adapter:
        flags["adapters"] = (adapter,)
    flags["merge_lora"] = ("true",)
    if spec.dtype is not None:
        flags["torch_dtype"] = (spec.dtype,)
    flags["output_dir"] = (partial_dir(spec, identity),)
    return flags


def loaded(spec: ModelExportSpec, found: Subject) -> Flags:
    """What may be loaded from a hub, as flags: to merge the model too, else what is exported alone."""
    exported = found.directory or hub_adapter(spec) or found.model
    flags: Flags = {"model": (found.model, exported) if spec.merge else (exported,)}
    if found.revision:
        flags["model_revision"] = (found.revision,)
    if found.hub == "huggingface":
        flags["use_hf"] = ("true",)
    return flags


def hub_adapter(spec: ModelExportSpec) -> str:
    """Id of the adapter that is merged into a model of a hub; empty when there is none."""
    return next((adapter.id for adapter in spec.source.adapters if adapter.id), "") or ""
