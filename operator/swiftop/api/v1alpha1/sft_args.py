"""``extraArgs`` of an SFTRun: any flag of ``swift sft`` that no field of its spec sets."""

from __future__ import annotations

from typing import ClassVar

from swiftop.api.fields import marks
from swiftop.api.v1alpha1.base import Model
from swiftop.api.v1alpha1.checkpoints import Checkpoints
from swiftop.api.v1alpha1.flags import ExtraArg, field_of_flag, not_owned
from swiftop.api.v1alpha1.hub import ModelSource
from swiftop.api.v1alpha1.tracking import Tracking
from swiftop.api.v1alpha1.training import Training, Validation
from swiftop.api.v1alpha1.tuner import Tuner

_MEMBERS: dict[str, type[Model]] = {
    "model": ModelSource,
    "validation": Validation,
    "tuner": Tuner,
    "training": Training,
    "checkpoints": Checkpoints,
    "tracking": Tracking,
}
# What all kinds have of a member, or what has no field at all: swiftop alone decides.
_OTHERS = {
    "datasets": ("dataset",),
    "output": ("output_dir", "logging_dir", "add_version"),
    "": ("create_checkpoint_symlink", "ignore_args_error", "load_args", "overwrite_output_dir", "push_to_hub"),
}

FIELD_OF_FLAG = field_of_flag(
    (
        *(pair for member, model in _MEMBERS.items() for pair in marks(model, member)),
        *((field, flag) for field, flags in _OTHERS.items() for flag in flags),
    )
)
"""Which field of the spec (in the user's spelling) sets a flag; empty when swiftop alone decides."""


class SFTArg(ExtraArg):
    """Any further flag of ms-swift, without its leading dashes."""

    RULES: ClassVar = (*ExtraArg.RULES, not_owned(FIELD_OF_FLAG))
