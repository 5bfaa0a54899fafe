"""Status of an SFTRun: what happened, for people and for ``kubectl wait``. Here it is for the schema alone."""

from __future__ import annotations

from pydantic import Field
from pydantic.config import JsonDict

from swiftop.api.v1alpha1.base import Condition, Reported

_TIME: JsonDict = {"format": "date-time"}


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
    time: str | None = Field(default=None, description="When it was written.", json_schema_extra=_TIME)


class BestCheckpoint(Reported):
    """The checkpoint with the best evaluation."""

    step: int = Field(description="Optimizer step of the checkpoint.")
    path: str = Field(default="", description="Its folder, as seen in the training pod.")
    metric: float | None = Field(
        default=None, description="What it was chosen by: the evaluation loss, if not set otherwise."
    )


class TrackingStatus(Reported):
    """Where the run is shown."""

    url: str | None = Field(default=None, description="Page of the run on SwanLab.")


class Interruption(Reported):
    """One execution that was taken away: evicted, preempted, or lost with its node."""

    time: str = Field(default="", description="When it ended.", json_schema_extra=_TIME)
    cause: str = Field(default="", description="Why, as one CamelCase word.")
    pod: str = Field(default="", description="UID of its pod; with several nodes that of rank 0.")
    step: int | None = Field(default=None, description="Optimizer step that it had reached.")
    checkpoint_step: int | None = Field(default=None, description="Step of the newest checkpoint that was kept.")
    lost_steps: int | None = Field(default=None, description="Steps that had to be done again.")


class OutputStatus(Reported):
    """Where the result lies."""

    claim_name: str = Field(default="", description="PersistentVolumeClaim with the checkpoints.")
    path: str = Field(default="", description="Folder of this run on it.")


class Failure(Reported):
    """Why the run (or its last attempt) failed, and what to do."""

    reason: str = Field(default="", description="Cause, as one CamelCase word out of a closed list.")
    message: str = Field(default="", description="Cause, for people.")
    suggestion: str = Field(default="", description="What to change.")
    log: str = Field(default="", description="Last lines of the log, secrets blanked.")


class SourceStatus(OutputStatus):
    """Where the checkpoint lies that the run started from."""

    uid: str = Field(default="", description="UID of the run that wrote it.")


class Resolved(Reported):
    """What the run was started with, after the platform's defaults; pinned by the start of the first container."""

    image: str | None = Field(default=None, description="Image of the training pods.")
    swift_version: str | None = Field(default=None, description="Version of ms-swift that the flags are made for.")
    command: str | None = Field(default=None, description="The exact training command, as one line for a shell.")
    digest: str | None = Field(default=None, description="Of the spec with the platform's defaults in it.")
    source: SourceStatus | None = Field(
        default=None, description="Where the results of the run lie that checkpoints.from names."
    )


class Display(Reported):
    """Ready-made texts for the columns of kubectl get. Not an API: read the other fields."""

    progress: str | None = Field(default=None, description="Steps done, as 412/1000 (41%).")
    eta: str | None = Field(default=None, description="Time left, as 1h12m.")
    loss: str | None = Field(default=None, description="Loss, rounded.")
    gpus: str | None = Field(default=None, description="GPUs, as 8 or 2x8.")
    model: str | None = Field(default=None, description="The model.")
    dataset: str | None = Field(default=None, description="The first dataset and how many more.")


class SFTRunStatus(Reported):
    """What happened so far. Written by the operator only."""

    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="Succeeded is the summary (Unknown while the run is active); Reconciling and Stalled are for "
        "kstatus; the others tell details. All are there from the first write.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    state: str | None = Field(
        default=None, description="One word derived from conditions, for people. Not an API: read conditions."
    )
    observed_generation: int = Field(default=0, description="Generation of the spec that this status speaks of.")
    progress: Progress | None = Field(default=None, description="How far the training is.")
    checkpoint: Checkpoint | None = Field(default=None, description="The newest complete checkpoint.")
    best_checkpoint: BestCheckpoint | None = Field(default=None, description="The checkpoint with the best evaluation.")
    output: OutputStatus | None = Field(
        default=None, description="Where the checkpoints lie; absent for an ephemeral output."
    )
    attempts: int = Field(default=0, description="Attempts (Jobs) started so far.")
    retries: int | None = Field(
        default=None, description="Failures so far that were answered by a new attempt; see spec.lifecycle.maxRetries."
    )
    next_attempt: int | None = Field(
        default=None, description="Attempt that follows once the pods of the last one are gone."
    )
    interruptions: tuple[Interruption, ...] = Field(
        default=(),
        description="The last ten executions that were taken away.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    start_time: str | None = Field(
        default=None,
        description="When the first container started. Until then the whole spec may change, and a Job that waits is "
        "replaced; from then on only suspend and lifecycle may.",
        json_schema_extra=_TIME,
    )
    completion_time: str | None = Field(
        default=None, description="When the run ended for good.", json_schema_extra=_TIME
    )
    gpu_seconds: int | None = Field(default=None, description="GPUs times the seconds that the run held them.")
    tracking: TrackingStatus | None = Field(default=None, description="Where the run is shown.")
    failure: Failure | None = Field(default=None, description="Why the run failed, and what to do.")
    resolved: Resolved | None = Field(default=None, description="What the run was started with.")
    display: Display | None = Field(default=None, description="Ready-made texts for kubectl get. Not an API.")
