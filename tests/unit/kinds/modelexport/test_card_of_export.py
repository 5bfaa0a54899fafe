"""What the operator tells of an export for its model card."""

from __future__ import annotations

from typing import Any

from swiftop.api.v1alpha1.modelexport import ModelExport
from swiftop.kinds.modelexport.card import card
from swiftop.kinds.modelexport.source import Subject

RUN = {
    "metadata": {"namespace": "team", "name": "chats"},
    "spec": {"training": {"system": "You are Quillby of Example Ltd.", "epochs": 1}},
    "status": {
        "resolved": {"image": "registry.example.com/swift:4.6", "swiftVersion": "4.6"},
        "tracking": {"url": "https://swanlab.example.com/@me/chats"},
    },
}


def told(*visibilities: str) -> dict[str, Any]:
    """The card of an export that is pushed to repositories of these visibilities."""
    push = [{"hub": "modelscope", "repo": f"me/{name}", "visibility": name} for name in visibilities]
    spec = {"source": {"sftRunRef": {"name": "chats"}}, "output": {"volume": {"size": "1Gi"}}, "push": push}
    export = ModelExport.from_object({"metadata": {"name": "chats", "namespace": "team"}, "spec": spec})
    return card(export, Subject(claim_name="c", path="checkpoint-3", model="me/base"), export.spec, RUN)


def test_a_private_card_tells_everything() -> None:
    assert told("private", "internal") == {
        "name": "chats",
        "base": {"name": "me/base", "revision": "", "hub": "modelscope"},
        "adapter": False,
        "hyperparameters": {"training.system": "You are Quillby of Example Ltd.", "training.epochs": 1},
        "swiftVersion": "4.6",
        "image": "registry.example.com/swift:4.6",
        "tracker": "https://swanlab.example.com/@me/chats",
        "lineage": ["SFTRun team/chats, checkpoint of step 3"],
    }


def test_a_public_one_tells_nothing_of_the_platform_and_no_system_prompt() -> None:
    public = told("private", "public")
    assert not {"image", "tracker"} & public.keys()
    assert public["hyperparameters"] == {"training.epochs": 1}
