"""Status of an SFTRun: what happened, for people and for ``kubectl wait``. Here it is for the schema alone."""

from __future__ import annotations

from pydantic import Field

from swiftop.api.v1alpha1.base import Reported
from swiftop.api.v1alpha1.status import TIME, BatchStatus, Resolved


class Progress(Reported):
    """How far the training is, from the last report of the runner."""

    step: int | None = Field(default=None, description="Optimizer steps done.")
    max_steps: int | None = Field(default=None, description="Optimizer steps in all.")
    epoch: float | None = Field(default=None, description="Epochs done.")
    loss: float | None = Field(default=None, description="Training loss in the last report.")
    eval_loss: float | None = Field(default=None, description="Loss of the last evaluation.")
    learning_rate: float | None = Field(default=None, description="Learning rate now.")
    grad_norm: float | None = Field(default=None, description="Norm of the gradient in the last report.")
    seconds_per_step: float | None = Field(default=None, description="Time of one optimizer step.")
    eta_seconds: int | None = Field(default=None, description="Time left by that pace.")
    memory_gi_b: float | None = Field(  # the alias is the field's name in the runner's report
        default=None, alias="memoryGiB", description="Highest GPU memory reserved by one process, in GiB."
    )


class Checkpoint(Reported):
    """The newest complete checkpoint on the output volume."""

    step: int = Field(description="Optimizer step of the checkpoint.")
    path: str = Field(default="", description="Its folder, as seen in the training pod.")
    time: str | None = Field(default=None, description="When it was written.", json_schema_extra=TIME)
    eval_loss: float | None = Field(default=None, description="Loss of the last evaluation up to this step.")


class BestCheckpoint(Reported):
    """The checkpoint with the best evaluation."""

    step: int = Field(description="Optimizer step of the checkpoint.")
    path: str = Field(default="", description="Its folder, as seen in the training pod.")
    metric: float | None = Field(
        default=None, description="What it was chosen by: the evaluation loss, if not set otherwise."
    )
    eval_loss: float | None = Field(default=None, description="Loss of the last evaluation up to this step.")


class DataStatus(Reported):
    """What became of the rows of the data. With streaming or lazy tokenization ms-swift does not say."""

    rows: int | None = Field(default=None, description="Rows that were read to be trained on.")
    dropped: int | None = Field(
        default=None,
        description="How many of them ms-swift dropped: too long, or not to be encoded by the chat template.",
    )
    too_long: int | None = Field(
        default=None, description="How many of the dropped were longer than training.maxLength, where that is known."
    )
    truncated: int | None = Field(
        default=None,
        description="Rows that were cut to the limit: 0 where ms-swift drops them instead, absent where it cuts them, "
        "since it does not say how many.",
    )
    validation_rows: int | None = Field(default=None, description="Rows of the validation data that were read.")
    validation_dropped: int | None = Field(default=None, description="How many of these ms-swift dropped.")


class SkippedPart(Reported):
    """A part of the acceleration that is not at work."""

    part: str = Field(description="Which one.")
    why: str = Field(description="Why, in a word: docs/acceleration.md explains them.")


class AccelerationStatus(Reported):
    """What training.acceleration came to, as the training itself tells."""

    active: bool = Field(description="Whether any part is at work.")
    parts: tuple[str, ...] = Field(
        default=(),
        description="What is at work: attention, borders, linears, mlp, liger, batch, checkpointing, loader, eightbit.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    skipped: tuple[SkippedPart, ...] = Field(
        default=(),
        description="What is not, and why.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    per_device_batch_size: int | None = Field(default=None, description="Samples per GPU and forward pass.")
    gradient_accumulation_steps: int | None = Field(default=None, description="Forward passes per optimizer step.")
    gradient_checkpointing: bool | None = Field(
        default=None, description="Whether activations are computed again in the backward pass."
    )
    estimated_gi_b: float | None = Field(
        default=None, alias="estimatedGiB", description="GPU memory that these settings were expected to take, in GiB."
    )


class TrackingStatus(Reported):
    """Where the run is shown."""

    url: str | None = Field(default=None, description="Page of the run on SwanLab.")


class Display(Reported):
    """Ready-made texts for the columns of kubectl get. Not an API: read the other fields."""

    progress: str | None = Field(default=None, description="Steps done, as 412/1000 (41%).")
    eta: str | None = Field(default=None, description="Time left, as 1h12m.")
    loss: str | None = Field(default=None, description="Loss, rounded.")
    gpus: str | None = Field(default=None, description="GPUs, as 8 or 2x8.")
    model: str | None = Field(default=None, description="The model.")
    dataset: str | None = Field(default=None, description="The first dataset and how many more.")


class DatasetStatus(Reported):
    """What a DatasetUpload that the spec refers to has uploaded."""

    upload: str = Field(default="", description="Name of the DatasetUpload.")
    hub: str = Field(default="", description="modelscope or huggingface.")
    repo: str = Field(default="", description="Dataset repository, as owner/name.")
    revision: str = Field(default="", description="Id of the commit.")


class RunResolved(Resolved):
    """What the run was started with, after the platform's defaults; pinned by the start of the first container."""

    datasets: tuple[DatasetStatus, ...] = Field(
        default=(),
        description="Which commit each uploadRef stands for.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class SFTRunStatus(BatchStatus):
    """What happened so far. Written by the operator only."""

    progress: Progress | None = Field(default=None, description="How far the training is.")
    checkpoint: Checkpoint | None = Field(default=None, description="The newest complete checkpoint.")
    best_checkpoint: BestCheckpoint | None = Field(default=None, description="The checkpoint with the best evaluation.")
    data: DataStatus | None = Field(default=None, description="What became of the rows of the data.")
    acceleration: AccelerationStatus | None = Field(
        default=None, description="What training.acceleration came to, as the training itself tells."
    )
    tracking: TrackingStatus | None = Field(default=None, description="Where the run is shown.")
    resolved: RunResolved | None = Field(default=None, description="What the run was started with.")
    display: Display | None = Field(default=None, description="Ready-made texts for kubectl get. Not an API.")
