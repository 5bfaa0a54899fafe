"""One fake hub for the session, and the clients that images come with (``clients.py``)."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runner.hub.clients import CLIENTS, Client, Desk, FakeHub, fake_hub
from tests.swift_versions.environments import Environment, environment

WEIGHTS = 300_000


@functools.cache
def ready(name: str) -> Environment:
    """Made once."""
    return environment(name)


@pytest.fixture(scope="session")
def server() -> Iterator[FakeHub]:
    """Forgets everything before each test."""
    with fake_hub() as hub:
        yield hub


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module says in ``DESKS`` with which clients its tests run, unless a test has its own."""
    own = any("desk" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "desk" in metafunc.fixturenames and not own:
        metafunc.parametrize("desk", metafunc.module.DESKS, indirect=True)


@pytest.fixture
def desk(request: pytest.FixtureRequest, server: FakeHub, tmp_path: Path) -> Desk:
    """A small model, as ms-swift writes it, and a client to publish it."""
    hub, name = CLIENTS[request.param]
    server.ask("/_reset", {})
    desk = Desk(Client(hub, ready(name)), server, tmp_path)
    tmp_path.chmod(0o777)
    (desk.source / "extra").mkdir(parents=True)
    for path, content in (
        ("config.json", b'{"model_type": "qwen2"}'),
        ("model-00001-of-00002.safetensors", bytes(range(256)) * (WEIGHTS // 256)),
        ("model-00002-of-00002.safetensors", b"\1" * WEIGHTS),
        ("model.safetensors.index.json", b"{}"),
        ("chat_template.jinja", "{{ '你好' }}".encode()),
        ("extra/empty.txt", b""),
        ("args.json", b'{"dataset": ["/data/secret-project.jsonl"]}'),
        (".ms_upload_cache", b"{}"),
        (".tmpAbCdEf", b"half a shard"),
    ):
        (desk.source / path).write_bytes(content)
    return desk
