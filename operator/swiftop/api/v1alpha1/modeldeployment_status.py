"""Status of a ModelDeployment."""

from __future__ import annotations

from pydantic import Field

from swiftop.api.v1alpha1.base import Condition, Reported
from swiftop.api.v1alpha1.status import SourceStatus


class ServedSource(SourceStatus):
    """Where a result lies that is served."""

    ref: str = Field(description="What the spec names: SFTRun/name/checkpoint or ModelExport/name.")
    rank: int | None = Field(default=None, description="Rank of an adapter, as its run was told.")
    made_of: str | None = Field(
        default=None, description="Claim and path of the adapter that was merged for this deployment, if one was."
    )
    eval_loss: float | None = Field(default=None, description="Loss of the last evaluation of its checkpoint.")


class ResolvedServing(Reported):
    """What the pods of the newest revision are made with; it stays until the spec or a source changes."""

    image: str | None = Field(default=None, description="Image of the pods.")
    swift_version: str | None = Field(default=None, description="Version of ms-swift that the flags are made for.")
    command: str | None = Field(default=None, description="The command of ms-swift, as one line for a shell.")
    sources: tuple[ServedSource, ...] = Field(
        default=(),
        description="Where the results lie of the objects that the spec refers to.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["ref"]},
    )


class ServingStatus(Reported):
    """What answers now."""

    revision: str | None = Field(
        default=None, description="Revision of the pods that answer: a digest of what they were made from."
    )
    next_revision: str | None = Field(default=None, description="Revision that is being rolled out.")
    in_flight: int | None = Field(default=None, description="Requests that are being answered.")
    server: str | None = Field(
        default=None, description="Whose server answers: Swift (ms-swift's own) or Native (the engine's own)."
    )
    server_reason: str | None = Field(default=None, description="Why this one, in a word.")
    server_message: str | None = Field(default=None, description="Why this one, for people.")


class ServingDisplay(Reported):
    """Ready-made texts for the columns of kubectl get. Not an API: read the other fields."""

    replicas: str | None = Field(default=None, description="Replicas that answer, of those asked for.")
    model: str | None = Field(default=None, description="The model.")
    names: str | None = Field(default=None, description="Names that answer.")
    tokens_per_second: str | None = Field(default=None, description="Tokens per second of all replicas.")


class ModelDeploymentStatus(Reported):
    """What happened so far. Written by the operator only."""

    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="Ready is the summary: every served name has just answered in at least one replica. Progressing "
        "says whether all replicas are as the spec asks for; Reconciling and Stalled are for kstatus; the others tell "
        "details. All are there from the first write.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    state: str | None = Field(
        default=None, description="One word derived from conditions, for people. Not an API: read conditions."
    )
    observed_generation: int = Field(default=0, description="Generation of the spec that this status speaks of.")
    url: str | None = Field(default=None, description="Base URL for OpenAI clients inside the cluster.")
    served_names: tuple[str, ...] = Field(
        default=(),
        description="Names that a request may ask for, the model's first.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    replicas: int | None = Field(default=None, description="Pods that there are.")
    ready_replicas: int | None = Field(default=None, description="Pods that answer.")
    selector: str | None = Field(default=None, description="Label selector of the pods, for autoscalers.")
    first_token_seconds: float | None = Field(
        default=None, description="Time to the first token lately, of the slowest replica."
    )
    tokens_per_second: float | None = Field(default=None, description="Tokens per second lately, of all replicas.")
    serving: ServingStatus | None = Field(default=None, description="What answers now.")
    resolved: ResolvedServing | None = Field(default=None, description="What the newest pods are made with.")
    display: ServingDisplay | None = Field(default=None, description="Ready-made texts for kubectl get. Not an API.")
