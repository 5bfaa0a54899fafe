"""The only list of the kinds: watches, metrics, RBAC, CRDs, the command line and the docs' tests derive from it."""

from __future__ import annotations

from collections.abc import Mapping

from swiftop import names
from swiftop.api.v1alpha1.base import CustomResource
from swiftop.kinds.datasetupload.kind import KIND as DATASETUPLOAD
from swiftop.kinds.modeldeployment.kind import KIND as MODELDEPLOYMENT
from swiftop.kinds.modelexport.kind import KIND as MODELEXPORT
from swiftop.kinds.sftrun.kind import KIND as SFTRUN
from swiftop.model.kind import Kind
from swiftop.names import Resource

_ALL = (SFTRUN, MODELEXPORT, DATASETUPLOAD, MODELDEPLOYMENT)

MODELS: tuple[type[CustomResource], ...] = tuple(kind.model for kind in _ALL)
"""Models of all kinds, for the CRDs."""

KINDS: Mapping[str, Kind] = {kind.resource.kind: kind for kind in _ALL}
"""By the word that ``kind:`` has."""


def watched(kinds: Mapping[str, Kind]) -> dict[Resource, str]:
    """What is watched, with the label selector that the API server applies.

    Of users' own Jobs, pods and claims nothing is ever sent to us, and of the runner's ConfigMaps, one in each
    namespace, neither. All objects of our own kinds are watched, whether or not one is another's child.
    """
    own = dict.fromkeys((kind.resource for kind in kinds.values()), "")
    children = dict.fromkeys(child for kind in kinds.values() for child in kind.children)
    selectors = {
        child: names.OWNED_SELECTOR if child is names.CONFIG_MAP else names.MANAGED_SELECTOR for child in children
    }
    return {**selectors, **own}


WATCHED: Mapping[Resource, str] = watched(KINDS)
