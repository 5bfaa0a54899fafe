"""What is read and where results go: model, datasets, files, output, cache."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from swiftop.api.v1alpha1.common import ClaimFile, ClaimPath, ConfigMapKey, DnsSubdomain, HubId, Model, Share, Size
from swiftop.api.v1alpha1.rules import Rule, one_of

Hub = Literal["modelscope", "huggingface"]
ModelType = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Revision = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")]
Subset = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^:/#\s]+$")]


class AdapterSource(Model):
    """An adapter (LoRA or similar) that the training starts from."""

    RULES: ClassVar = (
        one_of("id", "persistentVolumeClaim", message="an adapter needs exactly one of id and persistentVolumeClaim"),
    )

    id: HubId | None = Field(
        default=None, description="Id of the adapter on the hub of the model, for example me/qwen-lora."
    )
    persistent_volume_claim: ClaimPath | None = Field(
        default=None, description="Folder of the adapter on a volume, for example the checkpoint of an earlier run."
    )


class ModelSource(Model):
    """The model to fine-tune: a hub id, or a folder on a volume."""

    RULES: ClassVar = (
        one_of("id", "persistentVolumeClaim", message="model needs exactly one of id and persistentVolumeClaim"),
        Rule(
            cel="!has(self.revision) || has(self.id)",
            message="revision belongs to a model by id; a folder on a volume has none: remove revision",
            holds=lambda model: model.revision is None or model.id is not None,
            field="revision",
        ),
    )

    id: HubId | None = Field(
        default=None,
        description="Id of the model on the hub, for example Qwen/Qwen2.5-7B-Instruct. Downloaded at the start of the "
        "run, into the cache volume if there is one.",
    )
    hub: Hub | None = Field(
        default=None, description="Hub that ids refer to: modelscope (used when absent) or huggingface."
    )
    revision: Revision | None = Field(
        default=None, description="Branch, tag or commit of the model on the hub. Absent: the hub's default branch."
    )
    persistent_volume_claim: ClaimPath | None = Field(
        default=None,
        description="Folder of the model on a volume, mounted read-only. ms-swift guesses the type of a model from its "
        "folder's name; set type when the name says nothing.",
    )
    type: ModelType | None = Field(
        default=None,
        description="Type of the model in ms-swift's words (--model_type), for example qwen2. Needed when the type "
        "cannot be told from the model's name, as with /models/base.",
    )
    adapters: tuple[AdapterSource, ...] = Field(
        default=(), max_length=8, description="Adapters to go on training from, instead of fresh ones."
    )


class DatasetSource(Model):
    """One dataset: a hub id, a file on a volume, or a key of a ConfigMap."""

    RULES: ClassVar = (
        one_of(
            "id",
            "persistentVolumeClaim",
            "configMap",
            message="a dataset needs exactly one source: id, persistentVolumeClaim or configMap",
        ),
        Rule(
            cel="has(self.id) || !(has(self.hub) || has(self.subsets) && size(self.subsets) > 0)",
            message="hub and subsets belong to a dataset by id: remove them",
            holds=lambda dataset: dataset.id is not None or not (dataset.hub or dataset.subsets),
        ),
    )

    id: HubId | None = Field(
        default=None, description="Id of the dataset on the hub, for example CodyWhy/mh-sharegpt-20250820."
    )
    hub: Hub | None = Field(
        default=None, description="Hub of this dataset: modelscope or huggingface. Absent: the hub of the model."
    )
    subsets: tuple[Subset, ...] = Field(
        default=(), max_length=32, description="Subsets to read, for example [default]. Absent: the dataset's default."
    )
    sample: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="How many rows to draw. Absent: all rows. More than there are repeats rows.",
    )
    persistent_volume_claim: ClaimFile | None = Field(
        default=None,
        description="File (.jsonl, .json, .csv, .parquet) or folder on a volume; the whole claim is mounted read-only "
        "at /data/<claimName>, so that rows can name images beside the file.",
    )
    config_map: ConfigMapKey | None = Field(
        default=None, description="A small file in a ConfigMap (at most 1 MiB); its key ends in .jsonl, .json or .csv."
    )


class Validation(Model):
    """What the model is evaluated on while it trains."""

    RULES: ClassVar = (
        Rule(
            cel="!(has(self.splitRatio) && has(self.datasets) && size(self.datasets) > 0)",
            message="choose splitRatio (rows of the training data) or datasets (own data), not both",
            holds=lambda validation: not (validation.split_ratio and validation.datasets),
        ),
    )

    split_ratio: Share | None = Field(
        default=None, description='Share of the training rows to set aside for evaluation, for example "0.01".'
    )
    datasets: tuple[DatasetSource, ...] = Field(
        default=(), max_length=16, description="Datasets of their own for evaluation."
    )

    @property
    def enabled(self) -> bool:
        """Whether the run evaluates at all."""
        return self.split_ratio is not None or bool(self.datasets)


class FileSource(Model):
    """One file mounted at /swiftop/files/<name>: a plugin, a DeepSpeed JSON, a system prompt, extra tokens."""

    RULES: ClassVar = (
        one_of(
            "configMap",
            "persistentVolumeClaim",
            message="a file needs exactly one of configMap and persistentVolumeClaim",
        ),
        Rule(
            cel="!has(self.persistentVolumeClaim) || !self.persistentVolumeClaim.path.matches('(^|/)[.]/*$')",
            message="name the file: its path ends in a name, as in plugins/loss.py",
            holds=lambda file: file.basename != ".",
            field="persistentVolumeClaim.path",
        ),
    )

    config_map: ConfigMapKey | None = Field(
        default=None, description="File in a ConfigMap; mounted as /swiftop/files/<key>."
    )
    persistent_volume_claim: ClaimFile | None = Field(
        default=None, description="File on a volume; mounted as /swiftop/files/<last part of the path>."
    )

    @property
    def basename(self) -> str:
        """Name under which the file is mounted, and by which ``deepspeed`` and ``system`` refer to it."""
        if self.config_map is not None:
            return self.config_map.key
        return self.persistent_volume_claim.path.rstrip("/").rpartition("/")[2] if self.persistent_volume_claim else ""


class OutputVolume(Model):
    """A PersistentVolumeClaim made for this run."""

    size: Size = Field(
        description="Size of the volume, for example 50Gi. A LoRA checkpoint of a 7B model takes 0.5 GB."
    )
    storage_class_name: DnsSubdomain | None = Field(
        default=None, description="StorageClass of the claim. Absent: the cluster's default class."
    )
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"] = Field(
        default="ReadWriteOnce", description="Access mode of the claim; several nodes need ReadWriteMany."
    )
    retain: Literal["Retain", "Delete"] = Field(
        default="Retain",
        description="What happens to the volume when the run is deleted: Retain keeps it (a later run of this name "
        "uses it again, in a directory of its own), Delete removes it with all checkpoints.",
    )


class Output(Model):
    """Where checkpoints and logs go, always below <run name>-<first 8 characters of its UID>/."""

    RULES: ClassVar = (
        one_of(
            "persistentVolumeClaim",
            "volume",
            "ephemeral",
            cel={"ephemeral": "has(self.ephemeral) && self.ephemeral"},
            message="output needs exactly one place: persistentVolumeClaim (a claim that exists), volume (a claim "
            "made for this run) or ephemeral: true (results are lost with the pod)",
        ),
    )

    persistent_volume_claim: ClaimPath | None = Field(
        default=None, description="A claim that exists already; several runs may share it, each in its own directory."
    )
    volume: OutputVolume | None = Field(
        default=None, description="A claim <run>-output that swiftop makes for this run."
    )
    ephemeral: bool = Field(
        default=False,
        description="true: write to the pod's own disk. All checkpoints are lost with the pod: for trials only.",
    )


class Cache(Model):
    """Cache of downloaded models, datasets and tokenized data, shared by runs."""

    persistent_volume_claim: ClaimPath = Field(
        description="Claim (ReadWriteMany to be shared by runs on several nodes) for MODELSCOPE_CACHE and HF_HOME. "
        "Parallel runs wait for one another's downloads by a file lock."
    )
