"""Models, adapters and datasets: by hub id, or on a volume."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from swiftop.api.fields import Flag, Owns
from swiftop.api.v1alpha1.base import Model
from swiftop.api.v1alpha1.refs import ClaimFile, ClaimPath, ConfigMapKey, UploadReference
from swiftop.api.v1alpha1.rules import Rule, one_of
from swiftop.api.v1alpha1.scalars import DatasetId, HubId, ModelId

Hub = Literal["modelscope", "huggingface"]
DType = Literal["float16", "bfloat16", "float32"]
ModelType = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Revision = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")]
Subset = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^:/#\s]+$")]


_PATH = "use persistentVolumeClaim: {claimName: ..., path: ...}, or id for what is on a hub"

# What ms-swift hands to the datasets library by its ending, in these very letters (_load_dataset_path, loader.py).
_ROWS = "[.](jsonl|json|csv|parquet|arrow|txt)$"
_TYPES = ".jsonl, .json, .csv, .parquet, .arrow and .txt"
_ENDING = "[^/][.][A-Za-z][A-Za-z0-9]{0,9}$"  # of a file; what ends in a number is the version of a folder


def is_rows_file(path: str) -> bool:
    """Whether the path is that of a file which ms-swift reads; without such an ending it is that of a folder."""
    return bool(re.search(_ROWS, path))


def _readable(path: str) -> bool:
    return not re.search(_ENDING, path) or is_rows_file(path)


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

    INSTEAD: ClassVar = {"name": "use id", "path": _PATH}
    RULES: ClassVar = (
        one_of("id", "persistentVolumeClaim", message="model needs exactly one of id and persistentVolumeClaim"),
        Rule(
            cel="!has(self.revision) || has(self.id)",
            message="revision belongs to a model by id; a folder on a volume has none: remove revision",
            holds=lambda model: model.revision is None or model.id is not None,
            field="revision",
        ),
    )

    id: Annotated[ModelId | None, Owns("model")] = Field(
        default=None,
        description="Id of the model on the hub, for example Qwen/Qwen2.5-7B-Instruct, or of a folder in it, as "
        "me/models:checkpoint-100. Downloaded at the start of the run, into the cache volume if there is one.",
    )
    hub: Annotated[Hub | None, Owns("use_hf")] = Field(
        default=None, description="Hub that ids refer to: modelscope (used when absent) or huggingface."
    )
    revision: Annotated[Revision | None, Flag("model_revision")] = Field(
        default=None, description="Branch, tag or commit of the model on the hub. Absent: the hub's default branch."
    )
    persistent_volume_claim: Annotated[ClaimPath | None, Owns("model")] = Field(
        default=None,
        description="Folder of the model on a volume, mounted read-only. ms-swift guesses the type of a model from its "
        "folder's name; set type when the name says nothing.",
    )
    type: Annotated[ModelType | None, Flag("model_type")] = Field(
        default=None,
        description="Type of the model in ms-swift's words (--model_type), for example qwen2. Needed when the type "
        "cannot be told from the model's name, as with /models/base.",
    )
    adapters: Annotated[tuple[AdapterSource, ...], Owns("adapters")] = Field(
        default=(), max_length=8, description="Adapters to go on training from, instead of fresh ones."
    )


class NamedDataset(Model):
    """What names rows by itself: a hub id, a file on a volume, or a key of a ConfigMap."""

    INSTEAD: ClassVar = {"name": "use id", "path": _PATH}
    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.id) || !(has(self.hub) || has(self.subsets) && size(self.subsets) > 0)",
            message="hub and subsets belong to a dataset by id: remove them",
            holds=lambda dataset: dataset.id is not None or not (dataset.hub or dataset.subsets),
        ),
        Rule(
            cel="has(self.id) || !has(self.revision)",
            message="revision belongs to a dataset by id: remove it (uploadRef takes the revision that was uploaded)",
            holds=lambda dataset: dataset.id is not None or dataset.revision is None,
            field="revision",
        ),
        Rule(
            cel=f"!has(self.configMap) || self.configMap.key.matches('{_ROWS}')",
            message=f"ms-swift tells the type of a file by its ending, and reads {_TYPES}: rename the key",
            holds=lambda dataset: dataset.config_map is None or is_rows_file(dataset.config_map.key),
            field="configMap.key",
        ),
        Rule(
            cel="!has(self.persistentVolumeClaim) || !has(self.persistentVolumeClaim.path)"
            f" || !self.persistentVolumeClaim.path.matches('{_ENDING}')"
            f" || self.persistentVolumeClaim.path.matches('{_ROWS}')",
            message=f"ms-swift tells the type of a file by its ending, and reads {_TYPES}: rename the file (of a "
            "folder, let the path end in /)",
            holds=lambda dataset: (
                dataset.persistent_volume_claim is None or _readable(dataset.persistent_volume_claim.path)
            ),
            field="persistentVolumeClaim.path",
        ),
    )

    id: DatasetId | None = Field(
        default=None, description="Id of the dataset on the hub, for example CodyWhy/mh-sharegpt-20250820."
    )
    hub: Hub | None = Field(
        default=None, description="Hub of this dataset: modelscope or huggingface. Absent: the hub of the model."
    )
    revision: Revision | None = Field(
        default=None,
        description="Branch, tag or commit of the dataset on its hub; in the command it stands as id@revision, which "
        "--custom_dataset_info explains to ms-swift. Absent: the hub's default branch.",
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
        description="File (.jsonl, .json, .csv, .parquet, .arrow, .txt) or folder on a volume; the whole claim is "
        "mounted read-only at /data/<claimName>, so that rows can name images beside the file.",
    )
    config_map: ConfigMapKey | None = Field(
        default=None,
        description="A small file in a ConfigMap (at most 1 MiB); its key ends as the name of a file does.",
    )


class DatasetSource(NamedDataset):
    """One dataset: a hub id, what a DatasetUpload uploads, a file on a volume, or a key of a ConfigMap."""

    RULES: ClassVar = (
        one_of(
            "id",
            "persistentVolumeClaim",
            "configMap",
            "uploadRef",
            message="a dataset needs exactly one source: id, persistentVolumeClaim, configMap or uploadRef",
        ),
        *NamedDataset.RULES,
    )

    upload_ref: UploadReference | None = Field(
        default=None,
        description="What a DatasetUpload of the namespace uploads. The run waits for its end, reads the repository at "
        "exactly that commit, and stays with it: see status.resolved.datasets.",
    )
