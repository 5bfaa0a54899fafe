"""Condition types, the closed list of reasons, and the printed states."""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """Condition types. All of those of a kind stand in the status from its first write."""

    SUCCEEDED = "Succeeded"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    VALIDATED = "Validated"
    DEPENDENCIES_READY = "DependenciesReady"
    SCHEDULED = "Scheduled"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    CHECKPOINT_AVAILABLE = "CheckpointAvailable"
    PROGRESS_AVAILABLE = "ProgressAvailable"
    DATA_COMPLETE = "DataComplete"
    ACCELERATED = "Accelerated"
    SOURCE_READY = "SourceReady"
    MERGED = "Merged"
    VERIFIED = "Verified"
    PUSHED = "Pushed"
    CHECKED = "Checked"
    UPLOADED = "Uploaded"
    READY = "Ready"
    PROGRESSING = "Progressing"
    MODEL_READY = "ModelReady"
    ADAPTERS_LOADED = "AdaptersLoaded"


class Reason(StrEnum):
    """Closed list of condition reasons that the operator itself finds; runner/causes.py has those that end training."""

    # before the pod
    PENDING = "Pending"
    VALID = "Valid"
    INVALID_SPEC = "InvalidSpec"
    UNKNOWN_FLAG = "UnknownFlag"
    UNSUPPORTED_VERSION = "UnsupportedVersion"
    INVALID_DEFAULTS = "InvalidDefaults"
    IMAGE_MISSING = "ImageMissing"
    NAME_CONFLICT = "NameConflict"
    MISSING_PERMISSION = "MissingPermission"
    INTERNAL_ERROR = "InternalError"
    RECONCILE_FAILING = "ReconcileFailing"
    CONFIG_MAP_MISSING = "ConfigMapMissing"
    SECRET_MISSING = "SecretMissing"  # noqa: S105
    SECRET_KEY_MISSING = "SecretKeyMissing"  # noqa: S105
    CLAIM_MISSING = "ClaimMissing"
    VOLUME_PENDING = "VolumePending"
    SOURCE_MISSING = "SourceMissing"
    SOURCE_PENDING = "SourcePending"
    SOURCE_UNUSABLE = "SourceUnusable"
    SOURCE_DELETED = "SourceDeleted"
    SOURCE_FAILED = "SourceFailed"
    NO_BEST_CHECKPOINT = "NoBestCheckpoint"
    READY = "Ready"
    # the pod on its way
    JOB_CREATED = "JobCreated"
    INSUFFICIENT_GPU = "InsufficientGPU"
    INSUFFICIENT_CPU = "InsufficientCPU"
    INSUFFICIENT_MEMORY = "InsufficientMemory"
    INSUFFICIENT_EPHEMERAL_STORAGE = "InsufficientEphemeralStorage"
    INSUFFICIENT_RESOURCE = "InsufficientResource"
    UNTOLERATED_TAINT = "UntoleratedTaint"
    NODES_CORDONED = "NodesCordoned"
    NODES_NOT_READY = "NodesNotReady"
    NODE_AFFINITY_MISMATCH = "NodeAffinityMismatch"
    POD_AFFINITY_MISMATCH = "PodAffinityMismatch"
    VOLUME_NODE_MISMATCH = "VolumeNodeMismatch"
    VOLUME_IN_USE = "VolumeInUse"
    TOO_MANY_VOLUMES = "TooManyVolumes"
    TOO_MANY_PODS = "TooManyPods"
    HOST_PORT_IN_USE = "HostPortInUse"
    DEVICE_CLAIM_PENDING = "DeviceClaimPending"
    SCHEDULING_GATED = "SchedulingGated"
    UNSCHEDULABLE = "Unschedulable"
    JOB_SUSPENDED = "JobSuspended"
    SCHEDULED = "Scheduled"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CONTAINER_CONFIG_ERROR = "ContainerConfigError"
    VOLUME_MOUNT_FAILED = "VolumeMountFailed"
    QUOTA_EXCEEDED = "QuotaExceeded"
    POD_REFUSED = "PodRefused"
    POD_SECURITY_VIOLATION = "PodSecurityViolation"
    INIT_CONTAINER_RUNNING = "InitContainerRunning"
    INIT_CONTAINER_FAILED = "InitContainerFailed"
    STARTING = "Starting"
    RUNNING = "Running"
    RESUMING = "Resuming"
    STOPPING = "Stopping"
    SUSPENDED = "Suspended"
    NOT_SUSPENDED = "NotSuspended"
    # what serves
    MERGING = "Merging"
    DEPLOYMENT_CREATED = "DeploymentCreated"
    LOADING = "Loading"
    ANSWERING = "Answering"
    NOT_ANSWERING = "NotAnswering"
    DRAINING = "Draining"
    SCALED_TO_ZERO = "ScaledToZero"
    ROLLING_OUT = "RollingOut"
    ROLLED_OUT = "RolledOut"
    ROLLOUT_OVERDUE = "RolloutOverdue"
    GATE_FAILED = "GateFailed"
    NO_ADAPTERS = "NoAdapters"
    ADAPTER_NOT_LOADED = "AdapterNotLoaded"
    ADAPTERS_LOADED = "AdaptersLoaded"
    # the end
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    PENDING_DEADLINE_EXCEEDED = "PendingDeadlineExceeded"
    NODE_REFUSED_POD = "NodeRefusedPod"
    CONTAINER_START_FAILED = "ContainerStartFailed"
    CONTAINER_LOST = "ContainerLost"
    NODE_LOST = "NodeLost"
    EVICTED = "Evicted"
    EPHEMERAL_STORAGE_EXCEEDED = "EphemeralStorageExceeded"
    PREEMPTED = "Preempted"
    POD_DELETED = "PodDeleted"
    JOB_DELETED = "JobDeleted"
    NO_CHECKPOINT = "NoCheckpoint"
    CHECKPOINT_SAVED = "CheckpointSaved"
    PROGRESS_REPORTED = "ProgressReported"
    PROGRESS_UNAVAILABLE = "ProgressUnavailable"
    NOT_RUNNING = "NotRunning"
    ACCELERATED = "Accelerated"
    NOT_ACCELERATED = "NotAccelerated"
    ACCELERATION_OFF = "AccelerationOff"
    ROWS_KEPT = "RowsKept"
    ROWS_DROPPED = "RowsDropped"
    VALIDATION_EMPTY = "ValidationEmpty"
    MERGED = "Merged"
    VERIFIED = "Verified"
    VERIFICATION_SKIPPED = "VerificationSkipped"
    PUSHED = "Pushed"
    NOTHING_TO_PUSH = "NothingToPush"
    CHECKED = "Checked"
    UPLOADED = "Uploaded"
    FINISHED = "Finished"
    FAILED = "Failed"


INVALID = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.UNKNOWN_FLAG,
        Reason.UNSUPPORTED_VERSION,
        Reason.INVALID_DEFAULTS,
        Reason.IMAGE_MISSING,
    }
)
"""Reasons of an object that nothing can be made of as it is written."""

FAULTY = frozenset({Reason.INVALID_SPEC, Reason.UNKNOWN_FLAG, Reason.UNSUPPORTED_VERSION})
"""Those of them that an edit of the object itself heals, and nothing else."""

DEPENDENCIES = frozenset(
    {
        Reason.NAME_CONFLICT,
        Reason.CONFIG_MAP_MISSING,
        Reason.SECRET_MISSING,
        Reason.SECRET_KEY_MISSING,
        Reason.CLAIM_MISSING,
        Reason.SOURCE_MISSING,
        Reason.SOURCE_PENDING,
        Reason.SOURCE_UNUSABLE,
        Reason.SOURCE_DELETED,
        Reason.SOURCE_FAILED,
        Reason.NO_BEST_CHECKPOINT,
        Reason.MERGING,
        Reason.VOLUME_PENDING,
        Reason.VOLUME_MOUNT_FAILED,
        Reason.IMAGE_PULL_FAILED,
    }
)
"""Reasons of an object that waits for something besides a node."""


SOURCE = frozenset(
    {
        Reason.SOURCE_MISSING,
        Reason.SOURCE_PENDING,
        Reason.SOURCE_UNUSABLE,
        Reason.SOURCE_DELETED,
        Reason.SOURCE_FAILED,
        Reason.NO_BEST_CHECKPOINT,
        Reason.MERGING,
    }
)
"""Reasons of an object that waits for another one's results."""


class State(StrEnum):
    """The printed word in ``kubectl get``. Derived from conditions; nothing is decided by it."""

    INVALID = "Invalid"
    PENDING = "Pending"
    PREPARING = "Preparing"
    RUNNING = "Running"
    RESUMING = "Resuming"
    STOPPING = "Stopping"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    READY = "Ready"
    NOT_READY = "NotReady"
