"""The ConfigMap ``swiftop-defaults``: what a platform team sets for all who do not say otherwise."""

from __future__ import annotations

from pydantic import Field

from swiftop.api.v1alpha1.base import Model
from swiftop.api.v1alpha1.scalars import DnsSubdomain
from swiftop.api.v1alpha1.workload import Cache, Credentials, EnvVar, Image, Placement


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
