"""The memory of the GPUs that a spec asks for, by the names of products, labels and MIG resources."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop.workload.gpus import Gpu, gpu_of
from tests.support.objects import spec_of

PRODUCT, MEMORY = "nvidia.com/gpu.product", "nvidia.com/gpu.memory"


def found(labels: dict[str, str] | None = None, **resources: Any) -> Gpu | None:
    return gpu_of(spec_of(placement={"nodeSelector": labels or {}}, resources={"gpus": 1, **resources}))


@pytest.mark.parametrize(
    ("product", "gib"),
    [
        ("NVIDIA-H100-80GB-HBM3", 78.8),
        ("NVIDIA-H100-PCIe", 78.8),
        ("NVIDIA-H100-NVL", 92.6),
        ("NVIDIA-H200", 138.9),
        ("NVIDIA-H20", 94.6),
        ("NVIDIA-A100-SXM4-40GB", 39.4),
        ("NVIDIA-A100-80GB-PCIe", 78.8),
        ("NVIDIA-A10", 21.7),
        ("NVIDIA-A10G", 21.7),
        ("NVIDIA-L4", 21.7),
        ("NVIDIA-L40S", 44.3),
        ("NVIDIA-GeForce-RTX-4090", 23.6),
        ("Tesla-T4", 14.8),
        ("Tesla-V100-SXM2-16GB", 15.8),
        ("NVIDIA-H100-80GB-HBM3-MIG-3g.40gb", 39.4),
        ("NVIDIA-H100-80GB-HBM3-SHARED", None),
        ("NVIDIA-A1000", None),
        ("GeForce-GTX-1080", None),
        ("", None),
    ],
)
def test_a_product(product: str, gib: float | None) -> None:
    gpu = found({PRODUCT: product})
    assert (gpu and (gpu.name, round(gpu.gib, 1))) == (gib and (product, gib))


def test_the_label_of_the_memory_is_nearer_than_a_name() -> None:
    gpu = found({PRODUCT: "NVIDIA-H100-80GB-HBM3", MEMORY: "81559"})
    assert gpu is not None
    assert (gpu.name, round(gpu.gib, 1)) == ("NVIDIA-H100-80GB-HBM3", 78.5)
    alone = found({MEMORY: "24564"})
    assert alone is not None
    assert (alone.name, round(alone.gib, 1)) == ("nvidia.com/gpu.memory: 24564", 23.6)
    assert found({MEMORY: "much"}) is None


def test_a_part_of_a_gpu_has_its_own_memory() -> None:
    whole = {PRODUCT: "NVIDIA-A100-SXM4-80GB"}
    gpu = found(whole, gpuResource="nvidia.com/mig-3g.40gb")
    assert gpu is not None
    assert (gpu.name, round(gpu.gib, 1)) == ("nvidia.com/mig-3g.40gb", 39.4)
    assert found(whole, gpuResource="nvidia.com/gpu.shared") is None


def test_without_gpus_there_is_none() -> None:
    assert found({PRODUCT: "NVIDIA-H200"}, gpus=0) is None
    assert found() is None
