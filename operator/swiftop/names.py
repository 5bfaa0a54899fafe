"""Every name that swiftop writes into a cluster: API group, resources, labels, annotations and child names.

One module, so that a reader finds what a label or a reason means in one place, and so that no two layers can disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

from swiftop.runner import protocol

GROUP = "swiftop.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
FIELD_MANAGER = "swiftop"
OPERATOR_NAMESPACE = "swiftop-system"
DEFAULTS_CONFIG_MAP = "swiftop-defaults"
DEFAULT_CREDENTIALS_SECRET = "swiftop-credentials"  # noqa: S105 - the name of a Secret, not its content


@dataclass(frozen=True, slots=True)
class Resource:
    """One Kubernetes resource type: what a client needs to build its URL."""

    api_version: str
    kind: str
    plural: str
    infix: str = ""
    """In the names of its children: objects of several kinds may have one name. An SFTRun's children do without."""

    @property
    def group(self) -> str:
        """API group, empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """API version without its group."""
        return self.api_version.rpartition("/")[2]


SFTRUN = Resource(API_VERSION, "SFTRun", "sftruns")
MODELEXPORT = Resource(API_VERSION, "ModelExport", "modelexports", "mexp")
DATASETUPLOAD = Resource(API_VERSION, "DatasetUpload", "datasetuploads", "dsup")
MODELDEPLOYMENT = Resource(API_VERSION, "ModelDeployment", "modeldeployments", "mdep")
DEPLOYMENT = Resource("apps/v1", "Deployment", "deployments")
REPLICA_SET = Resource("apps/v1", "ReplicaSet", "replicasets")
PDB = Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
HPA = Resource("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
JOB = Resource("batch/v1", "Job", "jobs")
POD = Resource("v1", "Pod", "pods")
SERVICE = Resource("v1", "Service", "services")
CONFIG_MAP = Resource("v1", "ConfigMap", "configmaps")
PVC = Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
EVENT = Resource("v1", "Event", "events")
SECRET = Resource("v1", "Secret", "secrets")  # for the command line alone: the operator reads and writes none
LEASE = Resource("coordination.k8s.io/v1", "Lease", "leases")
RESOURCES = {
    resource.kind: resource
    for resource in (
        *(SFTRUN, MODELEXPORT, DATASETUPLOAD, MODELDEPLOYMENT),
        *(JOB, POD, DEPLOYMENT, REPLICA_SET, SERVICE, PDB, HPA, CONFIG_MAP, PVC, EVENT, LEASE),
    )
}
CHILDLESS = frozenset({PDB, HPA, CONFIG_MAP})
"""Children that own no others."""

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_KIND = f"{GROUP}/kind"
LABEL_NAME = f"{GROUP}/name"
LABEL_UID = f"{GROUP}/uid"
LABEL_ATTEMPT = f"{GROUP}/attempt"
LABEL_REVISION = f"{GROUP}/revision"  # of a pod that serves: the digest of what its Deployment was made from
# Of a child, mostly a Job: what it was made from, and what the attempts before it had come to.
ANNOTATION_GENERATION = f"{GROUP}/generation"  # of the spec
ANNOTATION_DIGEST = f"{GROUP}/spec-digest"  # of the spec with the platform's defaults
ANNOTATION_RETRIES = f"{GROUP}/retries"
ANNOTATION_RETRY_OF = f"{GROUP}/retry-of"  # UID of a pod
ANNOTATION_GPU_SECONDS = f"{GROUP}/gpu-seconds-before"
ANNOTATION_RESOLVED = f"{GROUP}/resolved"  # of a Deployment: what its pods stay with
ANNOTATION_WITHDRAWN = f"{GROUP}/withdrawn"  # of a Deployment: the revision that did not pass its gate, and why
ANNOTATION_INDEX = "batch.kubernetes.io/job-completion-index"  # the Job controller's: rank of a pod
MANAGED_BY = "swiftop"
MANAGED_SELECTOR = f"{LABEL_MANAGED_BY}={MANAGED_BY}"
OWNED_SELECTOR = f"{MANAGED_SELECTOR},{LABEL_KIND}"  # of one object of ours: no copy of the runner

CONTAINER = "swift"  # of every pod, whatever it uses ms-swift for
PROGRESS_PORT = protocol.PORT
PROGRESS_PORT_NAME = "progress"

# A child's name is its owner's name plus a suffix of at most nine characters ("-mexp-12"), and an Indexed Job adds the
# index of a pod to its own: the sum must stay a DNS label of 63 characters.
MAX_NAME = 52


def job_name(owner: Resource, name: str, attempt: int) -> str:
    """Job of one attempt, counted from 1, of the object of that kind and name."""
    return _child_name(owner, name, str(attempt))


def output_claim_name(owner: Resource, name: str) -> str:
    """PersistentVolumeClaim that swiftop makes for ``output.volume``."""
    return _child_name(owner, name, "output")


def service_name(owner: Resource, name: str) -> str:
    """Headless Service through which the ranks of one object find each other."""
    return _child_name(owner, name, "ranks")


def server_name(owner: Resource, name: str) -> str:
    """Deployment of what serves, its budget and its autoscaler; the Service has the object's own name."""
    return f"{name}-{owner.infix}"


def adapters_name(owner: Resource, name: str) -> str:
    """ConfigMap with the adapters that the pods of what serves follow; its name may have 253 characters."""
    return f"{server_name(owner, name)}-adapters"


def merge_name(owner: Resource, name: str, digest: str) -> str:
    """ModelExport that merges what an object serves: its name is bounded as that of any object of ours."""
    return f"{name[: MAX_NAME - len(owner.infix) - 10].rstrip('-')}-{owner.infix}-{digest[:8]}"


def _child_name(owner: Resource, name: str, part: str) -> str:
    return "-".join(word for word in (name, owner.infix, part) if word)


def runner_config_map_name(digest: str) -> str:
    """ConfigMap that carries the runner, named by half of its SHA-256 in hex: the pod checks it against that."""
    return f"swiftop-runner-{digest[:32]}"
