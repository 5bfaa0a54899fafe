"""A name never answers with other weights than its own: the pod is not ready, and tells which adapter is bad."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from swiftop.runner.protocol import ServedAdapter
from tests.runner.harness import Bench, wait_until
from tests.runner.serve.served import BASE, Served, adapter, bench, start


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, served_assets: Path) -> Iterator[Served]:
    """One good adapter among bad ones, and a second name of the good one."""
    made = bench(tmp_path_factory.mktemp("adapters") / "work", served_assets)
    names = [adapter(name) for name in ("nothing", "cut", "ada", "other", "deep")]
    running = start(made, *names, adapter("again", "ada"))
    running.wait_for_state("serving")
    wait_until(lambda: "again" not in str(running.not_answering()), seconds=120, what="the check of all names")
    yield running
    made.close()


def test_it_is_not_ready_and_the_names_that_are_right_answer(server: Served) -> None:
    told = server.told()
    assert (server.client.get("/ready").status_code, told["ready"]) == (503, False)
    assert {name: said == "answering" for name, said in told["names"].items()} == {
        BASE: True, "nothing": False, "cut": False, "ada": True, "other": False, "deep": False, "again": True,
    }  # fmt: skip
    assert server.text("ada") == server.text("again") != server.text(BASE)


@pytest.mark.parametrize("name", ["nothing", "cut", "other", "deep"])
def test_a_name_that_would_answer_wrongly_does_not_answer(server: Served, name: str) -> None:
    answer = server.chat(name)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
    assert name in answer.json()["error"]["message"]


def test_the_report_names_the_first(server: Served) -> None:
    wait_until(lambda: server.execution.progress().get("answering"), what="the report of PID 1")
    progress = server.execution.progress()
    assert (progress["phase"], progress["names"], progress["answering"]) == (3, 7, 3)
    assert progress["badAdapter"] in ("nothing", "cut", "other")
    words = {name: said for name, said in server.told()["names"].items() if said != "answering"}
    assert "answers as the model without the adapter" in words["nothing"]
    assert "cannot be loaded" in words["cut"]
    assert "cannot be loaded" in words["other"]
    assert "made for another model" in words["deep"]


@pytest.mark.parametrize("files", [(), ("adapter_config.json",)])
def test_an_adapter_that_is_not_there_is_told_at_once(volume: Bench, files: tuple[str, ...]) -> None:
    folder = volume.local("empty")
    if files:
        folder.mkdir()
    for name in files:
        (folder / name).write_text("{}")
    running = start(volume, adapter("ada"), ServedAdapter("eve", "/mnt/empty"))
    code, told = running.execution.end(30)
    assert (code, told["reason"]) == (12, "AdapterInvalid"), told
    assert "eve" in told["message"]
    assert (told["progress"]["badAdapter"], told["progress"]["badAdapterWhy"]) == ("eve", "Missing")


def test_a_model_that_is_not_there_is_told_at_once(volume: Bench) -> None:
    code, told = start(volume, model="/srv/models/none").execution.end(30)
    assert (code, told["reason"]) == (3, "ModelNotFound"), told
