"""Serving as PID 1 sees it, driven by hand: the guard is played."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from swiftop.runner.classify import EndedChild
from swiftop.runner.output import Output
from swiftop.runner.program import Context, Ended, Step
from swiftop.runner.protocol import Owner, Plan, ServedAdapter, ServeSettings
from swiftop.runner.record import Record
from swiftop.runner.redact import Redactor
from swiftop.runner.report import SERVING, read
from swiftop.runner.serve import declared
from swiftop.runner.serve.program import Serve
from swiftop.runner.signals import Signals
from swiftop.runner.typed_json import to_json

KEY = "SERVE_API_KEY"
FLAGS = ("--model", "m", "--infer_backend", "vllm")


class Bench:
    """One execution."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        usual = {"engine": "transformers", "server": "Swift", "name": "base", "model": "alice/m", "stall_seconds": 60.0}
        wanted = ServeSettings(**{**usual, **settings})
        plan = Plan(
            program="serve",
            owner=Owner("ModelDeployment", "team", "chat", "uid-1"),
            attempt=1,
            command=("python", "-m", "swift.cli.deploy", *FLAGS),
            output_dir=str(directory / "work"),
            settings=json.loads(json.dumps(to_json(wanted))),
        )
        context = Context(
            plan=plan,
            environ={KEY: "secret-key"},
            rank=0,
            output=Output(Redactor(())),
            signals=Signals(),
            record=Record(directory / "work", uid="uid-1"),
        )
        self.program = Serve(context)
        self.step: Step | None = None

    def start(self) -> Step:
        self.step = next(self.program.steps())
        return self.step

    @property
    def folder(self) -> Path:
        assert self.step is not None
        return Path(self.step.command[-1])

    def tell(self, **state: Any) -> None:
        (self.folder / "progress").write_text(json.dumps(state))

    def end(self, code: int | None = 0, **how: Any) -> Ended:
        assert self.step is not None
        ended = self.program.judge(self.step, EndedChild(exit_code=code, **how), how.pop("evidence", ""))
        assert ended is not None
        return ended

    @property
    def report(self) -> dict[str, Any]:
        found = read(SERVING, self.program.report())
        found.pop("updated")
        return found


def reason(ended: Ended) -> tuple[str, str]:
    return ended.outcome, ended.judged.cause.reason


def test_the_guard_is_started_and_its_key_is_nowhere(tmp_path: Path) -> None:
    bench = Bench(tmp_path, key_env=KEY, adapters=(ServedAdapter("ada", "alice/ada", rank=24),), engine="vllm")
    assert bench.program.begin() is None
    assert bench.report == {"phase": 0, "names": 2, "answering": 0}
    step = bench.start()
    assert bench.report["phase"] == 1
    request = json.loads((bench.folder / "request").read_text())
    assert request["words"] == [*FLAGS, "--vllm_max_lora_rank", "32"]
    assert request["settings"]["keyEnv"] == KEY
    assert "secret-key" not in json.dumps([request, step.command, dict(step.environ)])
    assert request["also"] == {"server": "Swift", "serverWhy": "Asked"}
    bench.tell(phase=2, names=2, answering=2, tokensPerSecond=3.5)
    assert bench.report == {"phase": 2, "names": 2, "answering": 2, "tokensPerSecond": 3.5}


def test_adapters_of_a_file_are_read_at_the_start_and_followed_from_there(tmp_path: Path) -> None:
    folder = tmp_path / "ada"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"r": 24}')
    (folder / "adapter_model.safetensors").write_text("x")
    file = tmp_path / "adapters.json"
    file.write_text(declared.text_of((ServedAdapter("ada", str(folder)),)))
    native = ("vllm", "alice/m", "--max-lora-rank", "16")
    bench = Bench(tmp_path, engine="vllm", server="Native", adapters_file=str(file), native=native)
    assert bench.program.begin() is None
    assert bench.report["names"] == 2
    steps = bench.program.steps()
    bench.step = next(steps)
    asked = json.loads((bench.folder / "request").read_text())
    flags = [*FLAGS, "--vllm_max_lora_rank", "32", "--adapters", f"ada={folder}"]
    assert (asked["words"], asked["adapters"]) == (flags, [str(folder)])
    (bench.folder / "result").write_text(json.dumps({"equal": True}))
    bench.step = next(steps)
    request = json.loads((bench.folder / "request").read_text())
    assert request["declared"] == declared.digest(file.read_bytes())
    assert request["settings"]["native"] == ["vllm", "alice/m", "--max-lora-rank", "32"]
    assert [one["name"] for one in request["settings"]["adapters"]] == ["ada"]


@pytest.mark.parametrize("content", [None, b"{"])
def test_a_file_of_adapters_that_cannot_be_read_ends_the_start(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "adapters.json"
    if content is not None:
        file.write_bytes(content)
    ended = Bench(tmp_path, engine="vllm", server="Native", adapters_file=str(file)).program.begin()
    assert ended is not None
    assert reason(ended) == ("failed", "AdapterInvalid")
    assert str(file) in ended.judged.message


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"key_env": "OTHER"}, "SecretMissing"),
        ({"model": "/nowhere"}, "ModelNotFound"),
        ({"adapters": (ServedAdapter("ada", "/nowhere"),)}, "AdapterInvalid Missing"),
        ({"engine": "vllm", "adapters": (ServedAdapter("ada", "alice/ada", 700),)}, "AdapterInvalid RankTooHigh"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_loaded(tmp_path: Path, settings: Any, told: str) -> None:
    bench = Bench(tmp_path, **settings)
    ended = bench.program.begin()
    assert ended is not None
    cause, _, why = told.partition(" ")
    assert reason(ended) == ("failed", cause)
    bad = {name: value for name, value in bench.report.items() if name.startswith("bad")}
    assert bad == ({"badAdapter": "ada", "badAdapterWhy": why} if why else {})


@pytest.mark.parametrize(
    ("how", "outcome", "told"),
    [
        ({"code": 0, "forwarded": True}, "finished", "Drained"),
        ({"code": None, "signal": 15, "forwarded": True}, "interrupted", "Interrupted"),
        ({"code": 0}, "failed", "EngineDead"),
        ({"code": None, "signal": 9, "memory_killed": True}, "failed", "HostOutOfMemory"),
        ({"code": None, "signal": 9, "memory_killed": False}, "interrupted", "Interrupted"),
        ({"code": 1}, "failed", "Unknown"),
    ],
)
def test_an_end(tmp_path: Path, how: dict[str, Any], outcome: str, told: str) -> None:
    bench = Bench(tmp_path)
    bench.start()
    assert reason(bench.end(**how)) == (outcome, told)


def test_what_the_guard_says_of_its_end_counts(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.start()
    (bench.folder / "refused").write_text(json.dumps({"reason": "EngineStalled", "message": "no token for 61 s"}))
    ended = bench.end(9)
    assert (*reason(ended), ended.judged.message) == ("failed", "EngineStalled", "no token for 61 s")


def test_loading_has_a_limit(tmp_path: Path) -> None:
    bench = Bench(tmp_path, load_seconds=100.0)
    bench.start()
    begun = bench.program._started
    assert bench.program.check(begun + 99) is None
    why = bench.program.check(begun + 101)
    assert why == "not loaded after 100 s"
    assert reason(bench.end(None, signal=9, ended_by=why)) == ("failed", "LoadTimeout")


def test_a_guard_that_tells_nothing_more_hangs(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.start()
    begun = bench.program._started
    for second in range(1000, 1100, 20):
        bench.tell(phase=2, updated=second)
        assert bench.program.check(begun + second) is None
    assert bench.program.check(begun + 1080 + 59) is None
    why = bench.program.check(begun + 1080 + 61)
    assert why == "nothing was heard of it for 61 s"
    assert reason(bench.end(None, signal=9, ended_by=why)) == ("failed", "EngineStalled")


def test_a_drain_has_a_limit(tmp_path: Path) -> None:
    bench = Bench(tmp_path, drain_seconds=5.0, answer_seconds=100.0)
    bench.start()
    bench.tell(phase=2)
    bench.program.stop()
    begun = bench.program._stopped_at
    assert begun is not None
    assert bench.program.check(begun + 134) is None
    assert bench.program.check(begun + 136) == "it has not ended 135 s after it was asked to"


NATIVE: dict[str, Any] = {
    "engine": "vllm",
    "native": ("python", "-m", "vllm", "--model", "alice/m", "--served-model-name", "alice/m"),
    "adapters": (ServedAdapter("ada", "alice/ada"),),
}
FOLDERS = {"alice/m": "/cache/m", "alice/ada": "/cache/ada"}
EQUAL = {"equal": True, "chatTemplate": "", "folders": FOLDERS}


def checked(bench: Bench, result: dict[str, Any] | None, **end: Any) -> dict[str, Any] | Ended:
    """The request to the guard, or how it ended, after a check that has found this."""
    steps = bench.program.steps()
    bench.step = next(steps)
    assert bench.step.name == "prompt"
    if result is not None:
        (bench.folder / "result").write_text(json.dumps(result))
    how = {"exit_code": 0 if result is not None else 1, **end}
    ended = bench.program.judge(bench.step, EndedChild(**how), "")
    if ended is not None:
        return ended
    bench.step = next(steps)
    found: dict[str, Any] = json.loads((bench.folder / "request").read_text())
    return found


def test_the_engine_s_own_server_is_started_where_the_prompt_is_the_same(tmp_path: Path) -> None:
    bench = Bench(tmp_path, server="Auto", key_env=KEY, **NATIVE)
    request = checked(bench, EQUAL)
    assert isinstance(request, dict)
    settings = request["settings"]
    assert settings["server"] == "Native"
    assert settings["native"] == [*NATIVE["native"][:3], "--model", "/cache/m", "--served-model-name", "alice/m"]
    assert [item["path"] for item in settings["adapters"]] == ["/cache/ada"]
    assert request["also"] == {"server": "Native", "serverWhy": "TemplateEqual"}


def test_what_the_check_is_asked(tmp_path: Path) -> None:
    bench = Bench(tmp_path, server="Native", key_env=KEY, hub="huggingface", model_revision="v2", **NATIVE)
    step = bench.start()
    assert step.without == {KEY}
    request = json.loads((bench.folder / "request").read_text())
    assert Path(request.pop("directory")).is_dir()
    assert request == {
        "words": [*FLAGS], "model": "alice/m", "adapters": ["alice/ada"], "hub": "huggingface", "revision": "v2",
    }  # fmt: skip


DIFFERENT = {"equal": False, "difference": "system: from token 3 on", "folders": FOLDERS}


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (DIFFERENT, "TemplateDiffers"),
        ({"equal": None, "unknown": "no template", "folders": FOLDERS}, "TemplateUnknown"),
        (None, "TemplateUnknown"),
    ],
)
def test_auto_takes_ms_swift_s_server_otherwise(tmp_path: Path, result: Any, why: str) -> None:
    request = checked(Bench(tmp_path, server="Auto", **NATIVE), result)
    assert isinstance(request, dict)
    assert (request["settings"]["server"], request["settings"]["model"]) == ("Swift", "alice/m")
    assert request["also"] == {"server": "Swift", "serverWhy": why}


def test_native_is_refused_with_the_place_where_prompts_part(tmp_path: Path) -> None:
    ended = checked(Bench(tmp_path, server="Native", **NATIVE), DIFFERENT)
    assert isinstance(ended, Ended)
    assert reason(ended) == ("failed", "TemplateDiffers")
    assert "system: from token 3 on" in ended.judged.message


def test_a_check_that_fails_is_told_as_what_it_is(tmp_path: Path) -> None:
    ended = checked(Bench(tmp_path, server="Native", **NATIVE), None, exit_code=None, signal=9, memory_killed=True)
    assert isinstance(ended, Ended)
    assert reason(ended) == ("failed", "HostOutOfMemory")


def test_a_stop_while_prompts_are_compared(tmp_path: Path) -> None:
    ended = checked(Bench(tmp_path, server="Auto", **NATIVE), None, exit_code=None, signal=15, forwarded=True)
    assert isinstance(ended, Ended)
    assert reason(ended) == ("interrupted", "Interrupted")


def test_a_check_has_the_same_limit_as_loading(tmp_path: Path) -> None:
    bench = Bench(tmp_path, server="Auto", load_seconds=100.0, **NATIVE)
    bench.start()
    why = bench.program.check(bench.program._started + 101)
    assert reason(bench.end(None, signal=9, ended_by=why)) == ("failed", "LoadTimeout")


def test_a_server_that_cannot_be_another_is_not_checked(tmp_path: Path) -> None:
    bench = Bench(tmp_path, server="Auto", swift_only="NoOwnServer")
    assert bench.start().name == "serve"
    assert json.loads((bench.folder / "request").read_text())["also"]["serverWhy"] == "NoOwnServer"


def test_a_template_that_was_made_is_given_to_an_engine_that_takes_one(tmp_path: Path) -> None:
    made = {**EQUAL, "difference": "system: ...", "chatTemplate": "/tmp/c.jinja"}
    request = checked(Bench(tmp_path, server="Auto", **NATIVE), made)
    assert isinstance(request, dict)
    assert (request["prompt"]["chatTemplate"], request["also"]["serverWhy"]) == ("/tmp/c.jinja", "TemplateMadeEqual")
    other = {"engine": "lmdeploy", "native": ("lmdeploy", "alice/m")}
    request = checked(Bench(tmp_path / "other", server="Auto", **other), made)
    assert isinstance(request, dict)
    assert request["also"] == {"server": "Swift", "serverWhy": "TemplateDiffers"}


def test_a_guard_that_hangs_is_not_waited_for_when_it_is_asked_to_stop(tmp_path: Path) -> None:
    """The kubelet asks, after some probes without an answer: the longest answer of all is none that comes."""
    bench = Bench(tmp_path, drain_seconds=5.0, answer_seconds=300.0)
    bench.start()
    begun = bench.program._started
    bench.tell(phase=2, updated=1)
    assert bench.program.check(begun + 10) is None
    bench.program.stop()
    bench.program._stopped_at = begun + 35
    bench.tell(phase=4, updated=2)
    assert bench.program.check(begun + 36) is None
    assert bench.program.check(begun + 65) is None
    why = bench.program.check(begun + 67)
    assert why == "nothing was heard of it for 31 s"
    assert reason(bench.end(None, signal=9, ended_by=why, forwarded=True)) == ("failed", "EngineStalled")


def test_what_a_guard_said_long_ago_is_not_how_it_is(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.start()
    bench.tell(phase=2, names=1, answering=1, updated=1)
    assert bench.program.check(time.monotonic()) is None
    assert (bench.report["phase"], bench.report["answering"]) == (2, 1)
    bench.program._told_at -= 11
    assert (bench.report["phase"], bench.report["answering"]) == (3, 0)
    bench.tell(phase=2, names=1, answering=1, updated=2)  # it goes on
    assert bench.report["phase"] == 2
