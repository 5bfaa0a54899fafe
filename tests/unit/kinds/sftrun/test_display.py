"""Ready-made texts for the columns of ``kubectl get``."""

from __future__ import annotations

import pytest

from swiftop.kinds.sftrun.display import progress_texts, spec_texts
from swiftop.model.times import duration
from tests.support.objects import ON_CPU, SHARED_VOLUMES, TWO_NODES, run_of


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (45, "45s"),
        (60, "1m"),
        (330, "5m30s"),
        (4333, "1h12m"),
        (7200, "2h"),
        (100_800, "1d4h"),
        (86_400, "1d"),
    ],
)
def test_duration(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_texts() -> None:
    assert progress_texts({"step": 3}) == {"progress": "3"}
    assert progress_texts({"step": 412, "maxSteps": 1000, "etaSeconds": 4333, "loss": 1.23456}) == {
        "progress": "412/1000 (41%)",
        "eta": "1h12m",
        "loss": "1.2346",
    }
    assert progress_texts({"step": 0, "maxSteps": 0}) == {"progress": "0"}
    assert progress_texts({}) == {}
    assert spec_texts(run_of(TWO_NODES).spec)["gpus"] == "2x8"
    assert spec_texts(run_of(ON_CPU).spec)["dataset"] == "/swiftop/datasets/tiny/chat.jsonl"
    assert spec_texts(run_of(SHARED_VOLUMES).spec)["dataset"] == "/data/lab/chats/train.jsonl +2"
