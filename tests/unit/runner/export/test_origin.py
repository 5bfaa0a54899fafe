"""Where a model lies, by folder or by id."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from swiftop.runner.origin import folder_of


@pytest.mark.parametrize("name", ["swift.utils.hub_utils", "swift.llm.model.utils"])
def test_an_id_is_looked_up_by_ms_swift(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    module = ModuleType(name)
    module.safe_snapshot_download = lambda *words, **more: f"/cache/{words}/{more}"  # type: ignore[attr-defined]
    for parent in ("swift", "swift.utils", "swift.llm", "swift.llm.model"):
        monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
    monkeypatch.setitem(sys.modules, name, module)
    found = folder_of("Qwen/Qwen3-8B", {"hub": "huggingface"}, revision="v1")
    assert str(found) == "/cache/('Qwen/Qwen3-8B', 'v1')/{'use_hf': True}"


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert folder_of(str(tmp_path), {}) == tmp_path
    assert folder_of("/not/there", {}) == Path("/not/there")


def test_without_ms_swift_an_id_cannot_be_looked_up() -> None:
    with pytest.raises(ImportError, match="safe_snapshot_download"):
        folder_of("Qwen/Qwen3-8B", {})
