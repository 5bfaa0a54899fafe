"""SwanLab's environment and link, and which secret variables a run needs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from swiftop.kinds.sftrun import tracking
from swiftop.kinds.sftrun.command import secret_vars
from swiftop.swift.paths import Identity
from swiftop.swift.secrets import SecretVar
from tests.support.objects import spec_of as spec
from tests.unit.kinds.sftrun.samples import UID

RUN = Identity(name="demo", uid=UID)


def swanlab(**members: Any) -> Any:
    return spec(tracking={"swanlab": {"project": "p 1", **members}})


def test_the_run_id_is_one_of_swanlabs_own_kind_and_fixed_by_the_uid() -> None:
    assert re.fullmatch("[0-9a-z]{21}", tracking.run_id(RUN))
    assert tracking.run_id(RUN) == tracking.run_id(Identity(name="other", uid=UID))
    assert tracking.run_id(RUN) != tracking.run_id(Identity(name="demo", uid=UID[::-1]))


def test_environment() -> None:
    assert tracking.env(spec(), RUN) == {}
    assert tracking.env(swanlab(), RUN) == {
        "SWANLAB_LOG_DIR": "/swiftop/output/demo-0f3a1c9e/swanlog",
        "SWANLAB_RUN_ID": tracking.run_id(RUN),
        "SWANLAB_RESUME": "allow",
    }
    full = tracking.env(swanlab(host="http://s:8000/", workspace="w", tags=["a", "b"], group="g"), RUN)
    assert full["SWANLAB_API_HOST"] == full["SWANLAB_WEB_HOST"] == "http://s:8000"
    assert (full["SWANLAB_WORKSPACE"], full["SWANLAB_TAGS"], full["SWANLAB_GROUP"]) == ("w", "a,b", "g")
    assert tracking.env(swanlab(mode="local"), RUN) == {"SWANLAB_LOG_DIR": "/swiftop/output/demo-0f3a1c9e/swanlog"}


def test_flags() -> None:
    assert tracking.flags(spec(), RUN) == {"report_to": ("none",)}
    assert tracking.flags(spec(tracking={"tensorboard": True}), RUN) == {"report_to": ("tensorboard",)}
    both = spec(tracking={"tensorboard": True, "swanlab": {"project": "p", "workspace": "w", "mode": "local"}})
    assert tracking.flags(both, RUN) == {
        "report_to": ("swanlab", "tensorboard"),
        "swanlab_project": ("p",),
        "swanlab_mode": ("local",),
        "swanlab_exp_name": ("demo",),
        "swanlab_workspace": ("w",),
    }
    assert tracking.flags(swanlab(experimentName="e"), RUN)["swanlab_exp_name"] == ("e",)


@pytest.mark.parametrize(
    ("members", "url"),
    [
        ({}, None),
        ({"workspace": "alice", "mode": "local"}, None),
        ({"workspace": "alice"}, "https://swanlab.cn/@alice/p%201/runs/{id}"),
        ({"workspace": "alice", "host": "http://s:8000/"}, "http://s:8000/@alice/p%201/runs/{id}"),
    ],
)
def test_the_link_is_known_before_the_start(members: dict[str, str], url: str | None) -> None:
    assert tracking.tracking_url(swanlab(**members), RUN) == (url and url.format(id=tracking.run_id(RUN)))
    assert tracking.tracking_url(spec(), RUN) is None


def test_whom_the_runner_asks_about_the_key() -> None:
    assert tracking.api_host(swanlab().tracking.swanlab) == "https://api.swanlab.cn"
    assert tracking.api_host(swanlab(host="http://s/").tracking.swanlab) == "http://s"


SWANLAB = {"tracking": {"swanlab": {"project": "p"}}}
HF = {"model": {"id": "a/b", "hub": "huggingface"}, "datasets": [{"id": "a/c"}]}
FILE = {"persistentVolumeClaim": {"claimName": "c", "path": "f"}}
LOCAL = {"model": FILE, "datasets": [FILE]}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (LOCAL, []),
        ({}, [SecretVar("MODELSCOPE_API_TOKEN", "swiftop-credentials", "MODELSCOPE_API_TOKEN", optional=True)]),
        (HF, [SecretVar("HF_TOKEN", "swiftop-credentials", "HF_TOKEN", optional=True)]),
        (
            {**HF, "model": FILE},
            [SecretVar("MODELSCOPE_API_TOKEN", "swiftop-credentials", "MODELSCOPE_API_TOKEN", True)],
        ),
        (
            {**LOCAL, **SWANLAB},
            [SecretVar("SWANLAB_API_KEY", "swiftop-credentials", "SWANLAB_API_KEY", optional=False)],
        ),
        ({**LOCAL, "tracking": {"swanlab": {"project": "p", "mode": "local"}}}, []),
        (
            {**LOCAL, **SWANLAB, "credentials": {"secretName": "s", "hfToken": {"name": "t", "key": "k"}}},
            [
                SecretVar("SWANLAB_API_KEY", "s", "SWANLAB_API_KEY", optional=False),
                SecretVar("HF_TOKEN", "t", "k", optional=False),
            ],
        ),
        (
            {**LOCAL, "validation": {"datasets": [{"id": "a/b", "hub": "huggingface"}]}},
            [SecretVar("HF_TOKEN", "swiftop-credentials", "HF_TOKEN", optional=True)],
        ),
    ],
)
def test_which_secrets_a_run_gets(members: dict[str, Any], expected: list[SecretVar]) -> None:
    assert secret_vars(spec(**members)) == expected
