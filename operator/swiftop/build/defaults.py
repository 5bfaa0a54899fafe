"""What a run gets when its spec does not say: the platform's ``swiftop-defaults`` and swiftop's own.

The ConfigMap ``swiftop-defaults`` of the operator's namespace holds for the whole cluster, one of the same name in the
run's namespace overrides it key by key. The result goes into the Job and is pinned there: a later edit changes no run
that has started, and nothing is ever written to the spec.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from swiftop import names
from swiftop.api.parse import parse
from swiftop.api.v1alpha1.common import DnsSubdomain, Model
from swiftop.api.v1alpha1.data import Cache
from swiftop.api.v1alpha1.platform import Credentials, EnvVar, Placement, Resources
from swiftop.api.v1alpha1.sftrun import SFTRunSpec
from swiftop.errors import Invalid, Problem
from swiftop.names import Reason
from swiftop.swift import versions

IMAGES: Mapping[str, str] = {
    # The official ModelScope images end at the version before ours; the newest is built from images/trainer.
    "3.7": "modelscope-registry.us-west-1.cr.aliyuncs.com/modelscope-repo/modelscope:"
    "ubuntu22.04-cuda12.6.3-py311-torch2.7.1-vllm0.10.0-modelscope1.28.2-swift3.7.2",
    "3.12": "modelscope-registry.us-west-1.cr.aliyuncs.com/modelscope-repo/modelscope:"
    "ubuntu22.04-cuda12.8.1-py311-torch2.9.0-vllm0.13.0-modelscope1.33.0-swift3.12.5",
    "4.6": "ghcr.io/swiftop/trainer:4.6",
}
"""Trainer image of each ms-swift version that swiftop renders for."""

# Per GPU: what a 7B model needs to load, to feed one H100 and to keep a few dataloader workers. On the CPU: a trial.
_CPUS_PER_GPU, _GIB_PER_GPU, _SHARED_GIB_PER_GPU = 8, 64, 8
_CPU_RUN = {"cpu": "1", "memory": "4Gi"}


class Defaults(Model):
    """Content of ``swiftop-defaults``; each key holds YAML."""

    image: str | None = None
    swift_version: str | None = None
    env: tuple[EnvVar, ...] = ()
    cache: Cache | None = None
    placement: Placement = Placement()
    credentials: Credentials = Credentials()
    storage_class_name: DnsSubdomain | None = None


def defaults_of(*config_maps: Mapping[str, Any] | None) -> Defaults:
    """Defaults of these ConfigMaps, later ones over earlier ones; raises ``Invalid`` with the place of a mistake."""
    values: dict[str, Any] = {}
    for config_map in config_maps:
        if config_map is None:
            continue
        found = _values(config_map)
        env = {**values.get("env", {}), **found.get("env", {})}
        values = {**values, **found} | ({"env": env} if env else {})
    values["env"] = [{"name": name, "value": str(value)} for name, value in values.get("env", {}).items()]
    try:
        defaults = parse(Defaults, values)
        broken = [(item, rule) for item in defaults.env for rule in EnvVar.RULES if not rule.holds(item)]
        if broken:
            raise Invalid(tuple(Problem(f"env.{item.name}", rule.text(item)) for item, rule in broken))
    except Invalid as error:
        raise Invalid(tuple(_blame(names.DEFAULTS_CONFIG_MAP, problem) for problem in error.problems)) from None
    return defaults


def _values(config_map: Mapping[str, Any]) -> dict[str, Any]:
    where = f"{config_map['metadata']['namespace']}/{config_map['metadata']['name']}"
    values = {}
    for key, text in (config_map.get("data") or {}).items():
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise Invalid((_blame(where, Problem(key, f"is no YAML: {error}")),)) from None
    if not isinstance(env := values.get("env", {}), Mapping):
        raise Invalid((_blame(where, Problem("env", f"must be a map of names to values, not {type(env).__name__}")),))
    if "swiftVersion" in values:
        values["swiftVersion"] = str(values["swiftVersion"])  # YAML reads 4.6 as a number
    return values


def _blame(where: str, problem: Problem) -> Problem:
    suggestion = problem.suggestion or "the platform's administrator has to mend it"
    return Problem(f"ConfigMap {where}: {problem.path}", problem.message, suggestion, Reason.INVALID_DEFAULTS)


def merged(spec: SFTRunSpec, defaults: Defaults) -> SFTRunSpec:
    """``spec`` with everything filled in that a default exists for. What the spec says always wins."""
    runtime, placement = spec.runtime, spec.placement
    version = runtime.swift_version or defaults.swift_version or versions.DEFAULT
    env = {item.name: item for item in (*defaults.env, *runtime.env)}
    image = runtime.image or defaults.image or IMAGES.get(version, "")
    return spec.model_copy(
        update={
            "cache": spec.cache or defaults.cache,
            "placement": _filled(placement, defaults.placement),
            "credentials": _filled(spec.credentials, defaults.credentials),
            "output": _with_storage_class(spec, defaults),
            "resources": _with_resources(spec.resources),
            "runtime": runtime.model_copy(
                update={"image": image, "swift_version": version, "env": tuple(env.values())}
            ),
        }
    )


def _filled(own: Model, default: Model) -> Model:
    """``own`` with each absent member taken from ``default``."""
    members = {name: getattr(default, name) for name in type(own).model_fields if not getattr(own, name)}
    return own.model_copy(update=members)


def _with_storage_class(spec: SFTRunSpec, defaults: Defaults) -> Model:
    volume = spec.output.volume
    if volume is None or volume.storage_class_name is not None:
        return spec.output
    filled = volume.model_copy(update={"storage_class_name": defaults.storage_class_name})
    return spec.output.model_copy(update={"volume": filled})


def _with_resources(resources: Resources) -> Resources:
    gpus = resources.gpus
    default: dict[str, str | None] = dict(_CPU_RUN)
    if gpus:
        default = {
            "cpu": str(_CPUS_PER_GPU * gpus),
            "memory": f"{_GIB_PER_GPU * gpus}Gi",
            "shared_memory": f"{_SHARED_GIB_PER_GPU * gpus}Gi",
        }
    absent = {name: value for name, value in default.items() if getattr(resources, name) is None}
    return resources.model_copy(update=absent)
