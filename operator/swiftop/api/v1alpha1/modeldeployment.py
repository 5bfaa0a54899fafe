"""ModelDeployment: a model with its adapters behind an endpoint that speaks OpenAI's API."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from swiftop.api.fields import Flag, Owns, marks
from swiftop.api.v1alpha1.base import NAME_RULE, Column, Definition, Model, Scale
from swiftop.api.v1alpha1.flags import ExtraArg, field_of_flag, not_owned
from swiftop.api.v1alpha1.hub import DType, Hub, ModelType, Revision
from swiftop.api.v1alpha1.modeldeployment_status import ModelDeploymentStatus
from swiftop.api.v1alpha1.refs import ClaimFile, ClaimPath, ExportReference, RunCheckpoint, SecretKey
from swiftop.api.v1alpha1.rollout import GatePrompt, Merge, Rollout, ServedName
from swiftop.api.v1alpha1.rules import Rule, one_of
from swiftop.api.v1alpha1.scalars import HubId, Share
from swiftop.api.v1alpha1.workload import LabelName, ServingResource, WorkloadSpec
from swiftop.names import MODELDEPLOYMENT
from swiftop.reasons import ConditionType

Engine = Literal["transformers", "vllm", "sglang", "lmdeploy"]
Server = Literal["Swift", "Native", "Auto"]
ADAPTERLESS = ("sglang", "lmdeploy")
"""Engines that, started by ms-swift, drop adapters in silence and answer under their names with the base model."""
_GPU_ENGINES = ADAPTERLESS  # that have no build for the CPU


class ServedModel(Model):
    """The model that is served: a result of an export or a run, a model of a hub, or a folder on a volume."""

    RULES: ClassVar = (
        one_of(
            "exportRef",
            "sftRunRef",
            "id",
            "persistentVolumeClaim",
            message="model needs exactly one of exportRef, sftRunRef, id and persistentVolumeClaim",
        ),
        Rule(
            cel="!has(self.revision) || has(self.id)",
            message="revision belongs to a model by id: remove it",
            holds=lambda model: model.revision is None or model.id is not None,
            field="revision",
        ),
    )

    export_ref: Annotated[ExportReference | None, Owns("model")] = Field(
        default=None, description="The result of a ModelExport, on its volume."
    )
    sft_run_ref: Annotated[RunCheckpoint | None, Owns("model")] = Field(
        default=None,
        description="A checkpoint of an SFTRun. When it trained an adapter, that is merged into its model first, by a "
        "ModelExport which is made for this object (see merge).",
    )
    id: Annotated[HubId | None, Owns("model")] = Field(
        default=None,
        description="Id of the model on the hub. Downloaded at the start of each pod, into the cache volume if there "
        "is one.",
    )
    hub: Annotated[Hub | None, Owns("use_hf")] = Field(
        default=None,
        description="Hub that ids refer to, those of adapters too: modelscope (used when absent) or huggingface.",
    )
    revision: Annotated[Revision | None, Flag("model_revision")] = Field(
        default=None,
        description="Branch, tag or commit of the model on the hub. Absent: the hub's default branch, which may be "
        "another one for a pod that starts later.",
    )
    persistent_volume_claim: Annotated[ClaimPath | None, Owns("model")] = Field(
        default=None, description="Folder of the model on a volume, mounted read-only."
    )
    type: Annotated[ModelType | None, Owns("model_type")] = Field(
        default=None,
        description="Type of the model in ms-swift's words (--model_type), for example qwen2. Needed when neither its "
        "folder's name nor its files tell it. Absent with exportRef and sftRunRef: that of the training.",
    )


class ServedAdapter(Model):
    """An adapter (LoRA) that is served under a name of its own, beside the model."""

    RULES: ClassVar = (
        one_of(
            "sftRunRef",
            "exportRef",
            "id",
            "persistentVolumeClaim",
            message="an adapter needs exactly one of sftRunRef, exportRef, id and persistentVolumeClaim",
        ),
    )

    name: ServedName = Field(description="Name that clients ask for it by, as the model of a request.")
    sft_run_ref: RunCheckpoint | None = Field(default=None, description="A checkpoint of an SFTRun.")
    export_ref: ExportReference | None = Field(default=None, description="A ModelExport with merge: false.")
    id: HubId | None = Field(default=None, description="Id of the adapter on the hub of the model.")
    persistent_volume_claim: ClaimFile | None = Field(default=None, description="Folder of the adapter on a volume.")
    rank: Annotated[int | None, Owns("vllm_max_lora_rank")] = Field(
        default=None,
        ge=1,
        le=512,
        description="Rank of the adapter, for an engine that has to know the largest beforehand (vllm). Absent: as the "
        "run was told, or as the adapter's own configuration says.",
    )


class Autoscaling(Model):
    """A HorizontalPodAutoscaler on the requests in flight, a metric of the pods that the cluster has to offer."""

    RULES: ClassVar = (
        Rule(
            cel="self.min <= self.max",
            message="min must be at most max",
            holds=lambda scaling: scaling.min <= scaling.max,
            field="min",
        ),
    )

    min: int = Field(default=1, ge=1, le=1000, description="Fewest replicas.")
    max: int = Field(ge=1, le=1000, description="Most replicas.")
    target: int = Field(
        ge=1, le=10_000, description="Requests in flight per replica (swiftop_serve_in_flight) that it aims at."
    )


class ServiceOptions(Model):
    """The Service that clients reach the pods by. It has the object's own name."""

    WORD: ClassVar = "type"

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = Field(
        default="ClusterIP", description="How far it is reachable. Beyond the cluster an apiKey should be asked for."
    )
    port: int = Field(default=8000, ge=1, le=65_535, description="Port of the Service.")
    annotations: dict[LabelName, Annotated[str, Field(max_length=1024)]] = Field(
        default_factory=dict, max_length=16, description="Annotations of the Service, as load balancers read them."
    )


class Timeouts(Model):
    """Limits in time of a pod."""

    load_seconds: int = Field(
        default=1800,
        ge=1,
        le=86_400,
        description="Within which the model is downloaded and loaded, or the pod restarts.",
    )
    answer_seconds: int = Field(
        default=300, ge=1, le=86_400, description="The longest answer that a pod which is to go waits for."
    )
    drain_seconds: int = Field(
        default=10,
        ge=1,
        le=86_400,
        description="How long a pod which is to go still takes new requests, until no proxy sends it any.",
    )
    stall_seconds: int = Field(
        default=120,
        ge=1,
        le=86_400,
        description="Requests in flight and no token for so long: the engine is restarted.",
    )


class ServingSpec(WorkloadSpec):
    """All of the spec but ``engineArgs``, which refuses the flags that these set."""

    model: ServedModel = Field(description="The model that is served.")
    adapters: Annotated[tuple[ServedAdapter, ...], Owns("adapters")] = Field(
        default=(),
        max_length=16,
        description="Adapters that are served beside it, each under its own name.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    engine: Annotated[Engine, Owns("infer_backend")] = Field(
        description="What computes the answers: transformers (pt in ms-swift 3; any model, one request at a "
        "time), vllm, sglang or lmdeploy."
    )
    server: Server = Field(
        default="Swift",
        description="Whose server stands between clients and the engine. Swift: ms-swift's own, which encodes a prompt "
        "exactly as the training did. Native: the engine's own (vllm, sglang, lmdeploy), with its tool calls, guided "
        "output and speed; allowed only when it gives the model the same prompts, token for token, which each pod "
        "checks at its start. Auto: Native when that is so, else Swift; status.serving tells which, and why.",
    )
    served_model_name: Annotated[ServedName | None, Owns("served_model_name")] = Field(
        default=None, description="Name that clients ask for the model by. Absent: the name of this object."
    )
    system: Annotated[str | None, Field(max_length=8192), Flag("system")] = Field(
        default=None, description="System prompt of requests that bring none. Absent: that of the training."
    )
    template: Annotated[str | None, Field(min_length=1, max_length=64), Flag("template")] = Field(
        default=None, description="Chat template in ms-swift's words. Absent: that of the training, or the model's own."
    )
    max_model_length: Annotated[
        int | None,
        Owns("max_model_len", "vllm_max_model_len", "sglang_context_length", "lmdeploy_session_len"),
    ] = Field(default=None, ge=1, le=10_000_000, description="Most tokens of a prompt and its answer together.")
    tensor_parallel_size: Annotated[int | None, Owns("vllm_tensor_parallel_size", "sglang_tp_size", "lmdeploy_tp")] = (
        Field(default=None, ge=1, le=64, description="GPUs that share each layer. Absent: resources.gpus.")
    )
    gpu_memory_utilization: Annotated[
        Share | None,
        Owns("vllm_gpu_memory_utilization", "sglang_mem_fraction_static", "lmdeploy_cache_max_entry_count"),
    ] = Field(
        default=None,
        description='Share of the GPU memory that the engine reserves, for example "0.9"; with lmdeploy, of what is '
        "left beside the weights.",
    )
    dtype: Annotated[DType | None, Flag("torch_dtype")] = Field(
        default=None, description="Type that the weights are loaded in. Absent: that of the model."
    )
    replicas: int = Field(
        default=1,
        ge=0,
        le=1000,
        description="How many pods serve; 0 stops serving. With autoscaling only how many there are at first.",
    )
    autoscaling: Autoscaling | None = Field(default=None, description="Let the number of replicas follow the load.")
    api_key: Annotated[SecretKey | None, Owns("api_key")] = Field(
        default=None,
        description="Key that clients have to send (Authorization: Bearer ...). Absent: whoever reaches the Service "
        "may ask.",
    )
    service: Annotated[ServiceOptions, Owns("host", "port")] = Field(
        default_factory=ServiceOptions, description="The Service that clients reach the pods by."
    )
    merge: Merge | None = Field(
        default=None,
        description="How model.sftRunRef is merged when its run trained an adapter. Absent: on the volume of the run.",
    )
    rollout: Rollout = Field(default_factory=Rollout, description="How a change of the sources reaches the pods.")
    timeouts: Timeouts = Field(default_factory=Timeouts, description="Limits in time of a pod.")


# Set by swiftop alone, or in the way of what it does.
_OWN = (
    "ckpt_dir", "ignore_args_error", "load_args", "max_batch_size", "merge_lora", "owned_by", "result_path",
    "ssl_certfile", "ssl_keyfile", "val_dataset", "vllm_use_async_engine",
)  # fmt: skip
FIELD_OF_FLAG = field_of_flag((*marks(ServingSpec), *(("", flag) for flag in _OWN)))
"""Which field of the spec (in the user's spelling) sets a flag; empty when swiftop alone decides."""


class ServeArg(ExtraArg):
    """Any further flag of swift deploy, without its leading dashes."""

    RULES: ClassVar = (*ExtraArg.RULES, not_owned(FIELD_OF_FLAG, "engineArgs"))


class ModelDeploymentSpec(ServingSpec):
    """What to serve, by which engine, how often, and where."""

    RULES: ClassVar = (
        Rule(
            cel="!has(self.adapters) || size(self.adapters) == 0 || !(self.engine in ['sglang', 'lmdeploy'])",
            message="ms-swift gives sglang and lmdeploy no adapters: the names of the adapters would answer with the "
            "base model. Name the run of the adapter in model.sftRunRef, which merges it first, or use engine vllm",
            holds=lambda s: not s.adapters or s.engine not in ADAPTERLESS,
            field="adapters",
        ),
        Rule(
            cel="self.resources.gpus > 0 || !(self.engine in ['sglang', 'lmdeploy'])",
            message="sglang and lmdeploy run on GPUs only: set resources.gpus, or use engine transformers or vllm",
            holds=lambda s: s.resources.gpus > 0 or s.engine not in _GPU_ENGINES,
            field="engine",
        ),
        Rule(
            cel="self.server != 'Native' || self.engine != 'transformers'",
            message="transformers has no server of its own: use server Swift or Auto, or another engine",
            holds=lambda s: s.server != "Native" or s.engine != "transformers",
            field="server",
        ),
        Rule(
            cel="!has(self.tensorParallelSize) || self.engine != 'transformers'",
            message="transformers spreads a model over all of its GPUs by itself: remove tensorParallelSize",
            holds=lambda s: s.tensor_parallel_size is None or s.engine != "transformers",
            field="tensorParallelSize",
        ),
        Rule(
            cel="!has(self.tensorParallelSize) || self.tensorParallelSize <= (self.resources.gpus > 0 ? "
            "self.resources.gpus : 1)",
            message="tensorParallelSize must be at most resources.gpus",
            holds=lambda s: s.tensor_parallel_size is None or s.tensor_parallel_size <= max(s.resources.gpus, 1),
            field="tensorParallelSize",
        ),
        Rule(
            cel="!has(self.gpuMemoryUtilization) || self.engine != 'transformers' && self.resources.gpus > 0",
            message="gpuMemoryUtilization belongs to engines that reserve GPU memory (vllm, sglang, lmdeploy): "
            "remove it",
            holds=lambda s: s.gpu_memory_utilization is None or (s.engine != "transformers" and s.resources.gpus > 0),
            field="gpuMemoryUtilization",
        ),
        Rule(
            cel="!has(self.resources.nodes) || self.resources.nodes == 1",
            message="a replica runs on one node: remove resources.nodes",
            holds=lambda s: s.resources.nodes == 1,
            field="resources.nodes",
        ),
        Rule(
            cel="!has(self.resources.processesPerNode)",
            message="a replica is one server: use tensorParallelSize",
            holds=lambda s: s.resources.processes_per_node is None,
            field="resources.processesPerNode",
        ),
        Rule(
            cel="!has(self.rollout) || !has(self.rollout.gate) || !has(self.rollout.gate.maxEvalLoss) || "
            "has(self.model.sftRunRef) || has(self.model.exportRef) || has(self.adapters) && "
            "self.adapters.exists(a, has(a.sftRunRef) || has(a.exportRef))",
            message="maxEvalLoss is compared with the evaluation of a run: name one by sftRunRef or exportRef",
            holds=lambda s: s.rollout.gate is None or s.rollout.gate.max_eval_loss is None or s.refers,
            field="rollout.gate.maxEvalLoss",
        ),
        Rule(
            cel="!has(self.merge) || has(self.model.sftRunRef)",
            message="only the adapter of model.sftRunRef is merged: remove merge",
            holds=lambda s: s.merge is None or s.model.sft_run_ref is not None,
            field="merge",
        ),
    )

    engine_args: tuple[ServeArg, ...] = Field(
        default=(),
        max_length=64,
        description="Further flags of swift deploy, for example vllm_max_num_seqs.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )

    @property
    def gate_prompts(self) -> tuple[GatePrompt, ...]:
        """What a new pod is asked before it is ready."""
        return self.rollout.gate.prompts if self.rollout.gate else ()

    @property
    def refers(self) -> bool:
        """Whether any of what is served is another object's result."""
        sources: tuple[ServedModel | ServedAdapter, ...] = (self.model, *self.adapters)
        return any(source.sft_run_ref or source.export_ref for source in sources)

    def unique(self) -> dict[str, list[str]]:
        """Names that must be unique in their list."""
        return {
            **super().unique(),
            "adapters": [adapter.name for adapter in self.adapters],
            "engineArgs": [arg.name for arg in self.engine_args],
        }


class ModelDeployment(ServingResource):
    """A model and its adapters behind an endpoint that speaks OpenAI's API; Ready means that it has just answered."""

    FLAGS: ClassVar = FIELD_OF_FLAG
    DEFINITION: ClassVar = Definition(
        resource=MODELDEPLOYMENT,
        short="mdep",
        columns=(
            Column("Ready", "string", '.status.conditions[?(@.type=="Ready")].status'),
            Column("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason'),
            Column("Replicas", "string", ".status.display.replicas"),
            Column("Engine", "string", ".spec.engine"),
            Column("Model", "string", ".status.display.model"),
            Column("URL", "string", ".status.url"),
            Column("Tokens/s", "string", ".status.display.tokensPerSecond"),
            Column("Age", "date", ".metadata.creationTimestamp"),
            Column("Names", "string", ".status.display.names", wide=True),
            Column("Revision", "string", ".status.serving.revision", wide=True),
        ),
        conditions=(ConditionType.MODEL_READY, ConditionType.ADAPTERS_LOADED),
        summary=ConditionType.READY,
        scale=Scale(".spec.replicas", ".status.replicas", ".status.selector"),
    )
    RULES: ClassVar = (
        NAME_RULE,
        Rule(
            cel="!has(self.spec.adapters) || !self.spec.adapters.exists(a, a.name == (has(self.spec.servedModelName) ? "
            "self.spec.servedModelName : self.metadata.name))",
            message="an adapter has the name of the model itself, so that nobody could tell which of them answers: "
            "rename it, or set servedModelName",
            holds=lambda obj: obj.served_name not in [adapter.name for adapter in obj.spec.adapters],
            field="spec.adapters",
        ),
        Rule(
            cel="!has(self.spec.rollout) || !has(self.spec.rollout.gate) || !has(self.spec.rollout.gate.prompts) || "
            "self.spec.rollout.gate.prompts.all(p, !has(p.name) || p.name == (has(self.spec.servedModelName) ? "
            "self.spec.servedModelName : self.metadata.name) || has(self.spec.adapters) && "
            "self.spec.adapters.exists(a, a.name == p.name))",
            message="a prompt of the gate names nothing that is served: write the name of an adapter, or leave name "
            "out to ask the model itself",
            holds=lambda obj: all(prompt.name in (None, *obj.served_names) for prompt in obj.spec.gate_prompts),
            field="spec.rollout.gate.prompts",
        ),
    )

    api_version: Literal["swiftop.dev/v1alpha1"] = "swiftop.dev/v1alpha1"
    kind: Literal["ModelDeployment"] = "ModelDeployment"
    spec: ModelDeploymentSpec = Field(description="What to serve, by which engine, how often, and where.")
    status: ModelDeploymentStatus | None = Field(
        default=None, description="What happened so far. Written by the operator only."
    )

    @property
    def served_name(self) -> str:
        """Name of the model itself."""
        return self.spec.served_model_name or self.metadata.name

    @property
    def served_names(self) -> tuple[str, ...]:
        """All names that answer, the model's first."""
        return (self.served_name, *(adapter.name for adapter in self.spec.adapters))
