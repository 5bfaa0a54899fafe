"""SFTRun: one supervised fine-tuning run. The members of its spec live in hub.py, training.py and workload.py."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from swiftop.api.v1alpha1.base import NAME_RULE, Column, Definition, Model
from swiftop.api.v1alpha1.checkpoints import Checkpoints, CheckpointSource
from swiftop.api.v1alpha1.elsewhere import FIELD_OF_NAME
from swiftop.api.v1alpha1.hub import DatasetSource, ModelSource
from swiftop.api.v1alpha1.refs import ClaimFile, ConfigMapKey
from swiftop.api.v1alpha1.rules import Rule, one_of
from swiftop.api.v1alpha1.sft_args import FIELD_OF_FLAG, SFTArg
from swiftop.api.v1alpha1.sftrun_status import SFTRunStatus
from swiftop.api.v1alpha1.tracking import Tracking
from swiftop.api.v1alpha1.training import FLASH_ATTENTION, Training, Validation
from swiftop.api.v1alpha1.tuner import Tuner
from swiftop.api.v1alpha1.workload import BatchResource, BatchSpec, Output
from swiftop.names import SFTRUN
from swiftop.reasons import ConditionType


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


def _trains_on(source: CheckpointSource | None, max_steps: int | None) -> bool:
    """Whether a training that goes on from ``source`` has steps left, as far as the spec tells."""
    if source is None or source.weights_only or source.sft_run_ref.step is None or max_steps is None:
        return True
    return max_steps > source.sft_run_ref.step


class SFTRunSpec(BatchSpec):
    """What to train, on what, how, and where."""

    INSTEAD: ClassVar = {
        "lora": "use spec.tuner: {type: lora, rank: 8, alpha: 32}",
        "qlora": "use spec.tuner: {type: lora, quantization: {method: bnb, bits: 4}}",
        "full": "use spec.tuner: {type: full}",
    }
    RULES: ClassVar = (
        Rule(
            cel="!(has(self.training) && has(self.training.streaming) && self.training.streaming"
            " && has(self.validation) && has(self.validation.splitRatio))",
            message="a stream cannot be split, ms-swift would never evaluate: use validation.datasets, or remove "
            "training.streaming",
            holds=lambda s: not (s.training.streaming and s.validation.split_ratio),
            field="validation",
        ),
        Rule(
            cel="!(has(self.training) && has(self.training.deepspeed)) || self.resources.gpus > 0",
            message="DeepSpeed needs GPUs: set resources.gpus, or remove training.deepspeed",
            holds=lambda s: s.training.deepspeed is None or s.resources.gpus > 0,
            field="training.deepspeed",
        ),
        Rule(
            cel="!(has(self.training) && has(self.training.attention)"
            " && self.training.attention.startsWith('flash_att')) || self.resources.gpus > 0",
            message="a flash attention needs GPUs: set resources.gpus, or use training.attention: sdpa without packing",
            holds=lambda s: s.training.attention not in FLASH_ATTENTION or s.resources.gpus > 0,
            field="training.attention",
        ),
        Rule(
            cel="!(has(self.training) && has(self.training.sequenceParallelSize)) || self.resources.nodes"
            " * (has(self.resources.processesPerNode) ? self.resources.processesPerNode"
            " : self.resources.gpus > 0 ? self.resources.gpus : 1) % self.training.sequenceParallelSize == 0",
            message="all processes (resources.gpus times nodes) are divided into groups of this size: set a divisor of "
            "their number",
            holds=lambda s: s.resources.world_size % (s.training.sequence_parallel_size or 1) == 0,
            field="training.sequenceParallelSize",
        ),
        Rule(
            cel="!(has(self.training) && has(self.training.globalBatchSize)) || self.training.globalBatchSize"
            " * (has(self.training.sequenceParallelSize) ? self.training.sequenceParallelSize : 1)"
            " % (self.resources.nodes * (has(self.resources.processesPerNode) ? self.resources.processesPerNode"
            " : self.resources.gpus > 0 ? self.resources.gpus : 1)) == 0",
            message="all processes (resources.gpus times nodes, over sequenceParallelSize) take the same share of a "
            "step: set a multiple of their number",
            holds=lambda s: (s.training.global_batch_size or 0) % s.data_parallel_size == 0,
            field="training.globalBatchSize",
        ),
        Rule(
            cel="!(has(self.training) && has(self.training.acceleration)"
            " && self.training.acceleration == 'Approximate') || self.resources.gpus > 0 && (!has(self.tuner)"
            " || self.tuner.type == 'lora' && !has(self.tuner.quantization))",
            message="Approximate computes the frozen weights of a LoRA in 8 bits on GPUs: use tuner.type: lora without "
            "quantization and set resources.gpus, or use acceleration: Auto",
            holds=lambda s: (
                s.training.acceleration != "Approximate" or (s.accelerable and s.tuner.quantization is None)
            ),
            field="training.acceleration",
        ),
        Rule(
            cel="!(has(self.training) && has(self.training.deepspeed)) || !has(self.resources.processesPerNode)"
            " || self.resources.processesPerNode >= self.resources.gpus",
            message="DeepSpeed drives one GPU per process: remove resources.processesPerNode, or set it to "
            "resources.gpus",
            holds=lambda s: s.training.deepspeed is None or s.resources.processes >= s.resources.gpus,
            field="resources.processesPerNode",
        ),
        Rule(
            cel="!(has(self.training) && has(self.training.liger) && self.training.liger)"
            " || !has(self.resources.processesPerNode) || self.resources.processesPerNode >= self.resources.gpus",
            message="the Liger kernels want one GPU per process: remove resources.processesPerNode, or training.liger",
            holds=lambda s: not s.training.liger or s.resources.processes >= s.resources.gpus,
            field="resources.processesPerNode",
        ),
        Rule(
            cel="!(has(self.training) && has(self.training.deepspeed) && self.training.deepspeed.endsWith('.json'))"
            " || has(self.files) && self.files.exists(f, has(f.configMap) && f.configMap.key == self.training.deepspeed"
            " || has(f.persistentVolumeClaim) && ('/' + f.persistentVolumeClaim.path)"
            ".endsWith('/' + self.training.deepspeed))",
            message="training.deepspeed names a file that is not among files: add it there, or use zero0 to zero3",
            holds=lambda s: (
                not (s.training.deepspeed or "").endswith(".json")
                or s.training.deepspeed in {file.basename for file in s.files}
            ),
            field="training.deepspeed",
        ),
        Rule(
            cel="has(self.datasets) && size(self.datasets) > 0"
            " || has(self.extraArgs) && self.extraArgs.exists(a, a.name == 'cached_dataset')",
            message="nothing to learn from: name at least one dataset, or tokenized data by extraArgs (cached_dataset)",
            holds=lambda s: bool(s.datasets) or any(arg.name == "cached_dataset" for arg in s.extra_args),
            field="datasets",
        ),
        Rule(
            cel="!(has(self.checkpoints) && has(self.checkpoints.from)) || !has(self.model.adapters)"
            " || size(self.model.adapters) == 0",
            message="the training starts from one place: remove checkpoints.from (it brings the adapter of that run) "
            "or model.adapters",
            holds=lambda s: s.checkpoints.source is None or not s.model.adapters,
            field="checkpoints.from",
        ),
        Rule(
            cel="!(has(self.checkpoints) && has(self.checkpoints.from) && has(self.checkpoints.from.sftRunRef.step)"
            " && !(has(self.checkpoints.from.weightsOnly) && self.checkpoints.from.weightsOnly)"
            " && has(self.training) && has(self.training.maxSteps))"
            " || self.training.maxSteps > self.checkpoints.from.sftRunRef.step",
            message="steps are counted on from the checkpoint, so nothing would be trained: set training.maxSteps "
            "above checkpoints.from.sftRunRef.step, or weightsOnly: true to begin at step 0",
            holds=lambda s: _trains_on(s.checkpoints.source, s.training.max_steps),
            field="training.maxSteps",
        ),
        Rule(
            cel="self.resources.nodes == 1 || !(has(self.output.ephemeral) && self.output.ephemeral)"
            " && (!has(self.output.volume) || self.output.volume.accessMode == 'ReadWriteMany')",
            message="several nodes write to one output: use output.volume with accessMode: ReadWriteMany, or a "
            "persistentVolumeClaim of that mode",
            holds=lambda s: (
                s.resources.nodes == 1
                or (
                    not s.output.ephemeral
                    and (s.output.volume is None or s.output.volume.access_mode == "ReadWriteMany")
                )
            ),
            field="output",
        ),
    )

    model: ModelSource = Field(description="The model to fine-tune: a hub id, or a folder on a volume.")
    datasets: tuple[DatasetSource, ...] = Field(
        default=(),
        max_length=32,
        description="What the model learns from; several datasets are mixed. Absent only with tokenized data in "
        "extraArgs: cached_dataset, whose paths are below /data/<claimName>/.",
    )
    validation: Validation = Field(
        default_factory=Validation, description="What the model is evaluated on. Absent: no evaluation."
    )
    files: tuple[FileSource, ...] = Field(
        default=(),
        max_length=32,
        description="Files that the training needs: plugins, a DeepSpeed JSON, prompts. Mounted at /swiftop/files/.",
    )
    tuner: Tuner = Field(default_factory=Tuner, description="Which parameters are trained. Absent: LoRA.")
    training: Training = Field(default_factory=Training, description="How to train. Absent: ms-swift's own defaults.")
    checkpoints: Checkpoints = Field(
        default_factory=Checkpoints, description="When checkpoints are written, how many stay, and resuming from them."
    )
    output: Output = Field(description="Where checkpoints and logs go.")
    tracking: Tracking = Field(
        default_factory=Tracking, description="Where metrics are shown besides the status of the run."
    )
    extra_args: tuple[SFTArg, ...] = Field(
        default=(),
        max_length=64,
        description="Any further flag of ms-swift, checked against the flags of the version.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )

    @property
    def data_parallel_size(self) -> int:
        """Processes, or groups of them, that each take a share of the batch of a step."""
        return max(1, self.resources.world_size // (self.training.sequence_parallel_size or 1))

    @property
    def accelerable(self) -> bool:
        """Whether there is anything to accelerate: layers of LoRA on GPUs."""
        return self.tuner.type == "lora" and self.resources.gpus > 0

    def unique(self) -> dict[str, list[str]]:
        """Two files of one name would be mounted at one path, and of a flag given twice the later one would win."""
        own = {
            "files": [file.basename for file in self.files],
            "extraArgs": [arg.name for arg in self.extra_args],
        }
        return {**super().unique(), **own}


_DISPLAY = ".status.display"


class SFTRun(BatchResource):
    """One supervised fine-tuning run of a language model with ms-swift, resumed after interruptions until it ends."""

    FLAGS: ClassVar = FIELD_OF_FLAG
    ELSEWHERE: ClassVar = FIELD_OF_NAME
    DEFINITION: ClassVar = Definition(
        resource=SFTRUN,
        short="sft",
        columns=(
            Column("Status", "string", ".status.state"),
            Column("Reason", "string", '.status.conditions[?(@.type=="Succeeded")].reason'),
            Column("Progress", "string", f"{_DISPLAY}.progress"),
            Column("ETA", "string", f"{_DISPLAY}.eta"),
            Column("Loss", "string", f"{_DISPLAY}.loss"),
            Column("GPUs", "string", f"{_DISPLAY}.gpus"),
            Column("Age", "date", ".metadata.creationTimestamp"),
            Column("Model", "string", f"{_DISPLAY}.model", wide=True),
            Column("Dataset", "string", f"{_DISPLAY}.dataset", wide=True),
            Column("Checkpoint", "integer", ".status.checkpoint.step", wide=True),
            Column("Tracker", "string", ".status.tracking.url", wide=True),
            Column("Attempts", "integer", ".status.attempts", wide=True),
        ),
        conditions=(
            ConditionType.CHECKPOINT_AVAILABLE,
            ConditionType.PROGRESS_AVAILABLE,
            ConditionType.DATA_COMPLETE,
            ConditionType.ACCELERATED,
        ),
        changeable=("suspend", "lifecycle"),
    )
    RULES: ClassVar = (
        NAME_RULE,
        Rule(
            cel="!(has(self.spec.checkpoints) && has(self.spec.checkpoints.from))"
            " || self.spec.checkpoints.from.sftRunRef.name != self.metadata.name",
            message="a run cannot wait for its own end: name another SFTRun (after an interruption a run resumes from "
            "its own checkpoints by itself)",
            holds=lambda run: (
                run.spec.checkpoints.source is None or run.spec.checkpoints.source.sft_run_ref.name != run.metadata.name
            ),
            field="spec.checkpoints.from.sftRunRef.name",
        ),
    )

    kind: Literal["SFTRun"] = "SFTRun"
    spec: SFTRunSpec = Field(description="What to train, on what, how, and where.")
    status: SFTRunStatus | None = Field(default=None, description="What happened so far. Written by the operator only.")
