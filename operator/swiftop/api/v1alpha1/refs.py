"""References to other objects in the same namespace."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from swiftop.api.v1alpha1.base import Model
from swiftop.api.v1alpha1.scalars import DataKey, DnsSubdomain, ObjectName, RelativePath


class ConfigMapKey(Model):
    """One key of a ConfigMap in the same namespace."""

    name: DnsSubdomain = Field(description="Name of the ConfigMap, in the same namespace.")
    key: DataKey = Field(description="Key within the ConfigMap; it becomes the file's name.")


class ClaimPath(Model):
    """A folder or file on a PersistentVolumeClaim in the same namespace."""

    WORD: ClassVar = "claimName"

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

    INSTEAD: ClassVar = {"secretName": "use name"}

    name: DnsSubdomain = Field(description="Name of the Secret, in the same namespace.")
    key: DataKey = Field(description="Key within the Secret.")


class LocalObjectReference(Model):
    """Name of an object in the same namespace."""

    WORD: ClassVar = "name"

    name: DnsSubdomain = Field(description="Name of the object, in the same namespace.")


class UploadReference(Model):
    """A DatasetUpload in the same namespace."""

    WORD: ClassVar = "name"

    name: ObjectName = Field(description="Name of the DatasetUpload. It may be created later, and need not have ended.")


# A step is written without quotes, so integers pass too.
CheckpointName = Annotated[
    str,
    Field(
        max_length=16,
        pattern=r"^(last|best|[1-9][0-9]{0,8})$",
        json_schema_extra={"x-kubernetes-int-or-string": True, "minimum": 1, "maximum": 999_999_999},
    ),
    BeforeValidator(lambda value: str(value) if isinstance(value, int) and not isinstance(value, bool) else value),
]


class RunCheckpoint(Model):
    """A checkpoint of an SFTRun in the same namespace."""

    WORD: ClassVar = "name"

    name: ObjectName = Field(description="Name of the SFTRun. It may be created later, and need not have ended yet.")
    checkpoint: CheckpointName = Field(
        default="last",
        description="last (the newest complete one, once the run has ended), best (by its evaluation), or a step, as "
        "508.",
    )


class ExportReference(Model):
    """A ModelExport in the same namespace."""

    WORD: ClassVar = "name"

    name: ObjectName = Field(description="Name of the ModelExport. It may be created later, and need not have ended.")
