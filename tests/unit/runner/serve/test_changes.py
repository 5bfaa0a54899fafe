"""Adapters that come, change and go while a guard serves: its engine is played, the file is a real one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from swiftop.runner.protocol import GatePrompt, ServedAdapter
from swiftop.runner.serve import declared, metrics
from swiftop.runner.serve.app import App
from swiftop.runner.serve.backend import Backend
from swiftop.runner.serve.changes import PATIENCE_SECONDS, Changes, Start
from swiftop.runner.serve.gate import Gate
from tests.unit.runner.serve.fake_backend import Client
from tests.unit.runner.serve.pod import Pod

WORDS = ("python", "-m", "vllm", "--max-lora-rank", "32")


class Following(Pod):
    """A guard that serves ``ada`` and ``bob``, with their folders in ``directory``."""

    def __init__(self, directory: Path, *, gate: tuple[GatePrompt, ...] = ()) -> None:
        self.directory = directory
        super().__init__(*(self.adapter(name) for name in ("ada", "bob")))
        if gate:
            asked: Backend = self.backend
            self.prober._gate = Gate(gate, asked, self.board, self.readiness, seconds=60)
        self.weights.update(ada=[-2.0], bob=[-3.0])
        self.file = directory / "adapters.json"
        self.said = "hello"
        start = Start(
            path=str(self.file),
            model="base",
            digest=self.declare("ada", "bob"),
            adapters=(self.adapter("ada"), self.adapter("bob")),
            words=WORDS,
            folders={"me/hub": str(self.directory / "bob")},
        )
        self.changes = Changes(start, self.backend, self.board, self.readiness, self.prober)
        self.watch._changes = self.changes

    def adapter(self, name: str, folder: str = "", **members: Any) -> ServedAdapter:
        """Its folder is made."""
        where = self.directory / (folder or name)
        where.mkdir(exist_ok=True)
        (where / "adapter_config.json").write_text(json.dumps({"r": members.pop("r", 8)}))
        (where / "adapter_model.safetensors").write_bytes(where.name.encode())
        return ServedAdapter(name, str(where), **members)

    def write_config(self, adapter: ServedAdapter, text: str) -> None:
        Path(adapter.path, "adapter_config.json").write_text(text)

    def declare(self, *wanted: str | ServedAdapter) -> str:
        adapters = tuple(self.adapter(one) if isinstance(one, str) else one for one in wanted)
        return self.write(declared.text_of(adapters).encode())

    def write(self, content: bytes) -> str:
        part = self.directory / "part"
        part.write_bytes(content)
        part.rename(self.file)
        return declared.digest(content)

    async def begin(self) -> None:
        await self.prober.check_all()
        self.changes.digest = self.changes._start.digest
        await self.changes.look()
        self.backend.loaded.clear()

    async def take(self, *wanted: str | ServedAdapter) -> dict[str, Any]:
        digest = self.declare(*wanted)
        await self.changes.look()
        told = self.watch.state()
        assert told["adapters"] == digest
        return told

    def _reply(self, asked: Mapping[str, Any]) -> tuple[int, list[Any]]:
        if asked.get("max_tokens") == 1:
            return super()._reply(asked)
        content = {"choices": [{"message": {"role": "assistant", "content": self.said}}]}
        return 200, [json.dumps(content).encode()]


@pytest.fixture
async def pod(tmp_path: Path) -> Following:
    made = Following(tmp_path)
    await made.begin()
    assert made.readiness.ready
    return made


async def test_nothing_is_done_as_long_as_nothing_changes(pod: Following) -> None:
    asked = len(pod.backend.asked)
    for _ in range(100):
        await pod.changes.look()
    assert (pod.backend.loaded, pod.backend.unloaded, len(pod.backend.asked)) == ([], [], asked)


async def test_a_new_one_answers_once_it_was_asked(pod: Following) -> None:
    pod.weights["eve"] = [-4.0]
    told = await pod.take("ada", "bob", "eve")
    assert (told["names"], told["answering"], told["badAdapter"], told["phase"]) == (4, 4, None, 2)
    assert pod.backend.loaded == ["eve"]
    assert 'requests_total{name="eve",outcome="ok"} 0' in _metrics(pod)


async def test_newer_weights_get_a_name_that_was_never_used_and_the_older_ones_stay_until_they_are_done(
    pod: Following,
) -> None:
    pod.weights["ada@1"] = [-4.0]
    call = pod.board.begin("ada", inside=pod.readiness.inside("ada"))
    told = await pod.take(pod.adapter("ada", "newer"), "bob")
    assert (told["badAdapter"], pod.readiness.inside("ada"), pod.readiness.inside("bob")) == (None, "ada@1", "bob")
    assert pod.backend.unloaded == []
    pod.board.end(call, "ok")
    await pod.changes.look()
    assert pod.backend.unloaded == ["ada"]
    # Back to what it was: never under the old name, whose cache may be that of the weights before.
    pod.weights["ada@2"] = [-2.0]
    await pod.take("ada", "bob")
    assert (pod.readiness.inside("ada"), pod.backend.unloaded) == ("ada@2", ["ada", "ada@1"])


async def test_other_weights_in_the_same_folder_are_other_weights(pod: Following) -> None:
    pod.weights["ada@1"] = [-2.0]  # even those that say the same as before
    await pod.take(pod.adapter("ada", version="uid-2"), "bob")
    assert pod.readiness.inside("ada") == "ada@1"


async def test_a_rank_that_is_told_alone_is_no_change(pod: Following) -> None:
    await pod.take(pod.adapter("ada", rank=8), "bob")
    assert pod.backend.loaded == []


async def test_a_name_that_is_gone_is_not_known_and_its_answers_end_well(pod: Following) -> None:
    call = pod.board.begin("bob", inside="bob")
    told = await pod.take("ada")
    assert (told["names"], pod.readiness.names, pod.readiness.ready) == (2, ("base", "ada"), True)
    assert pod.backend.unloaded == []
    client = Client()
    client.app = App(pod.backend, pod.board, pod.readiness)
    assert (await client.chat(model="bob")).status == 404
    pod.board.end(call, "ok")
    await pod.changes.look()
    assert (pod.backend.unloaded, pod.board.requests("ok")) == (["bob"], 1)
    # It may come again, under another name inside.
    pod.weights["bob@1"] = [-3.0]
    await pod.take("ada", "bob")
    assert (pod.readiness.inside("bob"), pod.readiness.ready) == ("bob@1", True)


@pytest.mark.parametrize(
    ("newer", "word", "said"),
    [
        ({"weights": [-1.0]}, "AnswersAsBase", "as the model without the adapter"),
        ({"weights": [-3.0]}, "AnswersAsAnother", "it answers as bob does"),
        ({"weights": [RuntimeError("no")]}, "LoadFailed", "RuntimeError: no"),
        ({"weights": [-4.0], "r": 64}, "RankTooHigh", "started for at most 32: give it rank: 64 in spec.adapters"),
        ({"weights": [-4.0], "r": 600}, "RankTooHigh", "vLLM serves none above 512"),
        ({"weights": [-4.0], "r": {}, "deep": True}, "Missing", "cannot be read"),
        ({"weights": [-4.0], "misfit": "layer 7"}, "OtherModel", "layer 7"),
        ({"weights": [-4.0], "path": "/nowhere"}, "Missing", "the folder /nowhere does not exist"),
        ({"weights": [-4.0], "path": "me/other"}, "Missing", "was not downloaded at the start"),
        ({"weights": [-4.0], "base": [-1.0, -1.0, -1.0, -7.0]}, "ChangesModel", "the model itself"),
    ],
)
async def test_what_is_wrong_is_told_and_what_was_served_goes_on(
    pod: Following, newer: dict[str, Any], word: str, said: str
) -> None:
    pod.weights["ada@1"] = newer["weights"]
    pod.weights["base"] = newer.get("base", pod.weights["base"])
    if "misfit" in newer:
        pod.backend.misfits["ada@1"] = newer["misfit"]
    adapter = pod.adapter("ada", "newer", r=newer.get("r", 8))
    path = newer.get("path", adapter.path)
    if "deep" in newer:
        pod.write_config(adapter, "[" * 100_000)
    told = await pod.take(ServedAdapter("ada", path), "bob")
    assert (told["badAdapter"], told["badAdapterWhy"], told["answering"], told["phase"]) == ("ada", word, 3, 2)
    assert said in pod.readiness.bad["ada"][1]
    assert (pod.readiness.inside("ada"), pod.readiness.why_not_served("ada")) == ("ada", None)
    assert pod.readiness.told()["names"]["ada"].startswith("answering as before: ")
    assert pod.board.uses("ada@1") is False
    # As it was: nothing is loaded for it.
    pod.backend.loaded.clear()
    told = await pod.take("ada", "bob")
    assert (told["badAdapter"], pod.backend.loaded) == (None, [])


async def test_a_new_name_that_is_wrong_is_told_to_clients_and_keeps_no_pod_from_being_ready(pod: Following) -> None:
    pod.weights["eve"] = [-1.0]
    told = await pod.take("ada", "bob", "eve")
    assert (told["names"], told["answering"], told["phase"], pod.readiness.ready) == (4, 3, 2, True)
    client = Client()
    client.app = App(pod.backend, pod.board, pod.readiness)
    response = await client.chat(model="eve")
    assert (response.status, "as the model without the adapter" in response.json["error"]["message"]) == (503, True)
    pod.weights["eve@1"] = [-4.0]
    told = await pod.take("ada", "bob", pod.adapter("eve", "better"))
    assert (told["answering"], told["badAdapter"], pod.readiness.inside("eve")) == (4, None, "eve@1")


async def test_a_new_name_that_was_wrong_goes_without_a_trace(pod: Following) -> None:
    pod.weights["eve"] = [-1.0]
    await pod.take("ada", "bob", "eve")
    told = await pod.take("ada", "bob")
    assert (told["names"], told["answering"], told["badAdapter"]) == (3, 3, None)
    assert pod.readiness.told()["names"].keys() == {"base", "ada", "bob"}


async def test_files_that_come_late_are_waited_for(
    pod: Following, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pod.weights["eve"] = [-4.0]
    told = await pod.take("ada", "bob", ServedAdapter("eve", str(tmp_path / "late")))
    assert told["badAdapterWhy"] == "Missing"
    for _ in range(int(PATIENCE_SECONDS)):
        await pod.changes.look()
    assert pod.readiness.bad["eve"][0] == "Missing"
    pod.adapter("eve", "late")
    for _ in range(int(PATIENCE_SECONDS)):
        await pod.changes.look()
    assert capsys.readouterr().out.count("eve is not served") == 1
    assert (pod.readiness.bad, pod.readiness.answering) == ({}, ("base", "ada", "bob", "eve"))


@pytest.mark.parametrize("content", [b"", b"{", b'{"adapters": [{"name": "base", "path": "/x"}]}'])
async def test_a_broken_file_changes_nothing_and_is_told_once(
    pod: Following, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    before = pod.watch.state()
    for _ in range(5):
        pod.write(content)
        await pod.changes.look()
    pod.file.unlink()
    await pod.changes.look()
    assert {**pod.watch.state(), "updated": 0} == {**before, "updated": 0}
    assert capsys.readouterr().out.count("cannot be read") == 2
    pod.weights["eve"] = [-4.0]
    assert (await pod.take("ada", "bob", "eve"))["answering"] == 4


async def test_an_adapter_of_a_hub_is_the_folder_that_was_downloaded(pod: Following) -> None:
    await pod.take("ada", "bob", ServedAdapter("copy", "me/hub"))
    assert pod.readiness.bad == {"copy": ("LoadFailed", pod.readiness.bad["copy"][1])}  # the engine plays no such name
    pod.weights["copy@1"] = [-3.0]
    await pod.take("ada", "bob", ServedAdapter("copy", "me/hub"), ServedAdapter("same", "me/hub"))
    assert pod.readiness.inside("copy") == "copy@1"  # as bob, of the same files


async def test_the_gate_asks_newer_weights_of_the_names_that_it_names(tmp_path: Path) -> None:
    pod = Following(tmp_path, gate=(GatePrompt("bob", "Who?", "bob"), GatePrompt("ada", "Who?", "swift")))
    await pod.begin()
    pod.weights["ada@1"] = [-4.0]
    told = await pod.take(pod.adapter("ada", "newer"), "bob")
    assert (told["badAdapter"], told["badAdapterWhy"], told["phase"]) == ("ada", "GateFailed", 2)
    assert 'does not contain "swift", it was "hello"' in pod.readiness.bad["ada"][1]
    pod.said, pod.weights["ada@2"] = "I am swift", [-4.0]
    await pod.take(pod.adapter("ada", "newest"), "bob")
    assert pod.readiness.inside("ada") == "ada@2"


async def test_another_prompt_than_that_of_the_training_is_refused_for_the_first(tmp_path: Path) -> None:
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / "args.json").write_text('{"system": "Be brief.", "template": "qwen2_5"}')
    pod = Following(tmp_path)
    await pod.begin()
    pod.weights["ada@1"] = [-4.0]
    newer = pod.adapter("ada", "newer")
    (tmp_path / "newer" / "args.json").write_text('{"system": "Be long.", "template": "qwen2_5"}')
    told = await pod.take(newer, "bob")
    assert (told["badAdapterWhy"], pod.readiness.ready) == ("OtherPrompt", True)
    assert "another system than the one that the prompts" in pod.readiness.bad["ada"][1]


async def test_one_that_was_bad_at_the_start_is_mended_and_the_pod_ready(tmp_path: Path) -> None:
    pod = Following(tmp_path)
    pod.weights["bob"] = [-1.0]
    await pod.begin()
    assert not pod.readiness.ready
    pod.weights["bob@1"] = [-3.0]
    told = await pod.take("ada", pod.adapter("bob", "newer"))
    assert (told["badAdapter"], pod.readiness.ready) == (None, True)


async def test_a_dead_engine_ends_it(pod: Following) -> None:
    class EngineDeadError(Exception):
        """As vLLM's."""

    pod.weights["eve"] = [EngineDeadError("gone")]
    pod.declare("ada", "bob", "eve")
    with pytest.raises(EngineDeadError):
        await pod.changes.look()


async def test_nothing_is_taken_while_it_drains(pod: Following) -> None:
    pod.readiness.draining = True
    pod.declare("ada")
    await pod.changes.look()
    assert pod.readiness.names == ("base", "ada", "bob")


async def test_a_question_of_the_guard_that_fails_on_weights_that_were_just_replaced_is_none(pod: Following) -> None:
    class Replacing(list[Any]):
        def pop(self, at: Any = 0) -> Any:
            pod.readiness.point("ada", "ada@1")
            return RuntimeError("unloaded")

    pod.weights["ada"] = Replacing([0, 0])
    for _ in range(3):
        await pod.prober.check_next()
    assert (pod.readiness.bad, pod.readiness.ready) == ({}, True)


def _metrics(pod: Following) -> str:
    return metrics.exposition(pod.board, ready=True)
