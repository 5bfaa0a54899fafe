"""Exports by the program ``export`` around real ms-swift, of an adapter and a checkpoint that it has trained itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftop.runner.protocol import CLIENT_TOKENS, ExportSettings, ExportTarget, Owner
from swiftop.runner.typed_json import to_json
from tests.runner.harness import Bench, Execution
from tests.runner.hub.clients import TOKEN, FakeHub, fake_hub
from tests.runner.trainer import MODEL, WORK, sft, trainer

OWNER = Owner("ModelExport", "ns", "merged", "uid-2")
STEPS = 2
ADAPTER, FULL = f"adapter/checkpoint-{STEPS}", f"full/checkpoint-{STEPS}"
ENDPOINTS = ("MODELSCOPE_ENDPOINT", "HF_ENDPOINT")
TARGETS = tuple(ExportTarget(hub, "alice/tuned", CLIENT_TOKENS[hub]) for hub in CLIENT_TOKENS)


@dataclass
class Exports:
    """A trained adapter, a full checkpoint, and exports of them in the same volume."""

    bench: Bench
    hub: FakeHub
    assets: Path  # pods see it as ASSETS

    def export(
        self,
        name: str,
        source: str = "",
        *,
        token: str = TOKEN,
        packages: str = "",
        environ: Mapping[str, str] | None = None,
        plan: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Execution:
        """Start an export into a folder of its own."""
        folder = f"{WORK}/{name}"
        given = {"source": source and f"{WORK}/{source}", "model": MODEL, "partial": f"{folder}/model.partial"}
        chosen = ExportSettings(**{**given, **settings})
        command = ["python", "-m", "swift.cli.export", "--model", MODEL, "--adapters", chosen.source or chosen.adapter]
        command += ["--merge_lora", "true", "--output_dir", chosen.partial]
        command += ["--torch_dtype", chosen.dtype] if chosen.dtype else []
        return self.bench.start(
            command,
            program="export",
            owner=OWNER,
            output_dir=folder,
            settings=to_json(chosen),
            termination_log=f"{WORK}/termination-log",
            environ={
                **dict.fromkeys(ENDPOINTS, self.hub.url),
                **dict.fromkeys(CLIENT_TOKENS.values(), token),
                "PYTHONUSERBASE": packages,
                **(environ or {}),
            },
            secret_env=tuple(CLIENT_TOKENS.values()),
            **(plan or {}),
        )

    def files(self, name: str) -> dict[str, int]:
        """Mode by name of the files of a result."""
        return {path.name: path.stat().st_mode & 0o777 for path in self.bench.local(name, "model").iterdir()}


@contextmanager
def trained_exports(directory: Path, assets: Path) -> Iterator[Exports]:
    bench = trainer(directory, assets)
    kinds: dict[str, dict[str, Any]] = {"adapter": {}, "full": {"tuner_type": "full"}}
    for name, changes in kinds.items():
        folder = f"{WORK}/{name}"
        command = sft(output_dir=folder, max_steps=STEPS, save_steps=STEPS, **changes)
        code, told = bench.start(command, output_dir=folder).end(120)
        assert code == 0, told
    with fake_hub() as hub:
        yield Exports(bench, hub, assets)
    bench.close()
