"""An export tells how far its long steps are, and how long they will take, as ``swift export`` itself does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swiftop.runner.export.weights import Tensor, write_header
from swiftop.runner.protocol import ExportSettings, Owner
from swiftop.runner.typed_json import to_json
from tests.runner.harness import Bench, wait_until

MERGE = """
import pathlib, sys, time
partial, go = map(pathlib.Path, sys.argv[1:])
partial.mkdir()
with (partial / "model.safetensors").open("wb", buffering=0) as file:
    for piece in range(4):
        while not go.with_name(f"go-{piece}").exists():
            time.sleep(0.01)
        file.write(bytes(100))
"""


def test_the_merge_tells_its_bytes_and_the_time_that_is_left(bench: Bench) -> None:
    for name in ("base", "adapter"):
        bench.local(name).mkdir()
    with bench.local("base", "model.safetensors").open("wb") as file:
        write_header(file, [Tensor("w", "F32", (10, 10), "model.safetensors")])
        file.write(bytes(400))
    bench.local("adapter", "adapter_config.json").write_text("{}")
    folder = bench.inside("out")
    settings = ExportSettings(
        bench.inside("adapter"), bench.inside("base"), str(Path(folder, "model.partial")), verify=False
    )
    run = bench.start(
        [bench.python, "-c", MERGE, settings.partial, bench.inside("go")],
        program="export",
        owner=Owner("ModelExport", "ns", "merged", "uid-2"),
        settings=to_json(settings),
    )

    def told(name: str) -> Any:
        return run.progress().get(name)

    wait_until(lambda: told("bytesTotal") == 400, what="the size of what there will be")
    assert (told("phase"), told("bytesDone"), told("etaSeconds")) == (1, 0, None)
    bench.local("go-0").touch()
    wait_until(lambda: told("bytesDone") == 100, what="the first bytes")
    left = wait_until(lambda: told("etaSeconds"), what="the time that is left")
    assert "\nswiftop_export_eta_seconds " in (run.get("/metrics") or "")
    for piece in range(1, 4):
        bench.local(f"go-{piece}").touch()
    assert run.end()[0] != 0  # what was written is no model
    assert left > 0
