"""What the status of every kind has that ends. Here it is for the schema alone."""

from __future__ import annotations

from pydantic import Field
from pydantic.config import JsonDict

from swiftop.api.v1alpha1.base import Condition, Reported

TIME: JsonDict = {"format": "date-time"}


class Interruption(Reported):
    """One execution that was taken away: evicted, preempted, or lost with its node."""

    time: str = Field(default="", description="When it ended.", json_schema_extra=TIME)
    cause: str = Field(default="", description="Why, as one CamelCase word.")
    pod: str = Field(default="", description="UID of its pod; with several nodes that of rank 0.")
    step: int | None = Field(default=None, description="Optimizer step that it had reached.")
    checkpoint_step: int | None = Field(default=None, description="Step of the newest checkpoint that was kept.")
    lost_steps: int | None = Field(default=None, description="Steps that had to be done again.")


class OutputStatus(Reported):
    """Where the result lies."""

    claim_name: str = Field(default="", description="PersistentVolumeClaim with the results.")
    path: str = Field(default="", description="Folder of this object on it.")


class Failure(Reported):
    """Why the work (or its last attempt) failed, and what to do."""

    reason: str = Field(default="", description="Cause, as one CamelCase word out of a closed list.")
    message: str = Field(default="", description="Cause, for people.")
    suggestion: str = Field(default="", description="What to change.")
    log: str = Field(default="", description="Last lines of the log, secrets blanked.")


class SourceStatus(OutputStatus):
    """Where the results lie that the work started from."""

    uid: str = Field(default="", description="UID of the object that wrote them.")
    model: str | None = Field(default=None, description="Hub id or folder of the model that an adapter belongs to.")
    hub: str | None = Field(default=None, description="Hub of that id.")
    revision: str | None = Field(default=None, description="Revision of that id.")
    type: str | None = Field(default=None, description="Type of that model in ms-swift's words.")
    model_claim_name: str | None = Field(default=None, description="PersistentVolumeClaim of that folder.")


class Resolved(Reported):
    """What the work was started with, after the platform's defaults; pinned by the start of the first container."""

    image: str | None = Field(default=None, description="Image of the pods.")
    swift_version: str | None = Field(default=None, description="Version of ms-swift that the flags are made for.")
    command: str | None = Field(default=None, description="The exact command of ms-swift, as one line for a shell.")
    digest: str | None = Field(default=None, description="Of the spec with the platform's defaults in it.")
    source: SourceStatus | None = Field(
        default=None, description="Where the results lie of the object that the spec refers to."
    )


class BatchStatus(Reported):
    """Members of the status that all kinds have that end."""

    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="Succeeded is the summary (Unknown while the object is active); Reconciling and Stalled are for "
        "kstatus; the others tell details. All are there from the first write.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    state: str | None = Field(
        default=None, description="One word derived from conditions, for people. Not an API: read conditions."
    )
    observed_generation: int = Field(default=0, description="Generation of the spec that this status speaks of.")
    output: OutputStatus | None = Field(
        default=None, description="Where the results lie; absent for an ephemeral output."
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
        json_schema_extra=TIME,
    )
    completion_time: str | None = Field(
        default=None, description="When the work ended for good.", json_schema_extra=TIME
    )
    gpu_seconds: int | None = Field(default=None, description="GPUs times the seconds that they were held.")
    failure: Failure | None = Field(default=None, description="Why the work failed, and what to do.")
    resolved: Resolved | None = Field(default=None, description="What the work was started with.")
