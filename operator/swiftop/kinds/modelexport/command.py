"""The commands of an export, for ms-swift's own parser, and where its files lie in the pod."""

from __future__ import annotations

from swiftop.api.v1alpha1.modelexport import ModelExportSpec
from swiftop.api.v1alpha1.quantization import CALIBRATED, ExportQuantization
from swiftop.kinds.modelexport.source import Subject
from swiftop.swift import datasets
from swiftop.swift.argv import Flags, passed, words
from swiftop.swift.paths import Identity, join, output_dir

PROGRAM = "swift.cli.export"
MODEL_DIR = "model"
"""Folder of the result in the output directory."""
_PARTIAL_DIR = "model.partial"  # what is written to; renamed when it is complete and verified
_FULL_DIR = "model.full"  # the model that is quantized, once it is complete and verified; removed at the end
_QUANTIZED_DIR = "model.quantized"  # what the quantization writes to
_MAX_LENGTH = "2048"  # of a block: 3.7's own; later releases take the model's whole context, which no GPU holds


def partial_dir(spec: ModelExportSpec, identity: Identity) -> str:
    """Folder of a result that is being made."""
    return join(output_dir(spec.output, identity), _PARTIAL_DIR)


def full_dir(spec: ModelExportSpec, found: Subject, identity: Identity) -> str:
    """Folder of the model before it is quantized: ms-swift guesses a model's type from the last part of its path."""
    return join(output_dir(spec.output, identity), f"{_FULL_DIR}/{found.model.rpartition('/')[2] or MODEL_DIR}")


def quantized_dir(spec: ModelExportSpec, identity: Identity) -> str:
    """Folder of a quantized model that is being made."""
    return join(output_dir(spec.output, identity), _QUANTIZED_DIR)


def merge_command(spec: ModelExportSpec, found: Subject, identity: Identity) -> tuple[str, ...]:
    """Merges the adapter into its model, in host memory. A full-tuned checkpoint is converted by the runner instead.

    Empty where nothing is to be merged: nobody shall read of a command that is never run.
    """
    if not spec.merge:
        return ()
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


def quantize_command(spec: ModelExportSpec, found: Subject, identity: Identity) -> tuple[str, ...]:
    """Quantizes what was merged or converted. A command of its own: told both at once, ms-swift 3.x only merges."""
    wanted = spec.quantization
    if wanted is None:
        return ()
    flags: Flags = {"model": (full_dir(spec, found, identity),)}
    if found.type:
        flags["model_type"] = (found.type,)
    if dtype := weights_type(spec):
        flags["torch_dtype"] = (dtype,)
    flags |= quantization_flags(wanted, found)
    flags["output_dir"] = (quantized_dir(spec, identity),)
    return ("python", "-m", PROGRAM, *words(flags))


def weights_type(spec: ModelExportSpec) -> str:
    """Type of the weights that are not quantized; empty: that of the model."""
    calibrated = spec.quantization is not None and spec.quantization.method in CALIBRATED
    return spec.dtype or ("float16" if calibrated else "")


def quantization_flags(wanted: ExportQuantization, found: Subject) -> Flags:
    """Flags of ``spec.quantization``."""
    flags = passed(wanted)
    if wanted.method == "bnb":
        # What the training said of bnb would win over these flags, and there is nothing to calibrate as it trained.
        flags["load_args"] = ("false",)
    if wanted.method in CALIBRATED:
        hub = found.hub or "modelscope"
        if hub == "huggingface":
            flags["use_hf"] = ("true",)
        flags["dataset"] = datasets.named(wanted.datasets, hub)
        flags |= datasets.info(wanted.datasets, hub)
        flags["max_length"] = (str(wanted.max_length or _MAX_LENGTH),)
    return flags
