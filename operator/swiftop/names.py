"""Every name that swiftop writes into a cluster: API group, kinds, labels, child names, condition types and reasons.

One module, so that a reader finds what a label or a reason means in one place, and so that no two layers can disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from swiftop.runner import protocol

GROUP = "swiftop.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
FIELD_MANAGER = "swiftop"
OPERATOR_NAMESPACE = "swiftop-system"
DEFAULTS_CONFIG_MAP = "swiftop-defaults"
DEFAULT_CREDENTIALS_SECRET = "swiftop-credentials"  # noqa: S105 - the name of a Secret, not its content


@dataclass(frozen=True, slots=True)
class Kind:
    """One Kubernetes resource type: what a client needs to build its URL."""

    api_version: str
    kind: str
    plural: str

    @property
    def group(self) -> str:
        """API group, empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """API version without its group."""
        return self.api_version.rpartition("/")[2]


SFTRUN = Kind(API_VERSION, "SFTRun", "sftruns")
JOB = Kind("batch/v1", "Job", "jobs")
POD = Kind("v1", "Pod", "pods")
SERVICE = Kind("v1", "Service", "services")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
PVC = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
EVENT = Kind("v1", "Event", "events")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
KINDS = {k.kind: k for k in (SFTRUN, JOB, POD, SERVICE, CONFIG_MAP, PVC, EVENT, LEASE)}

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_KIND = f"{GROUP}/kind"
LABEL_NAME = f"{GROUP}/name"
LABEL_UID = f"{GROUP}/uid"
LABEL_ATTEMPT = f"{GROUP}/attempt"
ANNOTATION_GENERATION = f"{GROUP}/generation"  # of the spec that a Job was made from
MANAGED_BY = "swiftop"
MANAGED_SELECTOR = f"{LABEL_MANAGED_BY}={MANAGED_BY}"

CONTAINER = "trainer"
PROGRESS_PORT = protocol.PORT
PROGRESS_PORT_NAME = "progress"

# A child's name is the run's name plus a suffix; a Job's pod adds six more characters ("-" and five of its own) and an
# Indexed Job its index, and the pod's hostname must stay a DNS label of 63 characters.
MAX_RUN_NAME = 52


def job_name(run: str, attempt: int) -> str:
    """Job of one attempt, counted from 1."""
    return f"{run}-{attempt}"


def output_claim_name(run: str) -> str:
    """PersistentVolumeClaim that swiftop makes for ``output.volume``."""
    return f"{run}-output"


def service_name(run: str) -> str:
    """Headless Service through which the nodes of one run find each other."""
    return run


def runner_config_map_name(digest: str) -> str:
    """ConfigMap that carries the runner, named by the first 10 hex digits of its SHA-256."""
    return f"swiftop-runner-{digest[:10]}"


class ConditionType(StrEnum):
    """Condition types of SFTRun. All of them stand in the status from its first write."""

    SUCCEEDED = "Succeeded"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    VALIDATED = "Validated"
    DEPENDENCIES_READY = "DependenciesReady"
    SCHEDULED = "Scheduled"
    RUNNING = "Running"
    CHECKPOINT_AVAILABLE = "CheckpointAvailable"
    PROGRESS_AVAILABLE = "ProgressAvailable"


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
    CONFIG_MAP_MISSING = "ConfigMapMissing"
    SECRET_MISSING = "SecretMissing"  # noqa: S105
    SECRET_KEY_MISSING = "SecretKeyMissing"  # noqa: S105
    CLAIM_MISSING = "ClaimMissing"
    VOLUME_PENDING = "VolumePending"
    READY = "Ready"
    # the pod on its way
    JOB_CREATED = "JobCreated"
    INSUFFICIENT_GPU = "InsufficientGPU"
    UNSCHEDULABLE = "Unschedulable"
    SCHEDULED = "Scheduled"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CONTAINER_CONFIG_ERROR = "ContainerConfigError"
    VOLUME_MOUNT_FAILED = "VolumeMountFailed"
    QUOTA_EXCEEDED = "QuotaExceeded"
    POD_REFUSED = "PodRefused"
    POD_SECURITY_VIOLATION = "PodSecurityViolation"
    STARTING = "Starting"
    RUNNING = "Running"
    RESUMING = "Resuming"
    # the end
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    NODE_LOST = "NodeLost"
    EVICTED = "Evicted"
    PREEMPTED = "Preempted"
    POD_DELETED = "PodDeleted"
    JOB_DELETED = "JobDeleted"
    NO_CHECKPOINT = "NoCheckpoint"
    CHECKPOINT_SAVED = "CheckpointSaved"
    PROGRESS_REPORTED = "ProgressReported"
    PROGRESS_UNAVAILABLE = "ProgressUnavailable"
    NOT_RUNNING = "NotRunning"
    FINISHED = "Finished"
    FAILED = "Failed"


class State(StrEnum):
    """The printed word in ``kubectl get``. Derived from conditions; no code reads it."""

    PENDING = "Pending"
    PREPARING = "Preparing"
    RUNNING = "Running"
    RESUMING = "Resuming"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
