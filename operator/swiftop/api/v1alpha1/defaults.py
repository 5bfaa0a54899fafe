"""The ConfigMap ``swiftop-defaults``: what a platform team sets for all who do not say otherwise."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from swiftop.api.v1alpha1.base import Model
from swiftop.api.v1alpha1.refs import ConfigMapKey, LocalObjectReference
from swiftop.api.v1alpha1.scalars import Cpu, DnsSubdomain, Size
from swiftop.api.v1alpha1.workload import (
    Cache,
    Credentials,
    EnvVar,
    GpuResource,
    Image,
    Placement,
    SecurityContext,
)


class DefaultResources(Model):
    """What each node gets whose spec does not say; see ``Resources``."""

    cpu: Cpu | None = None
    memory: Size | None = None
    shared_memory: Size | None = None


class Defaults(Model):
    """Content of ``swiftop-defaults``; each key holds YAML."""

    image: Image | None = None  # has the ms-swift of swift_version
    images: dict[str, Image] = Field(default_factory=dict)  # of other versions
    swift_version: str | None = None
    env: tuple[EnvVar, ...] = ()
    cache: Cache | None = None
    placement: Placement = Placement()
    credentials: Credentials = Credentials()
    storage_class_name: DnsSubdomain | None = None
    image_pull_secrets: tuple[LocalObjectReference, ...] = Field(default=(), max_length=8)
    resources: DefaultResources = DefaultResources()
    gpu_resource: GpuResource | None = None
    runtime_class_name: DnsSubdomain | None = None
    security_context: SecurityContext = SecurityContext()
    ca_bundle: ConfigMapKey | None = None
    pod_patch: dict[str, Any] | None = None  # a spec's own is merged over it
    stall_seconds: int | None = Field(default=None, ge=60, le=2_147_483_647)
