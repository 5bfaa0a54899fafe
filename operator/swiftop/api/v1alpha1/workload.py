"""What every workload has: resources, placement, runtime, credentials, cache, output, lifecycle."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from swiftop.api import pod_form
from swiftop.api.v1alpha1.base import CustomResource, Model
from swiftop.api.v1alpha1.refs import ClaimPath, ConfigMapKey, LocalObjectReference, SecretKey
from swiftop.api.v1alpha1.rules import Rule, matching, one_of
from swiftop.api.v1alpha1.scalars import Cpu, DnsSubdomain, Size

LabelName = Annotated[str, Field(max_length=317, pattern=r"^([-.a-z0-9]+/)?[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$")]
LabelValue = Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?)?$")]
Image = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\s]+$")]
GpuResource = Annotated[str, Field(max_length=317, pattern=r"^[-.a-z0-9]+/[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$")]
GroupId = Annotated[int, Field(strict=True, ge=1, le=2_147_483_647)]


class Credentials(Model):
    """Secrets in the same namespace. They reach the pod as references; swiftop itself never reads one."""

    secret_name: DnsSubdomain | None = Field(
        default=None,
        description="A Secret with keys named like the variables: SWANLAB_API_KEY, MODELSCOPE_API_TOKEN, HF_TOKEN. "
        "Absent: swiftop-credentials. Make it with kubectl swift login .env",
    )
    swanlab_api_key: SecretKey | None = Field(default=None, description="Own place of SWANLAB_API_KEY.")
    modelscope_api_token: SecretKey | None = Field(
        default=None, description="Own place of MODELSCOPE_API_TOKEN; naming it makes it required (private models)."
    )
    hf_token: SecretKey | None = Field(
        default=None, description="Own place of HF_TOKEN; naming it makes it required (gated or private models)."
    )


class GpuClaim(Model):
    """A ResourceClaim that brings the GPUs of a pod (dynamic resource allocation)."""

    RULES: ClassVar = (
        one_of(
            "resourceClaimTemplateName",
            "resourceClaimName",
            message="gpuClaim needs exactly one of resourceClaimTemplateName and resourceClaimName",
        ),
    )

    resource_claim_template_name: DnsSubdomain | None = Field(
        default=None, description="A ResourceClaimTemplate of the namespace: each pod gets a claim of its own."
    )
    resource_claim_name: DnsSubdomain | None = Field(
        default=None, description="A ResourceClaim of the namespace, which all pods share."
    )


class Resources(Model):
    """What each node gets."""

    RULES: ClassVar = (
        Rule(
            cel="!has(self.gpuClaim) || self.gpus > 0",
            message="say in resources.gpus how many GPUs the claim brings to a pod: so many processes train",
            holds=lambda r: r.gpu_claim is None or r.gpus > 0,
            field="gpus",
        ),
        Rule(
            cel="!has(self.processesPerNode) || self.gpus == 0 || self.processesPerNode <= self.gpus",
            message="processes cannot share a GPU: set processesPerNode to at most gpus, or remove it",
            holds=lambda r: r.processes_per_node is None or r.gpus == 0 or r.processes_per_node <= r.gpus,
            field="processesPerNode",
        ),
    )

    gpus: int = Field(
        ge=0, le=1024, description="GPUs of each pod, each with a process when it trains. 0: the CPU alone."
    )
    gpu_resource: GpuResource | None = Field(
        default=None,
        description="Name of the GPU resource, for example nvidia.com/gpu.shared. Absent: the platform's, or "
        "nvidia.com/gpu.",
    )
    gpu_claim: GpuClaim | None = Field(
        default=None,
        description="ResourceClaim that brings the GPUs, in place of gpuResource; gpus says how many there are in it.",
    )
    nodes: int = Field(
        default=1, ge=1, le=1024, description="Nodes that train together, one pod each. Several need a shared output."
    )
    processes_per_node: int | None = Field(
        default=None, ge=1, le=1024, description="Training processes per node. Absent: one per GPU (one on the CPU)."
    )
    cpu: Cpu | None = Field(
        default=None, description="CPU cores per node, requested and limited. Absent: chosen from the number of GPUs."
    )
    memory: Size | None = Field(
        default=None, description="Memory per node, requested and limited. Absent: chosen from the number of GPUs."
    )
    shared_memory: Size | None = Field(
        default=None, description="Size of /dev/shm, part of memory. Absent: chosen when there are GPUs."
    )
    ephemeral_storage: Size | None = Field(
        default=None,
        description="Local disk of each node for /tmp, with downloads where no cache is set, and for an ephemeral "
        "output: requested and limited. Absent: 1Gi requested, 20Gi for downloads beside GPUs or of what is exported; "
        "limit 100Gi and as much per GPU.",
    )

    @property
    def processes(self) -> int:
        """Training processes per node."""
        return self.processes_per_node or max(self.gpus, 1)

    @property
    def world_size(self) -> int:
        """Training processes on all nodes."""
        return self.processes * self.nodes


class Toleration(Model):
    """A taint that the pods tolerate, as in a pod."""

    key: LabelName | None = Field(default=None, description="Key of the taint. Absent: all keys, with operator Exists.")
    operator: Literal["Exists", "Equal", "Lt", "Gt"] | None = Field(
        default=None, description="How the value is compared. Absent: Equal."
    )
    value: LabelValue | None = Field(default=None, description="Value of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint. Absent: all effects."
    )
    toleration_seconds: int | None = Field(
        default=None, ge=0, le=2_147_483_647, description="How long NoExecute is tolerated. Absent: for ever."
    )


class Placement(Model):
    """Where the pods may run."""

    priority_class_name: DnsSubdomain | None = Field(default=None, description="PriorityClass of the pods.")
    scheduler_name: DnsSubdomain | None = Field(default=None, description="Scheduler. Absent: Kubernetes' default one.")
    node_selector: dict[LabelName, LabelValue] = Field(
        default_factory=dict, max_length=32, description="Labels that a node must have."
    )
    tolerations: tuple[Toleration, ...] = Field(default=(), max_length=32, description="Taints that the pods tolerate.")
    affinity: dict[str, Any] | None = Field(
        default=None,
        description="Affinity of the pods, as in a pod (kubectl explain pod.spec.affinity).",
        json_schema_extra=pod_form.in_schema(
            pod_form.AFFINITY,
            nodeAffinity="Nodes to prefer or to require.",
            podAffinity="Pods to be near to.",
            podAntiAffinity="Pods to keep away from.",
        ),
    )


class Lifecycle(Model):
    """Retries and limits in time. With ``suspend`` the one part of the spec that may still change after the start."""

    INSTEAD: ClassVar = {"backoffLimit": "use maxRetries"}

    max_retries: int = Field(
        default=3,
        ge=0,
        le=100,
        description="How often a failure that may pass (network, hub, collective, node, stall) is answered by a new "
        "attempt, with growing pauses. Interruptions such as evictions do not count. 0: never.",
    )
    active_deadline_seconds: int | None = Field(
        default=None, ge=1, le=2_147_483_647, description="End an attempt as failed this long after its start."
    )
    pending_deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=2_147_483_647,
        description="End the object as failed when its first container has not started for this long. Absent: it "
        "waits without limit.",
    )
    stall_seconds: int | None = Field(
        default=None,
        ge=60,
        le=2_147_483_647,
        description="End an attempt as stalled when no step is finished for this long (evaluating and saving aside; "
        "before the first step at least 30 minutes). A new attempt goes on from the last checkpoint.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=2_147_483_647,
        description="Delete the Job and its pods, with their logs, this long after the end. The object and its results "
        "stay. Absent: they stay until the object is deleted.",
    )


_DENIED_ENDING = r"(TOKEN|SECRET|PASSWORD|API_KEY|ACCESS_KEY)$"
# Rank and size come from swiftop. With PAI_TRAINING_JOB_ID ms-swift writes no logging.jsonl, the source of progress.
# USE_HF would turn ids to another hub than model.hub says.
_OWN_ENV = (
    "PAI_TRAINING_JOB_ID",
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "NPROC_PER_NODE",
    "NNODES",
    "NODE_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
    "USE_HF",
)


def looks_secret(name: str) -> bool:
    """Whether an environment variable of this name would carry a secret."""
    return bool(re.search(_DENIED_ENDING, name.upper()))


def is_own(name: str) -> bool:
    """Whether swiftop alone sets an environment variable of this name."""
    return name.startswith("SWIFTOP_") or name in _OWN_ENV


class EnvVar(Model):
    """An environment variable of the main container."""

    INSTEAD: ClassVar = {
        "valueFrom": "use the Secret that spec.credentials names for tokens, and for other variables runtime.podPatch: "
        "{spec: {containers: [{name: swift, env: [{name: ..., valueFrom: ...}]}]}}"
    }
    RULES: ClassVar = (
        Rule(
            cel=f"!self.name.upperAscii().matches('{_DENIED_ENDING}')",
            message="a secret must not stand in the spec, where everyone who may read the run sees it: put "
            "SWANLAB_API_KEY, MODELSCOPE_API_TOKEN and HF_TOKEN into the Secret that spec.credentials names, and refer "
            "to any other one by valueFrom.secretKeyRef in runtime.podPatch: {spec: {containers: [{name: swift, env: "
            "[...]}]}}",
            holds=lambda env: not looks_secret(env.name),
            field="name",
        ),
        Rule(
            cel=f"!self.name.startsWith('SWIFTOP_') && !(self.name in {list(_OWN_ENV)})",
            message="this variable is set by swiftop (the hub by model.hub): remove it",
            holds=lambda env: not is_own(env.name),
            field="name",
        ),
        Rule(
            cel="self.name != 'CUDA_VISIBLE_DEVICES' || !has(self.value) || self.value == ''",
            message="a pod has the GPUs that resources.gpus asks for, counted from 0, whichever of its node they are: "
            "remove it",
            holds=lambda env: env.name != "CUDA_VISIBLE_DEVICES" or not env.value,
            field="name",
        ),
    )

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = Field(
        description="Name of the variable, for example NCCL_DEBUG."
    )
    value: Annotated[str, Field(max_length=4096)] = Field(default="", description="Value, as a quoted text.")


class SecurityContext(Model):
    """User and groups of the pods; they never run as root."""

    run_as_user: GroupId | None = Field(
        default=None, description="User id of the processes; not 0. Absent: the platform's, or 1000."
    )
    run_as_group: GroupId | None = Field(default=None, description="Main group id. Absent: as runAsUser.")
    fs_group: GroupId | None = Field(
        default=None, description="Group that volumes are made writable for. Absent: the platform's, or 1000."
    )
    supplemental_groups: tuple[GroupId, ...] = Field(
        default=(), max_length=32, description="Further groups, for example those of an NFS export."
    )


class Runtime(Model):
    """Image, ms-swift version and pod details. Absent members come from the platform's swiftop-defaults."""

    image: Image | None = Field(
        default=None, description="Image with ms-swift, best with a digest. Absent: the platform's trainer image."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None, description="When the image is pulled. Absent: Kubernetes' rule."
    )
    image_pull_secrets: tuple[LocalObjectReference, ...] = Field(
        default=(), max_length=8, description="Secrets for the registry of the image."
    )
    swift_version: (
        Annotated[str, Field(max_length=16), matching(r"^[0-9]+\.[0-9]+$", 'write two numbers in quotes, as in "4.6"')]
        | None
    ) = Field(
        default=None,
        description='Version of ms-swift in the image, as a quoted text: "4.6", "3.12" or "3.7". It decides the flags.',
    )
    env: tuple[EnvVar, ...] = Field(
        default=(),
        max_length=64,
        description="Environment variables, for example NCCL_DEBUG.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    security_context: SecurityContext = Field(
        default_factory=SecurityContext, description="User and groups of the pods."
    )
    ca_bundle: ConfigMapKey | None = Field(
        default=None,
        description="Certificates that the pods trust, in place of the image's own: a key of a ConfigMap of the "
        "namespace, for hubs and proxies with a certificate of your own.",
    )
    pod_patch: dict[str, Any] | None = Field(
        default=None,
        description="Strategic merge patch on the pod template ({metadata, spec}), containers by name (swift). For "
        "what has no field here. Refused: service accounts, host namespaces and paths, privileges, literal secrets.",
        json_schema_extra=pod_form.in_schema(
            pod_form.TEMPLATE,
            metadata="Labels and annotations to add to the pods.",
            spec="Patch on the pod's spec (kubectl explain pod.spec).",
        ),
    )


class OutputVolume(Model):
    """A PersistentVolumeClaim made for this object."""

    WORD: ClassVar = "size"
    INSTEAD: ClassVar = {"storage": "use size"}

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
        description="What happens to the volume when the object is deleted: Retain keeps it (a later one of this name "
        "uses it again, in a directory of its own), Delete removes it with all results.",
    )


class Output(Model):
    """Where results go, always below <name>-<first 8 characters of the UID>/."""

    RULES: ClassVar = (
        one_of(
            "persistentVolumeClaim",
            "volume",
            "ephemeral",
            cel={"ephemeral": "has(self.ephemeral) && self.ephemeral"},
            message="output needs exactly one place: persistentVolumeClaim (a claim that exists), volume (a claim "
            "made for this object) or ephemeral: true (results are lost with the pod)",
        ),
    )

    persistent_volume_claim: ClaimPath | None = Field(
        default=None,
        description="A claim that exists; several objects may share it, each in its own directory.",
    )
    volume: OutputVolume | None = Field(
        default=None, description="A claim that swiftop makes for this object; status.output names it."
    )
    ephemeral: bool = Field(
        default=False,
        description="true: write to the pod's own disk. All results are lost with the pod: for trials only.",
    )


class Cache(Model):
    """Cache of downloaded models, datasets and tokenized data, shared by runs."""

    WORD: ClassVar = "persistentVolumeClaim.claimName"

    persistent_volume_claim: ClaimPath = Field(
        description="Claim (ReadWriteMany to be shared by runs on several nodes) for MODELSCOPE_CACHE and HF_HOME. "
        "Parallel runs wait for one another's downloads by a file lock."
    )


class WorkloadSpec(Model):
    """What every kind has that runs pods; the platform's ``swiftop-defaults`` may fill it in."""

    resources: Resources = Field(description="What each node gets.")
    placement: Placement = Field(default_factory=Placement, description="Where the pods may run.")
    runtime: Runtime = Field(default_factory=Runtime, description="Image, ms-swift version and pod details.")
    credentials: Credentials = Field(
        default_factory=Credentials, description="Secrets for SwanLab, ModelScope and Hugging Face."
    )
    cache: Cache | None = Field(
        default=None, description="Cache shared by all: a model is downloaded once. Absent: each attempt downloads."
    )

    def unique(self) -> dict[str, list[str]]:
        """Names that must be unique in their list, by the list's path below the spec."""
        return {"runtime.env": [env.name for env in self.runtime.env]}


def output_of(spec: WorkloadSpec) -> Output | None:
    """Where the results go; None for a kind whose results lie on no volume."""
    output = getattr(spec, "output", None)
    return output if isinstance(output, Output) else None


class BatchSpec(WorkloadSpec):
    """What every kind has that ends."""

    suspend: bool = Field(
        default=False,
        description="true: stop and free the GPUs. What runs saves a checkpoint first; false goes on from it in a new "
        "attempt.",
    )
    lifecycle: Lifecycle = Field(
        default_factory=Lifecycle, description="Retries and limits in time. May still change after the start."
    )


class BatchResource(CustomResource):
    """Base of the kinds that end."""

    spec: BatchSpec


class ServingResource(CustomResource):
    """Base of the kinds that serve."""

    spec: WorkloadSpec
