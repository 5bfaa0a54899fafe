"""What publishing costs beside the hubs' bare clients: ``python -m tests.bench.push_cost [--gib 1] [--pairs 3]``.

Each pair is the same folder (four shards of weights and small files) published to the local fake hub by the task of the
runner, which looks at the repository before, hashes for both hubs and compares the listing afterwards, and by
``upload_folder`` of the hub's own client, which does not; in turns that alternate, each into a new repository and as a
process of its own. Both are bounded by the fake, which hashes what it gets.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from swiftop.runner.hub.request import HUGGINGFACE, MODELSCOPE
from tests.runner.hub.clients import WORK, Client, Desk, fake_hub
from tests.swift_versions.environments import environment

BARE = {
    MODELSCOPE: (
        "from modelscope_hub import HubApi; api = HubApi(token=__import__('os').environ['MODELSCOPE_API_TOKEN']); "
        "api.create_repo('alice/demo', 'model', visibility='private'); "
        f"api.upload_folder('alice/demo', 'model', '{WORK}/model', use_cache=False)"
    ),
    HUGGINGFACE: (
        "from huggingface_hub import HfApi; api = HfApi(); api.create_repo('alice/demo', private=True); "
        f"api.upload_folder(repo_id='alice/demo', folder_path='{WORK}/model')"
    ),
}
SHARDS = 4


def make_model(folder: Path, size: int) -> None:
    """Shards that all differ, since a hub takes the same content once."""
    folder.mkdir()
    folder.chmod(0o755)
    for number in range(SHARDS):
        with (folder / f"model-{number + 1:05d}-of-{SHARDS:05d}.safetensors").open("wb") as file:
            for block in range(max(1, size // SHARDS >> 20)):
                file.write(b"%08d%08d" % (number, block) * (1 << 16))
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json"):
        (folder / name).write_text("{}" * 1000)


def seconds(work: Callable[[], object]) -> float:
    """How long it took."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def pair(desk: Desk, *, bare_first: bool) -> tuple[float, float]:
    """Seconds of the runner's task and of the bare client."""

    def ours() -> None:
        done = desk.run()
        assert done.code == 0, done.log

    works: list[Callable[[], object]] = [ours, lambda: desk.python(BARE[desk.client.hub])]
    found = [0.0, 0.0]
    for which in (1, 0) if bare_first else (0, 1):
        desk.hub.ask("/_reset", {})
        found[which] = seconds(works[which])
        assert desk.repository["visibility"] == "private"
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=1.0, help="size of the weights")
    parser.add_argument("--pairs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, fake_hub() as hub:
        Path(directory).chmod(0o777)
        make_model(Path(directory, "model"), int(args.gib * 2**30))
        for name in BARE:
            desk = Desk(Client(name, environment("4.6")), hub, Path(directory))
            found = [pair(desk, bare_first=bool(number % 2)) for number in range(args.pairs)]
            ratios = sorted(ours / bare for ours, bare in found)
            ours, bare = (statistics.median(times) for times in zip(*found, strict=True))
            spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            print(f"{name:12} runner {ours:6.1f} s, bare client {bare:6.1f} s, ratio of {args.pairs} pairs {spread}")


if __name__ == "__main__":
    main()
