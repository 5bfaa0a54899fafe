"""Volumes of a training pod and where they are mounted.

One volume per claim and per ConfigMap, however often it is used: the kubelet handles a claim under two names in one pod
badly. Everything that is only read is mounted read-only, by the mount and not by the volume, since one claim may be
the output of a run and hold its dataset too.
"""

from __future__ import annotations

from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.hub import AdapterSource, ModelSource
from swiftop.api.v1alpha1.refs import ConfigMapKey
from swiftop.api.v1alpha1.sftrun import SFTRunSpec
from swiftop.swift import paths

Object = dict[str, Any]


class _Volumes:
    """Collects volumes and mounts in the order in which they are asked for."""

    def __init__(self) -> None:
        self.volumes: list[Object] = []
        self.mounts: list[Object] = []
        self._claims: dict[str, str] = {}
        self._config_maps: dict[str, Object] = {}

    def add(self, name: str, source: Object, path: str, *, read_only: bool = False) -> None:
        self.volumes.append({"name": name, **source})
        self.mount(name, path, read_only=read_only)

    def mount(self, name: str, path: str, *, read_only: bool = True, sub_path: str = "") -> None:
        mount: Object = {"name": name, "mountPath": path}
        if read_only:
            mount["readOnly"] = True
        if sub_path:
            mount["subPath"] = sub_path
        if mount not in self.mounts:
            self.mounts.append(mount)

    def claim(self, claim: str, role: str = "") -> str:
        """Volume of a claim, named by its first role."""
        if claim not in self._claims:
            name = role or f"claim-{len(self._claims)}"
            self._claims[claim] = name
            self.volumes.append({"name": name, "persistentVolumeClaim": {"claimName": claim}})
        return self._claims[claim]

    def config_map(self, source: ConfigMapKey) -> str:
        """Volume of a ConfigMap. Its keys are named one by one, so that a missing key is told and not just absent."""
        volume = self._config_maps.get(source.name)
        if volume is None:
            name = f"config-{len(self._config_maps)}"
            volume = {"name": name, "configMap": {"name": source.name, "items": []}}
            self._config_maps[source.name] = volume
            self.volumes.append(volume)
        item = {"key": source.key, "path": source.key}
        if item not in volume["configMap"]["items"]:
            volume["configMap"]["items"].append(item)
        return str(volume["name"])


def pod_volumes(spec: SFTRunSpec, *, run: str, runner_config_map: str) -> tuple[list[Object], list[Object]]:
    """Volumes and mounts of a run."""
    found = _Volumes()
    found.add("runner", {"configMap": {"name": runner_config_map}}, paths.RUNNER_DIR, read_only=True)
    found.add("tmp", {"emptyDir": {}}, paths.WORK_DIR)
    if spec.resources.shared_memory:
        memory = {"medium": "Memory", "sizeLimit": spec.resources.shared_memory}
        found.add("shm", {"emptyDir": memory}, "/dev/shm")  # noqa: S108 - of the pod, where NCCL looks for it
    _output(found, spec, run)
    if spec.cache is not None:
        name = found.claim(spec.cache.persistent_volume_claim.claim_name, "cache")
        found.mount(name, paths.CACHE_DIR, read_only=False)
    _models(found, spec)
    _datasets(found, spec)
    _files(found, spec)
    return found.volumes, found.mounts


def _output(found: _Volumes, spec: SFTRunSpec, run: str) -> None:
    if spec.output.ephemeral:
        found.add("output", {"emptyDir": {}}, paths.OUTPUT_DIR)
        return
    claim = spec.output.persistent_volume_claim
    name = found.claim(claim.claim_name if claim else names.output_claim_name(run), "output")
    found.mount(name, paths.OUTPUT_DIR, read_only=False)


def _models(found: _Volumes, spec: SFTRunSpec) -> None:
    sources: list[ModelSource | AdapterSource] = [spec.model, *spec.model.adapters]
    for source in sources:
        if source.persistent_volume_claim is not None:
            claim = source.persistent_volume_claim.claim_name
            found.mount(found.claim(claim), f"{paths.CLAIM_MODELS_DIR}/{claim}")


def _datasets(found: _Volumes, spec: SFTRunSpec) -> None:
    for source in (*spec.datasets, *spec.validation.datasets):
        if source.persistent_volume_claim is not None:
            claim = source.persistent_volume_claim.claim_name
            found.mount(found.claim(claim), f"{paths.CLAIM_DATASETS_DIR}/{claim}")
        if source.config_map is not None:
            name = found.config_map(source.config_map)
            found.mount(name, f"{paths.CONFIG_MAP_DATASETS_DIR}/{source.config_map.name}")


def _files(found: _Volumes, spec: SFTRunSpec) -> None:
    for source in spec.files:
        if source.config_map is not None:
            found.mount(
                found.config_map(source.config_map), paths.file_path(source.basename), sub_path=source.config_map.key
            )
        if source.persistent_volume_claim is not None:
            claim = source.persistent_volume_claim
            sub_path = claim.path.rstrip("/")
            found.mount(found.claim(claim.claim_name), paths.file_path(source.basename), sub_path=sub_path)
