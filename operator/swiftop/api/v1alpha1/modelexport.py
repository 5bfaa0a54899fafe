"""ModelExport: from a checkpoint to a model on a volume, and from there to the hubs."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from swiftop.api.v1alpha1.base import NAME_RULE, Column, Definition, Model, Reported
from swiftop.api.v1alpha1.hub import AdapterSource, DType, Hub, ModelSource, ModelType, Revision
from swiftop.api.v1alpha1.publish import PushTarget, TargetStatus
from swiftop.api.v1alpha1.quantization import ON_GPU, ExportQuantization
from swiftop.api.v1alpha1.refs import ClaimFile, RunCheckpoint
from swiftop.api.v1alpha1.rules import Rule, one_of
from swiftop.api.v1alpha1.scalars import HubId
from swiftop.api.v1alpha1.status import BatchStatus
from swiftop.api.v1alpha1.workload import BatchResource, BatchSpec, Output, Resources
from swiftop.names import MODELEXPORT
from swiftop.reasons import ConditionType


class ExportSource(Model):
    """What is exported: a checkpoint of a run, a folder on a volume, or a model of a hub with adapters."""

    RULES: ClassVar = (
        one_of(
            "sftRunRef",
            "persistentVolumeClaim",
            "id",
            message="source needs exactly one of sftRunRef, persistentVolumeClaim and id",
        ),
        Rule(
            cel="!has(self.base) || has(self.persistentVolumeClaim)",
            message="base belongs to an adapter on a volume (a run knows its own, and with id it is the id): remove it",
            holds=lambda source: source.base is None or source.persistent_volume_claim is not None,
            field="base",
        ),
        Rule(
            cel="has(self.id) || !has(self.hub) && !has(self.revision) && (!has(self.adapters)"
            " || size(self.adapters) == 0)",
            message="hub, revision and adapters belong to a source by id: remove them",
            holds=lambda source: bool(source.id) or not (source.hub or source.revision or source.adapters),
        ),
    )

    sft_run_ref: RunCheckpoint | None = Field(default=None, description="A checkpoint of an SFTRun.")
    persistent_volume_claim: ClaimFile | None = Field(
        default=None, description="Folder of an adapter, of a checkpoint or of a whole model on a volume."
    )
    base: ModelSource | None = Field(
        default=None,
        description="Model that the adapter on the volume belongs to. Absent: the one that the folder itself names.",
    )
    id: HubId | None = Field(default=None, description="Id of the model on the hub.")
    hub: Hub | None = Field(
        default=None, description="Hub that ids refer to: modelscope (used when absent) or huggingface."
    )
    revision: Revision | None = Field(
        default=None, description="Branch, tag or commit of the model. Absent: the hub's default branch."
    )
    type: ModelType | None = Field(
        default=None,
        description="Type of the model in ms-swift's words (--model_type). Needed when its name does not tell it.",
    )
    adapters: tuple[AdapterSource, ...] = Field(
        default=(), max_length=1, description="Adapter to merge into the model of that id."
    )


class ModelExportSpec(BatchSpec):
    """What to export, how, and where to."""

    RULES: ClassVar = (
        Rule(
            cel="!has(self.dtype) || !has(self.merge) || self.merge",
            message="an adapter keeps its type: remove merge: false, or dtype",
            holds=lambda s: s.dtype is None or s.merge,
            field="dtype",
        ),
        Rule(
            cel="!has(self.resources) || !has(self.resources.nodes) || self.resources.nodes == 1",
            message="an export runs on one node: remove resources.nodes",
            holds=lambda s: s.resources.nodes == 1,
            field="resources.nodes",
        ),
        Rule(
            cel="!has(self.push) || self.push.all(one, self.push.filter(other, other.hub == one.hub"
            " && other.repo == one.repo).size() == 1)",
            message="push names a repository twice: keep one, or use another ModelExport for another revision",
            holds=lambda s: len({(target.hub, target.repo) for target in s.push}) == len(s.push),
            field="push",
        ),
        Rule(
            cel="!(has(self.output.ephemeral) && self.output.ephemeral) || has(self.push) && size(self.push) > 0",
            message="the result would be lost with the pod: name a volume, or push",
            holds=lambda s: not s.output.ephemeral or bool(s.push),
            field="output",
        ),
        Rule(
            cel="!has(self.quantization) || !has(self.merge) || self.merge",
            message="an adapter by itself is not quantized: remove merge: false, or quantization",
            holds=lambda s: s.quantization is None or s.merge,
            field="quantization",
        ),
        Rule(
            cel="!has(self.quantization) || !has(self.dtype) || self.dtype != 'float32'",
            message="beside quantized weights the others have 16 bits: set dtype to float16 or bfloat16, or remove it",
            holds=lambda s: s.quantization is None or s.dtype != "float32",
            field="dtype",
        ),
        Rule(
            cel="!has(self.quantization) || self.quantization.method != 'awq' || !has(self.dtype)"
            " || self.dtype != 'bfloat16'",
            message="awq computes in float16: set dtype: float16, or remove it",
            holds=lambda s: s.quantization is None or s.quantization.method != "awq" or s.dtype != "bfloat16",
            field="dtype",
        ),
        Rule(
            cel=f"!has(self.quantization) || !(self.quantization.method in {list(ON_GPU)})"
            " || has(self.resources) && self.resources.gpus > 0",
            message="this method needs a GPU: set resources.gpus, or use method: bnb",
            holds=lambda s: s.quantization is None or s.quantization.method not in ON_GPU or s.resources.gpus > 0,
            field="quantization.method",
        ),
    )

    source: ExportSource = Field(description="What is exported.")
    merge: bool = Field(
        default=True,
        description="Merge the adapter into its model. false: the adapter itself is exported. Full-tuned checkpoints "
        "have nothing to merge and are converted.",
    )
    dtype: DType | None = Field(
        default=None,
        description="Type of the weights; of a quantized model that of all others, and of what it computes with. "
        "Absent: that in which the training loaded the model, float16 with awq and gptq.",
    )
    quantization: ExportQuantization | None = Field(
        default=None,
        description="Store the model with fewer bits per weight: it is merged and verified first, then quantized and "
        "verified again. The volume has to hold both for a while.",
    )
    output: Output = Field(description="Where the model goes: in the folder model of status.output.")
    push: tuple[PushTarget, ...] = Field(
        default=(), max_length=4, description="Repositories that the result is published to."
    )
    verify: Literal["Auto", "Skip"] = Field(
        default="Auto",
        description="Auto: every tensor is read, and the result is compared with model and adapter on the CPU. Skip: "
        "the files are listed only.",
    )
    bake_template: bool = Field(
        default=False,
        description="Write a chat template into the result that gives the same tokens as the training did, where the "
        "model's own one does not (status.artifact.templateEqual).",
    )
    resources: Resources = Field(
        default_factory=lambda: Resources(gpus=0),
        description="What the pod gets. Absent: no GPU, and memory by the size of the model.",
    )


class Artifact(Reported):
    """The result on the volume."""

    claim_name: str = Field(default="", description="PersistentVolumeClaim that it lies on.")
    path: str = Field(default="", description="Its folder on that claim.")
    digest: str = Field(
        default="", description="sha256: and the SHA-256 of what sha256sum prints for its files, sorted by path."
    )
    bytes: int | None = Field(default=None, description="Size of its files.")
    dtype: str | None = Field(default=None, description="Type of its weights.")
    quantization: str | None = Field(
        default=None, description="Method and bits of its quantization, as awq-int4 or fp8. Absent: it has none."
    )
    eval_loss: float | None = Field(
        default=None, description="Loss of the last evaluation of the checkpoint that it was made of."
    )
    template_equal: bool | None = Field(
        default=None,
        description="Whether its chat template gives the same tokens as that of the training. Absent: not compared, or "
        "ms-swift has no template to compare with.",
    )


class ExportProgress(Reported):
    """How far the current step is."""

    phase: str = Field(default="", description="Preparing, Merging, Verifying, Quantizing, Pushing or Finished.")
    bytes_done: int | None = Field(default=None, description="Bytes of the step that are done.")
    bytes_total: int | None = Field(default=None, description="Bytes of the step in all.")
    eta_seconds: int | None = Field(default=None, description="Expected seconds until the end of the step.")


class ExportDisplay(Reported):
    """Ready-made texts for the columns of kubectl get. Not an API: read the other fields."""

    source: str | None = Field(default=None, description="What is exported.")
    dtype: str | None = Field(default=None, description="Type of the weights, or what they are quantized by.")
    targets: str | None = Field(default=None, description="Where it is pushed to, and how many are done.")
    size: str | None = Field(default=None, description="Size of the result.")
    progress: str | None = Field(default=None, description="Step, and how much of it is done.")
    eta: str | None = Field(default=None, description="Time until the end of the step.")


class ModelExportStatus(BatchStatus):
    """What happened so far. Written by the operator only."""

    artifact: Artifact | None = Field(default=None, description="The result on the volume.")
    targets: tuple[TargetStatus, ...] = Field(
        default=(),
        description="The repositories, in the order of spec.push.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    progress: ExportProgress | None = Field(default=None, description="How far the current step is.")
    display: ExportDisplay | None = Field(default=None, description="Ready-made texts for kubectl get. Not an API.")


_DISPLAY = ".status.display"


class ModelExport(BatchResource):
    """A checkpoint merged or converted into a model, verified, and published to hubs if asked."""

    DEFINITION: ClassVar = Definition(
        resource=MODELEXPORT,
        short="mexp",
        columns=(
            Column("Status", "string", ".status.state"),
            Column("Reason", "string", '.status.conditions[?(@.type=="Succeeded")].reason'),
            Column("Source", "string", f"{_DISPLAY}.source"),
            Column("DType", "string", f"{_DISPLAY}.dtype"),
            Column("Targets", "string", f"{_DISPLAY}.targets"),
            Column("Size", "string", f"{_DISPLAY}.size"),
            Column("Age", "date", ".metadata.creationTimestamp"),
            Column("Progress", "string", f"{_DISPLAY}.progress", wide=True),
            Column("ETA", "string", f"{_DISPLAY}.eta", wide=True),
            Column("Digest", "string", ".status.artifact.digest", wide=True),
        ),
        conditions=(
            ConditionType.SOURCE_READY,
            ConditionType.MERGED,
            ConditionType.VERIFIED,
            ConditionType.PUSHED,
        ),
        changeable=("suspend", "lifecycle"),
    )
    RULES: ClassVar = (NAME_RULE,)

    kind: Literal["ModelExport"] = "ModelExport"
    spec: ModelExportSpec = Field(description="What to export, how, and where to.")
    status: ModelExportStatus | None = Field(
        default=None, description="What happened so far. Written by the operator only."
    )
