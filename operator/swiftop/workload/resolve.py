"""What a run gets when its spec does not say: the platform's ``swiftop-defaults`` and swiftop's own.

The ConfigMap ``swiftop-defaults`` of the operator's namespace holds for the whole cluster, one of the same name in the
run's namespace overrides it key by key. The result goes into the Job and is pinned there: a later edit changes no run
that has started, and nothing is ever written to the spec.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import Field

from swiftop import names
from swiftop.api.parse import parse
from swiftop.api.v1alpha1.base import Model
from swiftop.api.v1alpha1.scalars import DnsSubdomain
from swiftop.api.v1alpha1.sftrun import SFTRunSpec
from swiftop.api.v1alpha1.workload import Cache, Credentials, EnvVar, Image, Placement, Resources
from swiftop.api.validate import affinity_problems
from swiftop.errors import Invalid, Problem
from swiftop.reasons import Reason
from swiftop.swift import releases

# Per GPU: what a 7B model needs to load, to feed one H100 and to keep a few dataloader workers. On the CPU: a trial.
_CPUS_PER_GPU, _GIB_PER_GPU, _SHARED_GIB_PER_GPU = 8, 64, 8
_CPU_RUN = {"cpu": "1", "memory": "4Gi"}
_MAPS = ("env", "images")  # keys that hold a map of names to texts, merged name by name


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

    def image_of(self, version: str) -> str:
        """Image with this ms-swift; empty when none is known."""
        image = self.image if version == (self.swift_version or releases.DEFAULT) else None
        release = releases.RELEASES.get(version)
        return self.images.get(version) or image or (release and release.image) or ""


def defaults_of(*config_maps: Mapping[str, Any] | None) -> Defaults:
    """Defaults of these ConfigMaps, later ones over earlier ones; raises ``Invalid`` with the place of a mistake."""
    values: dict[str, Any] = {}
    places: dict[str, str] = {}  # of each key, the ConfigMap that said it last
    for config_map in config_maps:
        if config_map is None:
            continue
        where = f"{config_map['metadata']['namespace']}/{config_map['metadata']['name']}"
        found = _values(config_map, where)
        places |= dict.fromkeys(found, where)
        values |= found | {key: values.get(key, {}) | found[key] for key in _MAPS if key in found}
    if "env" in values:
        values["env"] = [{"name": name, "value": value} for name, value in values["env"].items()]
    try:
        defaults = parse(Defaults, values)
        if wrong := tuple(_problems(defaults)):
            raise Invalid(wrong)
    except Invalid as error:
        raise Invalid(tuple(_blame(places[_key(problem)], problem) for problem in error.problems)) from None
    return defaults


def _key(problem: Problem) -> str:
    """Key of the ConfigMap that a path leads into."""
    return re.split(r"[.\[]", problem.path)[0]


def _values(config_map: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Values by key. A key without content says nothing."""
    values = {}
    for key, text in (config_map.get("data") or {}).items():
        try:
            value = yaml.safe_load(text)
            # As it is written: YAML would make 4.1 of the version 4.10, and Python a word of its own of true.
            written = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - makes texts, lists and maps only
        except (yaml.YAMLError, ValueError, AttributeError) as error:
            raise Invalid((_blame(where, Problem(key, f"is no YAML: {error}")),)) from None
        if key in _MAPS and (wrong := tuple(_no_texts(key, value))):
            raise Invalid(tuple(_blame(where, problem) for problem in wrong))
        if value is not None:
            values[key] = written if key in (*_MAPS, "swiftVersion") else value
    return values


def _no_texts(key: str, value: object) -> Iterator[Problem]:
    """What keeps a value from being a map of names to texts."""
    if not isinstance(value, Mapping | None):
        yield Problem(key, f"must be a map of names to values, not {type(value).__name__}")
        return
    for name, item in (value or {}).items():
        if item is None:
            yield Problem(f"{key}.{name}", "has no value", suggestion='write "" for an empty text, or remove it')
        elif isinstance(item, Mapping | list):
            yield Problem(f"{key}.{name}", "must be a text")


def _problems(defaults: Defaults) -> Iterator[Problem]:
    for item in defaults.env:
        yield from (Problem(f"env.{item.name}", rule.text(item)) for rule in EnvVar.RULES if not rule.holds(item))
    yield from affinity_problems(defaults.placement, "placement")
    named = {"swiftVersion": defaults.swift_version, **{f"images.{version}": version for version in defaults.images}}
    for path, version in named.items():
        if version is not None and version not in releases.SUPPORTED:
            suggestion = f"use one of {', '.join(releases.SUPPORTED)}"
            yield Problem(path, f"ms-swift {version} is not supported", suggestion)


def _blame(where: str, problem: Problem) -> Problem:
    suggestion = problem.suggestion or "the platform's administrator has to mend it"
    return Problem(f"ConfigMap {where}: {problem.path}", problem.message, suggestion, Reason.INVALID_DEFAULTS)


def image_missing(version: str) -> Problem:
    """What to do about a run for which no image is known."""
    return Problem(
        "spec.runtime.image",
        f"no image with ms-swift {version} is known",
        f"set image in the ConfigMap {names.DEFAULTS_CONFIG_MAP}, as in manifests/samples/swiftop-defaults.yaml, or "
        "spec.runtime.image",
        Reason.IMAGE_MISSING,
    )


def merged(spec: SFTRunSpec, defaults: Defaults) -> SFTRunSpec:
    """``spec`` with everything filled in that a default exists for. What the spec says always wins."""
    runtime, placement = spec.runtime, spec.placement
    version = runtime.swift_version or defaults.swift_version or releases.DEFAULT
    env = {item.name: item for item in (*defaults.env, *runtime.env)}
    image = runtime.image or defaults.image_of(version) or None
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
