"""Pods that share a cache: what one loads from a hub, another that starts at the same time does not load again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from swiftop.runner.protocol import ExportSettings, Owner
from swiftop.runner.typed_json import to_json
from tests.runner.harness import Bench, Execution, wait_until

WAITS = "waiting for another pod, which loads the same into the cache"
# Like ms-swift: a model that is not in the cache is downloaded, and then something is written.
MERGE = """
import json, pathlib, sys, time
shared, partial = map(pathlib.Path, sys.argv[1:])
model = shared / "model"
if not model.exists():
    with (shared / "downloads").open("a") as file:
        file.write("x")
    while not (shared / "go").exists():
        time.sleep(0.01)
    model.touch()
partial.mkdir()
header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
(partial / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
(partial / "config.json").write_text("{}")
"""


@dataclass
class Two:
    """Two exports of adapters of one model."""

    bench: Bench
    keys: tuple[str, ...] = ("model-of-a-hub",)

    @property
    def downloads(self) -> int:
        path = self.bench.local("downloads")
        return len(path.read_text()) if path.exists() else 0

    def start(self, name: str) -> Execution:
        adapter = self.bench.local("adapter")
        adapter.mkdir(exist_ok=True)
        (adapter / "adapter_config.json").write_text("{}")
        folder = self.bench.inside(name)
        partial = str(Path(folder, "model.partial"))
        settings = ExportSettings(str(adapter), "me/base", partial, verify=False)
        command = [self.bench.python, "-c", MERGE, self.bench.inside(), partial]
        return self.bench.start(
            command,
            program="export",
            owner=Owner("ModelExport", "ns", name, name),
            output_dir=folder,
            settings=to_json(settings),
            cache_dir=self.bench.inside("cache"),
            cache_keys=self.keys,
        )


def test_two_exports_at_once_download_their_model_once(bench: Bench) -> None:
    two = Two(bench)
    runs = [two.start("first"), two.start("second")]
    wait_until(lambda: two.downloads and any(WAITS in run.log for run in runs), what="one that waits for the other")
    assert two.downloads == 1
    bench.local("go").touch()
    assert [run.end()[0] for run in runs] == [0, 0]
    assert two.downloads == 1
    third = two.start("third")
    assert third.end()[0] == 0
    assert WAITS not in third.log


def test_a_download_that_failed_is_no_reason_to_go_without(bench: Bench) -> None:
    """Whoever waited for it downloads by itself."""
    two = Two(bench)
    first = two.start("first")
    wait_until(lambda: two.downloads == 1, what="the first download")
    second = two.start("second")
    second.wait_for_log(WAITS)
    first.terminate()
    first.end()
    wait_until(lambda: two.downloads == 2, what="the second download")
    bench.local("go").touch()
    assert second.end()[0] == 0
    assert two.downloads == 2
