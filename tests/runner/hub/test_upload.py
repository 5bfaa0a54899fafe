"""A whole upload: the real zip file as PID 1, the real check, the real clients, the fake hub."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass
from typing import Any

import pytest

from swiftop.runner.bundle import bundle
from swiftop.runner.protocol import CLIENT_TOKENS, Owner, Plan, UploadSettings
from swiftop.runner.report import BadRow, read_bad_rows
from swiftop.runner.typed_json import to_json
from swiftop.workload.pods import decoded, encoded
from tests.runner.harness import free_port
from tests.runner.hub.clients import ENTER, IN_THE_IMAGE, MARKER, ROOT, SOURCES, TOKEN, UID, WORK, Desk
from tests.unit.runner.rows.files import SHAREGPT, line

DESKS = IN_THE_IMAGE
GOOD = line(SHAREGPT)
UNSHARE = ("unshare", "--pid", "--fork", "--mount", "--kill-child", "sh", "-c", ENTER, "sh")


@dataclass(frozen=True)
class Upload:
    """How an execution ended."""

    code: int
    message: dict[str, Any]
    log: str


def plan_of(hub: str, **settings: Any) -> Plan:
    """The plan of an upload of the file ``chats.jsonl`` in its working directory."""
    wanted = UploadSettings(
        source=f"{WORK}/chats.jsonl",
        hub=hub,
        repo="alice/demo",
        path="data/train.jsonl",
        token_env=CLIENT_TOKENS[hub],
        **settings,
    )
    return Plan(
        program="upload",
        owner=Owner("DatasetUpload", "team", "chats", UID),
        attempt=1,
        command=(),
        output_dir="/tmp/upload",
        settings=to_json(wanted),
        required_env=(CLIENT_TOKENS[hub],),
        secret_env=(CLIENT_TOKENS[hub],),
        port=free_port(),
        termination_log=f"{WORK}/termination-log",
    )


def upload(desk: Desk, *content: bytes, token: str = TOKEN, **settings: Any) -> Upload:
    """Run one to its end."""
    hub, directory = desk.client.hub, desk.directory
    (directory / "chats.jsonl").write_bytes(b"\n".join(content) + b"\n")
    (directory / "runner.pyz").write_bytes(bundle())
    plan = plan_of(hub, **settings)
    assert decoded(encoded(plan)) == plan
    environment = desk.client.environment
    mounts = [str(environment.rootfs), str(environment.store), str(ROOT / "operator"), str(directory)]
    environ = {
        "PATH": "/opt/swift/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONPATH": SOURCES,
        "MODELSCOPE_ENDPOINT": desk.hub.url,
        "HF_ENDPOINT": desk.hub.url,
        "SWIFTOP_PLAN": plan.to_json(),
        CLIENT_TOKENS[hub]: token,
    }
    done = subprocess.run(
        [*UNSHARE, *mounts, environment.python, f"{WORK}/runner.pyz"],
        env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False,
    )  # fmt: skip
    raw = (directory / "termination-log").read_bytes()
    assert len(raw) <= 4096
    log = done.stdout.decode()
    assert token not in log
    assert token.encode() not in raw
    return Upload(done.returncode, json.loads(raw), log)


def test_a_good_file_is_there_in_the_end_and_the_same_again_makes_no_commit(desk: Desk) -> None:
    first = upload(desk, GOOD, GOOD)
    assert first.code == 0, first.log
    (name,) = [name for name in desk.hub.ask("/_state")[desk.client.hub] if "alice/demo" in name]
    repository = desk.hub.repository(desk.client.hub, name)
    content = (desk.directory / "chats.jsonl").read_bytes()
    assert repository["visibility"] == "private"
    assert repository["files"]["data/train.jsonl"] == hashlib.sha256(content).hexdigest()
    assert MARKER in repository["files"]
    progress = first.message["progress"]
    assert (first.message["outcome"], first.message["reason"]) == ("finished", "Completed")
    assert (progress["phase"], progress["total"], progress["duplicates"], progress["visibility"]) == (
        3,
        2,
        1,
        "private",
    )
    assert progress["commit"] == repository["commits"][-1]["id"]
    second = upload(desk, GOOD, GOOD)
    assert (second.code, second.message["progress"]["commit"]) == (0, progress["commit"])


def test_bad_rows_are_told_and_nothing_is_uploaded(desk: Desk) -> None:
    done = upload(desk, GOOD, b"{}", *[line({"messages": [{"role": "x" * 300, "content": f"{n}"}]}) for n in range(30)])
    assert (done.code, done.message["reason"]) == (4, "DataInvalid")
    told = read_bad_rows(done.message)
    assert [row.line for row in told] == list(range(2, 22))
    assert told[0] == BadRow(2, "has no column of a known format, but none: name them by spec.columns")
    assert not [entry for entry in desk.hub.requests() if entry["method"] != "GET"]


def test_a_token_that_is_not_good_is_told_before_the_file_is_read(desk: Desk) -> None:
    done = upload(desk, GOOD, token="ms-canary-of-nobody")
    assert (done.code, done.message["reason"]) == (7, "HubAuthFailed")
    assert "total" not in done.message["progress"]


@pytest.mark.parametrize("rows", [b"", b"\n\n"])
def test_an_empty_file(desk: Desk, rows: bytes) -> None:
    assert upload(desk, rows).message["reason"] == "DatasetEmpty"
