"""From a cluster to a site: what stands there before the first test, and before a figure is taken."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from images.build import BuiltImage, build
from tests.e2e import objects
from tests.e2e.site import NAMESPACE, ROOT, Site
from tests.e2e.support import Kubectl

SYSTEM = "swiftop-system"
OPERATOR_IMAGE = "registry.invalid/swiftop/operator"  # as manifests/base names it

Images = Mapping[str, BuiltImage]


def images(cluster: Any) -> Images:
    """Operator and trainer image of the current sources, imported into the cluster."""
    built = {name: build(name) for name in ("operator", "trainer-cpu")}
    for image in built.values():
        cluster.load(image.archive)
    return built


def operator(cluster: Any, images: Images, folder: Path) -> Kubectl:
    """The operator, installed from manifests/base in a pod with its real rights; kubectl for its namespace."""
    kubectl = Kubectl(Path(cluster.kubeconfig), SYSTEM)
    name, _, tag = images["operator"].tagged.rpartition(":")
    base = os.path.relpath((ROOT / "manifests" / "base").resolve(), folder.resolve())
    overlay = {"resources": [base], "images": [{"name": OPERATOR_IMAGE, "newName": name, "newTag": tag}]}
    (folder / "kustomization.yaml").write_text(json.dumps(overlay))
    kubectl("apply", "--server-side", "--force-conflicts", "-k", str(folder))
    kubectl.apply(objects.config_map("swiftop-defaults", {"image": images["trainer-cpu"].tagged}))
    kubectl("rollout", "status", "deployment/swiftop", "--timeout=300s")
    kubectl("wait", "--for=condition=Established", "crd/sftruns.swiftop.dev", "--timeout=120s")
    return kubectl


def site(operator: Kubectl, images: Images) -> Site:
    """The namespace of the tests, filled and with the fake servers running."""
    made = Site(operator.within(NAMESPACE), images["trainer-cpu"].tagged)
    made.prepare()
    return made
