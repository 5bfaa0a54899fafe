"""Fixtures of the end-to-end tests: images in the cluster, the operator installed as a user would, and the site."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e import faults, install
from tests.e2e.install import Images
from tests.e2e.node import Node
from tests.e2e.scene import Scene
from tests.e2e.site import Site
from tests.e2e.stories import History, watch
from tests.e2e.support import Kubectl


@pytest.fixture(scope="session")
def images(cluster: Any) -> Images:
    """Operator and trainer image of the current sources, imported into the cluster."""
    return install.images(cluster)


@pytest.fixture(scope="session")
def operator(cluster: Any, images: Images, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """The operator, installed as a user would; kubectl for its namespace."""
    return install.operator(cluster, images, tmp_path_factory.mktemp("overlay"))


@pytest.fixture(scope="session")
def site(operator: Kubectl, images: Images) -> Site:
    """The namespace of the tests, filled and with the fake servers running."""
    return install.site(operator, images)


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
    yield Played(scene, watch(site, faults.all_of(scene), scene.held, seconds=560))
    scene.close()
