"""References to other objects in the same namespace."""

from __future__ import annotations

from pydantic import Field

from swiftop.api.v1alpha1.base import Model
from swiftop.api.v1alpha1.scalars import DataKey, DnsSubdomain, ObjectName, RelativePath


class ConfigMapKey(Model):
    """One key of a ConfigMap in the same namespace."""

    name: DnsSubdomain = Field(description="Name of the ConfigMap, in the same namespace.")
    key: DataKey = Field(description="Key within the ConfigMap; it becomes the file's name.")


class ClaimPath(Model):
    """A folder or file on a PersistentVolumeClaim in the same namespace."""

    claim_name: DnsSubdomain = Field(description="Name of the PersistentVolumeClaim, in the same namespace.")
    path: RelativePath = Field(
        default="", description="Path below the root of the volume, relative and without '..'; empty is the root."
    )


class ClaimFile(ClaimPath):
    """A file (or folder) on a PersistentVolumeClaim that must be named."""

    path: RelativePath = Field(
        min_length=1, description="Path of the file or folder below the root of the volume, relative and without '..'."
    )


class SecretKey(Model):
    """One key of a Secret in the same namespace."""

    name: DnsSubdomain = Field(description="Name of the Secret, in the same namespace.")
    key: DataKey = Field(description="Key within the Secret.")


class LocalObjectReference(Model):
    """Name of an object in the same namespace."""

    name: DnsSubdomain = Field(description="Name of the object, in the same namespace.")


class UploadReference(Model):
    """A DatasetUpload in the same namespace."""

    name: ObjectName = Field(description="Name of the DatasetUpload. It may be created later, and need not have ended.")
