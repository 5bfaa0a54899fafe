"""Which checkpoints are written and kept, and which one a training starts from.

What is absent is not passed, and ms-swift's own default holds.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from swiftop.api.fields import Flag, Owns
from swiftop.api.v1alpha1.base import Model
from swiftop.api.v1alpha1.rules import Rule
from swiftop.api.v1alpha1.scalars import ObjectName, StepsOrShare


class RunCheckpoint(Model):
    """A checkpoint of another SFTRun in the same namespace."""

    WORD: ClassVar = "name"

    name: ObjectName = Field(description="Name of the SFTRun, in the namespace of this one.")
    step: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="Step of the checkpoint. Absent: the newest complete one.",
    )


class CheckpointSource(Model):
    """The checkpoint that the training starts from, in place of the model as it is."""

    WORD: ClassVar = "sftRunRef.name"

    sft_run_ref: RunCheckpoint = Field(
        description="A checkpoint of another SFTRun. This run waits until that one has ended."
    )
    weights_only: Annotated[bool, Owns("resume_only_model")] = Field(
        default=False,
        description="true: take the weights alone and begin at step 0, with a new optimizer and learning rate "
        "schedule. false: continue that run with its optimizer, schedule and step count.",
    )


class Checkpoints(Model):
    """When checkpoints are written, how many stay, and whether a restarted run goes on from them."""

    RULES: ClassVar = (
        Rule(
            cel="!(has(self.saveOnlyModel) && self.saveOnlyModel) || !has(self.resume) || self.resume == 'Never'",
            message="a checkpoint of the model alone cannot be resumed: remove checkpoints.resume, or saveOnlyModel",
            holds=lambda c: not c.save_only_model or c.resume != "Auto",
            field="saveOnlyModel",
        ),
    )

    save_steps: Annotated[StepsOrShare | None, Flag("save_steps")] = Field(
        default=None,
        description="Steps between two checkpoints: what an interruption can cost; or their share of all steps in "
        'quotes, as "0.1". ms-swift\'s default: 500.',
    )
    save_strategy: Annotated[Literal["no", "steps", "epoch", "best"] | None, Flag("save_strategy")] = Field(
        default=None,
        description='When checkpoints are written: "steps" (ms-swift\'s default), "epoch", "best" (after an '
        'evaluation that was the best so far: set evalStrategy too) or "no" (in quotes). With steps and epoch '
        "evaluation follows it, when evalStrategy is absent.",
    )
    keep: Annotated[int | None, Flag("save_total_limit")] = Field(
        default=None,
        ge=1,
        le=10_000,
        description="How many checkpoints stay, the best one among them. Absent: all. With validation, 1 keeps the "
        "best one, and the last one too until the training ends.",
    )
    save_only_model: Annotated[bool | None, Flag("save_only_model")] = Field(
        default=None,
        description="Save weights without optimizer state: smaller, but an interrupted run starts anew.",
    )
    resume: Annotated[Literal["Auto", "Never"] | None, Owns("resume_from_checkpoint")] = Field(
        default=None,
        description="Auto: after an interruption go on from the newest complete checkpoint of this run. Never: start "
        "anew. Absent: Auto, and Never with saveOnlyModel.",
    )
    source: Annotated[CheckpointSource | None, Owns("resume_from_checkpoint")] = Field(
        default=None,
        alias="from",
        description="Start from a checkpoint of another run. After an interruption this run resumes from its own "
        "checkpoints.",
    )

    @property
    def resumable(self) -> bool:
        """Whether an interrupted run goes on from its newest checkpoint."""
        return self.resume != "Never" and not self.save_only_model
