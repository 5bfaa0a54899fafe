"""Which volume a path of the pod belongs to, and whose host an error of the network names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftop.runner import hosts, volumes
from swiftop.runner.exceptions import UNCAUGHT, Raised
from swiftop.runner.meaning import meaning
from swiftop.runner.train import view
from swiftop.runner.volumes import volume_of
from swiftop.swift import paths


@pytest.mark.parametrize(
    ("path", "kind", "name"),
    [
        (f"{paths.OUTPUT_DIR}/run-0a1b2c3d/x", volumes.OUTPUT, "the output volume"),
        (f"{paths.CACHE_DIR}/hub", volumes.CACHE, "the cache volume"),
        (f"{paths.CLAIM_DATASETS_DIR}/chats/a.jsonl", volumes.SOURCE, "claim chats (datasets)"),
        (f"{view.ROOT}{paths.CLAIM_DATASETS_DIR}/chats/a.jsonl", volumes.SOURCE, "claim chats (datasets)"),
        (f"{paths.CLAIM_MODELS_DIR}/share/qwen", volumes.SOURCE, "claim share (models)"),
        (f"{paths.CONFIG_MAP_DATASETS_DIR}/tiny/a.jsonl", volumes.SOURCE, "ConfigMap tiny (datasets)"),
        (f"{paths.FILES_DIR}/plugin.py", volumes.SOURCE, "plugin.py of spec.files"),
        (f"{paths.ADAPTERS_DIR}/a", volumes.SOURCE, "the volume of the checkpoint that it starts from"),
        (f"{paths.WORK_DIR}/x", volumes.ELSEWHERE, "the pod's /tmp"),
        ("/root/.cache", volumes.ELSEWHERE, "the container's own file system"),
    ],
)
def test_volume_of_a_path(path: str, kind: str, name: str) -> None:
    assert volume_of(path) == (kind, name)


def test_a_dataset_that_is_read_by_links_may_be_unreadable_itself() -> None:
    raised = Raised(UNCAUGHT, f"PermissionError: [Errno 13] Permission denied: '{view.ROOT}/data/chats/a.jsonl'")
    assert meaning(raised).cause.reason == "SourceUnreadable"


@pytest.mark.parametrize(
    ("text", "whose"),
    [
        ("HTTPSConnectionPool(host='api.swanlab.cn', port=443)", hosts.TRACKER),
        ("HTTPSConnectionPool(host='api.wandb.ai', port=443)", hosts.TRACKER),
        ("Failed to resolve 'www.modelscope.cn'", hosts.HUB),
        ("404 Client Error for url: https://hf-mirror.com/x", hosts.HUB),
        ("Cannot connect to host cas-bridge.xethub.hf.co:443", hosts.HUB),
        ("HTTPSConnectionPool(host='mirror.corp', port=443): url: /api/models/a/b", hosts.HUB),
        ("HTTPConnectionPool(host='10.1.2.3', port=80): url: /1.jpg", hosts.OTHER),
        ("https://user:secret@images.example.com/1.jpg", hosts.OTHER),
        ("[Errno 111] Connection refused", None),
    ],
)
def test_whose_host(text: str, whose: str | None) -> None:
    assert hosts.whose(text) == whose


@given(st.text())
def test_any_text(text: str) -> None:
    volumes.told(f"[Errno 13] {text}")
    hosts.whose(text)
