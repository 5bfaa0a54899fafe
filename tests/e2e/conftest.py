"""Fixtures of the end-to-end tests: images in the cluster, the operator installed as a user would, and the site."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from images.build import BuiltImage, build
from tests.e2e import faults, objects
from tests.e2e.node import Node
from tests.e2e.scene import Scene
from tests.e2e.site import NAMESPACE, ROOT, Site
from tests.e2e.stories import History, watch
from tests.e2e.support import Kubectl

SYSTEM = "swiftop-system"
OPERATOR_IMAGE = "swiftop/operator"  # as manifests/base names it


@pytest.fixture(scope="session")
def images(cluster: Any) -> dict[str, BuiltImage]:
    """Operator and trainer image of the current sources, imported into the cluster."""
    built = {name: build(name) for name in ("operator", "trainer-cpu")}
    for image in built.values():
        cluster.load(image.archive)
    return built


@pytest.fixture(scope="session")
def operator(cluster: Any, images: dict[str, BuiltImage], tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """The operator, installed from manifests/base in a pod with its real rights; kubectl for its namespace."""
    kubectl = Kubectl(Path(cluster.kubeconfig), SYSTEM)
    folder = tmp_path_factory.mktemp("overlay")
    name, _, tag = images["operator"].tagged.rpartition(":")
    base = os.path.relpath((ROOT / "manifests" / "base").resolve(), folder.resolve())
    overlay = {"resources": [base], "images": [{"name": OPERATOR_IMAGE, "newName": name, "newTag": tag}]}
    (folder / "kustomization.yaml").write_text(json.dumps(overlay))
    kubectl("apply", "--server-side", "--force-conflicts", "-k", str(folder))
    kubectl.apply(objects.config_map("swiftop-defaults", {"image": images["trainer-cpu"].tagged}))
    kubectl("rollout", "status", "deployment/swiftop", "--timeout=120s")
    kubectl("wait", "--for=condition=Established", "crd/sftruns.swiftop.dev", "--timeout=30s")
    return kubectl


@pytest.fixture(scope="session")
def site(operator: Kubectl, images: dict[str, BuiltImage]) -> Site:
    """The namespace of the tests, filled and with the fake servers running."""
    made = Site(operator.within(NAMESPACE), images["trainer-cpu"].tagged)
    made.prepare()
    return made


@pytest.fixture(scope="session")
def node(site: Site) -> Iterator[Node]:
    """The node that all pods are on."""
    made = Node(site)
    made.start()
    yield made
    made.stop()


@dataclass(frozen=True)
class Played:
    """The stories of exports and uploads, at their end."""

    scene: Scene
    history: History  # every state in which each object was seen, oldest first


@pytest.fixture(scope="session")
def played(site: Site, operator: Kubectl, node: Node) -> Iterator[Played]:
    """All at once, for several files of tests: each of them waits most of its time."""
    scene = Scene(site, operator, node)
    scene.prepare()
    yield Played(scene, watch(site, faults.all_of(scene), scene.held, seconds=840))
    scene.close()
