"""What a spec gets when it does not say: the platform's ``swiftop-defaults`` and swiftop's own.

The result goes into the Job and is pinned there: a later edit changes nothing that has started, and nothing is ever
written to the spec.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeVar

from swiftop import names
from swiftop.api.pod_patch import without_image
from swiftop.api.v1alpha1.base import Model
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.workload import (
    BatchSpec,
    Lifecycle,
    Output,
    Resources,
    SecurityContext,
    WorkloadSpec,
    output_of,
)
from swiftop.errors import Problem
from swiftop.model.kind import World
from swiftop.reasons import Reason
from swiftop.runner.protocol import NVIDIA
from swiftop.swift import releases
from swiftop.workload.patch import strategic_merge

S = TypeVar("S", bound=WorkloadSpec)
M = TypeVar("M", bound=Model)

# Per GPU: what a 7B model needs to load, to feed one H100 and to keep a few dataloader workers. On the CPU: a trial.
GIB_PER_GPU = 64
_CPUS_PER_GPU, _SHARED_GIB_PER_GPU = 8, 8
_CPU_RUN = {"cpu": "1", "memory": "4Gi"}
_USER = SecurityContext(run_as_user=1000, fs_group=1000)


def image_missing(version: str) -> Problem:
    """What to do about a run for which no image is known."""
    return Problem(
        "spec.runtime.image",
        f"no image with ms-swift {version} is known",
        f"set image in the ConfigMap {names.DEFAULTS_CONFIG_MAP}, as in manifests/samples/swiftop-defaults.yaml, or "
        "spec.runtime.image",
        Reason.IMAGE_MISSING,
    )


def missing_images(spec: WorkloadSpec, version: str) -> list[Problem]:
    """Containers whose image nobody names; ``spec`` has the defaults in it."""
    own = [image_missing(version)] if spec.runtime.image is None else []
    return [*own, *without_image(spec.runtime.pod_patch or {})]


def image_of(defaults: Defaults, version: str) -> str | None:
    """Image with this ms-swift; None when none is known."""
    image = defaults.image if version == (defaults.swift_version or releases.DEFAULT) else None
    release = releases.RELEASES.get(version)
    return defaults.images.get(version) or image or (release.image if release else None)


def digest_of(spec: WorkloadSpec) -> str:
    """Of all that decides what an attempt is made of; ``spec`` has the defaults in it.

    What has its default value does not count, so that an upgrade which knows more fields gives the same.
    """
    content = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    content.pop("suspend", None)
    # Of the lifecycle only what the runner watches: the rest may change while an attempt waits.
    content["lifecycle"] = (content.get("lifecycle") or {}).get("stallSeconds")
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def merged(spec: S, defaults: Defaults) -> S:
    """``spec`` with everything filled in that a default exists for. What the spec says always wins."""
    runtime, placement = spec.runtime, spec.placement
    version = runtime.swift_version or defaults.swift_version or releases.DEFAULT
    env = {item.name: item for item in (*defaults.env, *runtime.env)}
    image = runtime.image or image_of(defaults, version)
    output = output_of(spec)
    return spec.model_copy(
        update={
            **({"lifecycle": _with_stall(spec.lifecycle, defaults)} if isinstance(spec, BatchSpec) else {}),
            **({"output": _with_storage_class(output, defaults)} if output is not None else {}),
            "cache": spec.cache or defaults.cache,
            "placement": _filled(placement, defaults.placement),
            "credentials": _filled(spec.credentials, defaults.credentials),
            "resources": _with_resources(spec.resources, defaults),
            "runtime": runtime.model_copy(
                update={
                    "image": image,
                    "swift_version": version,
                    "env": tuple(env.values()),
                    "image_pull_secrets": runtime.image_pull_secrets or defaults.image_pull_secrets,
                    "security_context": _filled(_filled(runtime.security_context, defaults.security_context), _USER),
                    "ca_bundle": runtime.ca_bundle or defaults.ca_bundle,
                    "pod_patch": _patched(runtime.pod_patch, defaults),
                }
            ),
        }
    )


def resolved(spec: S, world: World[Defaults]) -> S:
    """``spec`` with the defaults in it, as an attempt is made of it.

    What the first attempt was made with holds for all: neither an edit of the defaults nor an upgrade of the operator
    changes an object at its resume.
    """
    found, pinned = merged(spec, world.defaults), world.pinned
    if pinned is None:
        return found
    version = pinned.swift_version or found.runtime.swift_version
    runtime = found.runtime.model_copy(update={"image": pinned.image, "swift_version": version})
    return found.model_copy(update={"runtime": runtime})


def _filled(own: M, default: M) -> M:
    """``own`` with each absent member taken from ``default``."""
    members = {name: getattr(default, name) for name in type(own).model_fields if not getattr(own, name)}
    return own.model_copy(update=members)


def _with_storage_class(output: Output, defaults: Defaults) -> Output:
    volume = output.volume
    if volume is None or volume.storage_class_name is not None:
        return output
    filled = volume.model_copy(update={"storage_class_name": defaults.storage_class_name})
    return output.model_copy(update={"volume": filled})


def _with_stall(lifecycle: Lifecycle, defaults: Defaults) -> Lifecycle:
    return lifecycle.model_copy(update={"stall_seconds": lifecycle.stall_seconds or defaults.stall_seconds})


def _patched(own: dict[str, Any] | None, defaults: Defaults) -> dict[str, Any] | None:
    """The platform's patch, with that of the spec merged over it."""
    patch: dict[str, Any] = {}
    if defaults.runtime_class_name is not None:
        patch = {"spec": {"runtimeClassName": defaults.runtime_class_name}}
    for more in (defaults.pod_patch, own):
        patch = strategic_merge(patch, more or {})
    return patch or None


def _with_resources(resources: Resources, defaults: Defaults) -> Resources:
    gpus = resources.gpus
    default = dict(_CPU_RUN)
    if gpus:
        default = {
            "cpu": str(_CPUS_PER_GPU * gpus),
            "memory": f"{GIB_PER_GPU * gpus}Gi",
            "shared_memory": f"{_SHARED_GIB_PER_GPU * gpus}Gi",
        }
    platform = defaults.resources.model_dump(exclude_none=True)
    if not gpus:
        platform.pop("shared_memory", None)
    default |= {"gpu_resource": defaults.gpu_resource or NVIDIA, **platform}
    absent = {name: value for name, value in default.items() if getattr(resources, name) is None}
    return resources.model_copy(update=absent)
