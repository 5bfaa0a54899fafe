"""How much memory the GPUs of a spec have, as far as it asks for certain ones."""

from __future__ import annotations

import re
from dataclasses import dataclass

from swiftop.api.v1alpha1.workload import WorkloadSpec

_PRODUCT, _MEMORY = "nvidia.com/gpu.product", "nvidia.com/gpu.memory"
"""Labels that NVIDIA's GPU feature discovery gives to nodes: a name, and MiB."""
_MIG = re.compile(r"mig-\d+[cg]\.(\d+)gb", re.IGNORECASE)
_IN_NAME = re.compile(r"(\d{1,3})GB", re.IGNORECASE)
_LEFT = 0.985
"""What torch finds of the size that a name tells: 79.1 GiB of an H100 of 80 GB, 39.4 of an A100 of 40, 139.8 of 141."""

# Of products whose name tells no size, by its beginning, the longer ones first.
_SIZES: tuple[tuple[str, int], ...] = (
    ("NVIDIA-H100-NVL", 94),
    ("NVIDIA-H100", 80),
    ("NVIDIA-H200", 141),
    ("NVIDIA-H20", 96),
    ("NVIDIA-H800", 80),
    ("NVIDIA-B200", 180),
    ("NVIDIA-GB200", 185),
    ("NVIDIA-A10", 22),
    ("NVIDIA-A16", 15),
    ("NVIDIA-A30", 24),
    ("NVIDIA-A40", 45),
    ("NVIDIA-A2", 15),
    ("NVIDIA-L40", 45),
    ("NVIDIA-L20", 45),
    ("NVIDIA-L4", 22),
    ("NVIDIA-L2", 24),
    ("NVIDIA-RTX-A6000", 48),
    ("NVIDIA-RTX-6000-Ada", 48),
    ("NVIDIA-RTX-A5000", 24),
    ("NVIDIA-GeForce-RTX-5090", 32),
    ("NVIDIA-GeForce-RTX-4090", 24),
    ("NVIDIA-GeForce-RTX-3090", 24),
    ("Tesla-T4", 15),
)
_BEFORE_AMPERE = ("Tesla-", "Quadro-", "NVIDIA-TITAN-")
_SHARED = (".shared", "-SHARED")
"""How names of resources and of products end where several pods share a GPU, and nobody says who takes how much."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """The GPUs that a spec asks for."""

    name: str  # as the spec has it
    gib: float  # that a process finds

    @property
    def before_ampere(self) -> bool:
        """Whether it is of a generation without bfloat16."""
        return self.name.startswith(_BEFORE_AMPERE)


def gpu_of(spec: WorkloadSpec) -> Gpu | None:
    """The one kind of GPU that the pods can get; None where the spec leaves it open, or several share one."""
    resource, labels = spec.resources.gpu_resource or "", spec.placement.node_selector
    product = labels.get(_PRODUCT, "")
    if not spec.resources.gpus or resource.endswith(_SHARED) or product.endswith(_SHARED):
        return None
    for name in (resource, product):
        if found := _MIG.search(name):
            return Gpu(name, int(found[1]) * _LEFT)
    if (mib := labels.get(_MEMORY, "")).isdecimal():
        return Gpu(product or f"{_MEMORY}: {mib}", int(mib) / 1024 * _LEFT)
    size = _size(product)
    return Gpu(product, size * _LEFT) if size else None


def _size(product: str) -> int:
    if found := _IN_NAME.search(product):
        return int(found[1])
    return next((size for name, size in _SIZES if re.match(rf"{name}(?![0-9])", product, re.IGNORECASE)), 0)
