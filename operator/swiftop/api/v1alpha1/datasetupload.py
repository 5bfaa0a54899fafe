"""DatasetUpload: a file of chats checked row by row, and uploaded to a dataset repository of a hub."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from swiftop.api.v1alpha1.base import NAME_RULE, Column, Definition, Model, Reported
from swiftop.api.v1alpha1.hub import Hub
from swiftop.api.v1alpha1.publish import PushTarget
from swiftop.api.v1alpha1.refs import ClaimFile, ConfigMapKey
from swiftop.api.v1alpha1.rules import Rule, matching, one_of
from swiftop.api.v1alpha1.scalars import HubId
from swiftop.api.v1alpha1.status import BatchStatus
from swiftop.api.v1alpha1.workload import BatchResource, BatchSpec, Resources
from swiftop.names import DATASETUPLOAD
from swiftop.reasons import ConditionType

Format = Literal["Auto", "sharegpt", "messages", "alpaca", "queryResponse"]

ColumnName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
StandardColumn = Literal[
    "messages",
    "conversation",
    "conversations",
    "system",
    "instruction",
    "input",
    "output",
    "query",
    "response",
    "history",
]

_FILE = r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*[.](jsonl|json)$"
RepositoryPath = Annotated[
    str,
    Field(min_length=1, max_length=200),
    matching(_FILE, "must be a file in the repository that ends in .jsonl or .json, as data/train.jsonl"),
]


class UploadSource(Model):
    """The file: on a volume, or a key of a ConfigMap."""

    RULES: ClassVar = (
        one_of(
            "persistentVolumeClaim",
            "configMap",
            message="source needs exactly one of persistentVolumeClaim and configMap",
        ),
        Rule(
            cel="!has(self.persistentVolumeClaim) || self.persistentVolumeClaim.path.matches('[.](jsonl|json)$')",
            message="name one file that ends in .jsonl or .json; convert another format first, for example with "
            "pandas: read_csv(...).to_json('train.jsonl', orient='records', lines=True, force_ascii=False)",
            holds=lambda source: (
                source.persistent_volume_claim is None
                or source.persistent_volume_claim.path.endswith((".jsonl", ".json"))
            ),
            field="persistentVolumeClaim.path",
        ),
        Rule(
            cel="!has(self.configMap) || self.configMap.key.matches('[.](jsonl|json)$')",
            message="name a key that ends in .jsonl or .json",
            holds=lambda source: source.config_map is None or source.config_map.key.endswith((".jsonl", ".json")),
            field="configMap.key",
        ),
    )

    persistent_volume_claim: ClaimFile | None = Field(
        default=None, description="File (.jsonl or .json) on a volume, which is mounted read-only."
    )
    config_map: ConfigMapKey | None = Field(
        default=None, description="A small file in a ConfigMap (at most 1 MiB); its key ends in .jsonl or .json."
    )


class Tokenizer(Model):
    """Counts tokens as a model would see them, without its chat template."""

    WORD: ClassVar = "model"
    INSTEAD: ClassVar = {"id": "use model"}

    model: HubId = Field(description="Id of the model whose tokenizer is used, for example Qwen/Qwen2.5-7B-Instruct.")
    hub: Hub | None = Field(default=None, description="Hub of that model. Absent: that of the destination.")
    max_length: int | None = Field(
        default=None, ge=1, le=10_000_000, description="Rows of more tokens are counted in status.rows.overLength."
    )


class Destination(PushTarget):
    """The dataset repository, and the place of the file in it."""

    path: RepositoryPath = Field(
        default="data/train.jsonl", description="Place of the file in the repository, with the ending of the source."
    )


def _ending(path: str) -> str:
    return path.rpartition(".")[2]


def _same_ending(spec: DatasetUploadSpec) -> bool:
    source = spec.source
    claim, config_map = source.persistent_volume_claim, source.config_map
    name = claim.path if claim else config_map.key if config_map else ""
    return not name or _ending(name) == _ending(spec.destination.path)


class DatasetUploadSpec(BatchSpec):
    """What to check and where to upload it."""

    RULES: ClassVar = (
        Rule(
            cel="!has(self.source.persistentVolumeClaim) && !has(self.source.configMap)"
            " || (has(self.source.persistentVolumeClaim) ? self.source.persistentVolumeClaim.path"
            " : self.source.configMap.key).endsWith('.jsonl') == self.destination.path.endsWith('.jsonl')",
            message="the file is uploaded as it is: give destination.path the ending of the source (.jsonl or .json)",
            holds=_same_ending,
            field="destination.path",
        ),
        Rule(
            cel="!has(self.resources) || self.resources.gpus == 0 && self.resources.nodes == 1",
            message="an upload runs in one pod without GPUs: set resources.gpus to 0, and remove resources.nodes",
            holds=lambda s: s.resources.gpus == 0 and s.resources.nodes == 1,
            field="resources",
        ),
    )

    source: UploadSource = Field(description="The file: one chat in each line (.jsonl), or an array of them (.json).")
    format: Format = Field(
        default="Auto",
        description="Format of the rows. Auto: the one of the first good row; all rows have to be of it.",
    )
    columns: dict[ColumnName, StandardColumn] = Field(
        default_factory=dict,
        max_length=32,
        description="Names of columns in the file, and what they are to ms-swift, as {dialogue: messages}. Training on "
        "the file needs the same in training.columns.",
    )
    max_bad_rows: int = Field(
        default=0,
        ge=0,
        le=1_000_000_000,
        description="So many rows that cannot be trained on are tolerated. One more, and nothing is uploaded. One that "
        "is not JSON or not UTF-8 is never tolerated: with one of them ms-swift loads no row of the file.",
    )
    tokenizer: Tokenizer | None = Field(
        default=None, description="Count tokens as well, which takes longer. Absent: characters alone."
    )
    destination: Destination = Field(description="The dataset repository that the file is uploaded to.")
    resources: Resources = Field(
        default_factory=lambda: Resources(gpus=0), description="What the pod gets. Absent: one CPU, 4Gi."
    )


class Rows(Reported):
    """What was counted. Turns, characters and tokens are those of good rows."""

    total: int | None = Field(default=None, description="Rows in the file.")
    bad: int | None = Field(default=None, description="Rows that cannot be trained on; see badRows.")
    duplicates: int | None = Field(
        default=None, description="Good rows that are the same, byte for byte, as an earlier one."
    )
    turns: int | None = Field(default=None, description="Turns in all, without system prompts.")
    characters: int | None = Field(default=None, description="Characters of all turns.")
    tokens: int | None = Field(default=None, description="Tokens of all turns, when spec.tokenizer is given.")
    over_length: int | None = Field(default=None, description="Rows of more tokens than spec.tokenizer.maxLength.")


class BadRowStatus(Reported):
    """A row that cannot be trained on."""

    line: int = Field(default=0, description="Line of the file; of a .json array the number of the row, from 1.")
    why: str = Field(default="", description="What is wrong with it.")


class UploadProgress(Reported):
    """How far the current step is."""

    phase: str = Field(default="", description="Preparing, Checking, Uploading or Finished.")
    bytes_done: int | None = Field(default=None, description="Bytes of the step that are done.")
    bytes_total: int | None = Field(default=None, description="Bytes of the step in all.")
    eta_seconds: int | None = Field(default=None, description="Expected seconds until the end of the step.")


class UploadDisplay(Reported):
    """Ready-made texts for the columns of kubectl get. Not an API: read the other fields."""

    destination: str | None = Field(default=None, description="Hub and repository.")
    rows: str | None = Field(default=None, description="Rows, and how many of them are bad.")
    progress: str | None = Field(default=None, description="Step, and how much of it is done.")
    eta: str | None = Field(default=None, description="Time until the end of the step.")


class DatasetUploadStatus(BatchStatus):
    """What happened so far. Written by the operator only."""

    rows: Rows | None = Field(default=None, description="What was counted.")
    bad_rows: tuple[BadRowStatus, ...] = Field(
        default=(),
        description="The first rows that cannot be trained on, at most twenty.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    commit: str | None = Field(default=None, description="Id of the commit that has the file.")
    url: str | None = Field(default=None, description="Page of the repository.")
    visibility: str | None = Field(default=None, description="Who may read it, as the hub says.")
    progress: UploadProgress | None = Field(default=None, description="How far the current step is.")
    display: UploadDisplay | None = Field(default=None, description="Ready-made texts for kubectl get. Not an API.")


_DISPLAY = ".status.display"


class DatasetUpload(BatchResource):
    """A file of chats, checked row by row and uploaded to a dataset repository."""

    DEFINITION: ClassVar = Definition(
        resource=DATASETUPLOAD,
        short="dsup",
        columns=(
            Column("Status", "string", ".status.state"),
            Column("Reason", "string", '.status.conditions[?(@.type=="Succeeded")].reason'),
            Column("Rows", "string", f"{_DISPLAY}.rows"),
            Column("Destination", "string", f"{_DISPLAY}.destination"),
            Column("Progress", "string", f"{_DISPLAY}.progress"),
            Column("ETA", "string", f"{_DISPLAY}.eta"),
            Column("Age", "date", ".metadata.creationTimestamp"),
            Column("Duplicates", "integer", ".status.rows.duplicates", wide=True),
            Column("Tokens", "integer", ".status.rows.tokens", wide=True),
            Column("Commit", "string", ".status.commit", wide=True),
            Column("URL", "string", ".status.url", wide=True),
        ),
        conditions=(ConditionType.CHECKED, ConditionType.UPLOADED, ConditionType.VERIFIED),
        changeable=("suspend", "lifecycle"),
    )
    RULES: ClassVar = (NAME_RULE,)

    kind: Literal["DatasetUpload"] = "DatasetUpload"
    spec: DatasetUploadSpec = Field(description="What to check and where to upload it.")
    status: DatasetUploadStatus | None = Field(
        default=None, description="What happened so far. Written by the operator only."
    )
