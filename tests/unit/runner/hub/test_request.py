"""The request and its answer survive the way to the task and back."""

from __future__ import annotations

import json

from swiftop.runner.hub.request import EXCLUDED, Push, Pushed, Target
from swiftop.runner.typed_json import from_json, to_json


def test_a_push_survives_the_way() -> None:
    target = Target("modelscope", "a/b", "model", "TOKEN", "internal", "v1", "message", True)
    push = Push(target, "u-1", "/folder", "data", ("*.pt",), 3, 0.5, 60.0)
    assert from_json(Push, json.loads(json.dumps(to_json(push)))) == push


def test_little_has_to_be_said() -> None:
    content = {"target": {"hub": "huggingface", "repo": "a/b", "repoType": "dataset", "tokenEnv": "T"}, "uid": "u-1"}
    push = from_json(Push, content)
    assert (push.target.visibility, push.target.overwrite, push.excluded) == ("private", False, EXCLUDED)


def test_a_result_survives_the_way() -> None:
    pushed = Pushed("c", "https://hub/a/b", "private", 2, 3, False, ("x",), 1)
    assert from_json(Pushed, json.loads(json.dumps(to_json(pushed)))) == pushed
