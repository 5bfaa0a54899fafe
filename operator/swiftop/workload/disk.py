"""Local disk of a pod: what it asks the node for, and where it ends.

Without a request the scheduler puts a pod where a download does not fit, and the kubelet ends it first; without a limit
it fills the node's disk, and the kubelet ends others too.
"""

from __future__ import annotations

from swiftop.api.v1alpha1.workload import WorkloadSpec

# A download into /tmp is mostly that of a model of 7B (15 GiB); what has its own place writes little besides.
_DOWNLOADING, _LITTLE = "20Gi", "1Gi"
_GIB_LIMIT = 100  # and as much for each GPU: the largest models that fit on them, in 16 bit


def requested(spec: WorkloadSpec, *, fetches: bool) -> str:
    """Ephemeral storage that the pod asks for; ``spec`` has the defaults in it.

    ``fetches``: it loads a model of a hub, a large one even without a GPU. What trains or serves without one is small.
    """
    downloads = (fetches or spec.resources.gpus > 0) and spec.cache is None
    return spec.resources.ephemeral_storage or (_DOWNLOADING if downloads else _LITTLE)


def limit(spec: WorkloadSpec) -> str:
    """Size at which the kubelet ends a pod that writes to its node's disk."""
    return spec.resources.ephemeral_storage or f"{_GIB_LIMIT * (1 + spec.resources.gpus)}Gi"
