"""The sample against the command that people ran by hand before; seeds/upload.sh is that command, word for word."""

from __future__ import annotations

import shlex
from pathlib import Path

from swiftop.runner.hub.request import DATASET
from swiftop.runner.protocol import UploadSettings
from swiftop.runner.typed_json import from_json
from swiftop.runner.upload.program import push_of
from swiftop.workload.job import plan_of
from tests.unit.kinds.datasetupload.test_children import CASES
from tests.unit.kinds.datasetupload.uploads import children_of

SEED = Path(__file__).parent / "seeds" / "upload.sh"


def test_the_sample_says_each_word_of_the_upload() -> None:
    plan = plan_of(children_of(*CASES["sample"])[-1])
    assert plan is not None
    settings = from_json(UploadSettings, plan.settings)
    push = push_of(settings, plan.owner)
    file = "/abs/path/to/your_sharegpt.jsonl"
    assert shlex.split(SEED.read_text("utf-8").replace("\\\n", " ")) == [
        push.target.hub,
        "upload",
        push.target.repo,
        file,
        push.path,
        "--repo-type",
        push.target.repo_type,
        "--commit-message",
        push.target.commit_message,
    ]
    assert push.source == f"/data/datasets/{Path(file).name}"  # its place in the pod
    assert push.target.repo_type == DATASET
    assert push.target.visibility == "private"  # by hand it would have been public, which nobody had said
