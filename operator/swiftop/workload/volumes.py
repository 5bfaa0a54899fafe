"""Volumes of a pod and where they are mounted.

One volume per claim and per ConfigMap, however often it is used: the kubelet handles a claim under two names in one pod
badly. Everything that is only read is mounted read-only, by the mount and not by the volume, since one claim may be
the output of a run and hold its dataset too.
"""

from __future__ import annotations

from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.base import CustomResource
from swiftop.api.v1alpha1.hub import NamedDataset
from swiftop.api.v1alpha1.refs import ConfigMapKey
from swiftop.api.v1alpha1.workload import Cache, Output, WorkloadSpec, output_of
from swiftop.swift import paths
from swiftop.workload.disk import limit

Object = dict[str, Any]


class Volumes:
    """Collects volumes and mounts in the order in which they are asked for, after those that every pod has."""

    def __init__(self, owner: CustomResource, spec: WorkloadSpec, *, runner_config_map: str) -> None:
        self.volumes: list[Object] = []
        self.mounts: list[Object] = []
        self._claims: dict[str, str] = {}
        self._config_maps: dict[str, Object] = {}
        self._disk = {"emptyDir": {"sizeLimit": limit(spec)}}
        self.runner = runner_config_map
        self._add_runner(runner_config_map)
        self._shared_memory(spec.resources.shared_memory)
        if (output := output_of(spec)) is not None:
            self._output(output, names.output_claim_name(owner.DEFINITION.resource, owner.metadata.name))
        self._cache(spec.cache)
        if spec.runtime.ca_bundle is not None:
            bundle = spec.runtime.ca_bundle
            self.mount(self.config_map(bundle), paths.CA_BUNDLE, sub_path=bundle.key)

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

    def _add_runner(self, config_map: str) -> None:
        """What every pod has: the runner, and the one writable folder of its own."""
        self.add("runner", {"configMap": {"name": config_map}}, paths.RUNNER_DIR, read_only=True)
        self.add("tmp", self._disk, paths.WORK_DIR)

    def _shared_memory(self, size: str | None) -> None:
        """Shared memory for NCCL and data loaders; without it there are the container runtime's 64 MiB."""
        if size:
            memory = {"medium": "Memory", "sizeLimit": size}
            self.add("shm", {"emptyDir": memory}, "/dev/shm")  # noqa: S108 - of the pod

    def _output(self, output: Output, claim_name: str) -> None:
        """Where results go; ``claim_name`` is the claim that swiftop makes when asked to."""
        if output.ephemeral:
            self.add("output", self._disk, paths.OUTPUT_DIR)
            return
        claim = output.persistent_volume_claim
        self.mount(self.claim(claim.claim_name if claim else claim_name, "output"), paths.OUTPUT_DIR, read_only=False)

    def _cache(self, cache: Cache | None) -> None:
        """Cache of downloads, shared with other pods."""
        if cache is not None:
            name = self.claim(cache.persistent_volume_claim.claim_name, "cache")
            self.mount(name, paths.CACHE_DIR, read_only=False)

    def read_only_claim(self, claim_name: str, root: str) -> None:
        """A whole claim below ``root``, in a folder of its name."""
        self.mount(self.claim(claim_name), f"{root}/{claim_name}")

    def dataset(self, source: NamedDataset) -> None:
        """Where ``paths.dataset_path`` finds the rows; of a hub's dataset there is nothing to mount."""
        if source.persistent_volume_claim is not None:
            self.read_only_claim(source.persistent_volume_claim.claim_name, paths.CLAIM_DATASETS_DIR)
        if source.config_map is not None:
            name = self.config_map(source.config_map)
            self.mount(name, f"{paths.CONFIG_MAP_DATASETS_DIR}/{source.config_map.name}")

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
