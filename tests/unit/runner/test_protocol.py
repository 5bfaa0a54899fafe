"""Plan and report survive the way, and nothing odd comes through."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftop.runner.program import fill
from swiftop.runner.protocol import BadPlan, Owner, Plan, Source, TrainSettings
from swiftop.runner.report import (
    EXPORTING,
    LARGEST,
    PREVIOUS,
    PREVIOUS_ONES,
    TRAINING,
    UPLOADING,
    Previous,
    attribute,
    read,
    read_previous,
)
from swiftop.runner.train.log import Report
from swiftop.runner.typed_json import BadJSON, from_json, to_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
PLAN = Plan(
    program="train",
    owner=Owner("SFTRun", "ns", "demo", "u-1"),
    attempt=2,
    command=("python", "-m", "swift.cli.sft"),
    output_dir="/swiftop/output/demo-u",
)


def members(text: str, **changes: Any) -> str:
    return json.dumps({**json.loads(text), **changes})


def test_a_minimal_plan_has_defaults() -> None:
    text = json.dumps(
        {
            "version": 1,
            "program": "train",
            "owner": {"kind": "SFTRun", "namespace": "ns", "name": "demo", "uid": "u-1"},
            "attempt": 2,
            "command": ["python", "-m", "swift.cli.sft"],
            "outputDir": "/swiftop/output/demo-u",
        }
    )
    assert Plan.from_json(text) == PLAN
    assert (PLAN.port, PLAN.progress_interval, PLAN.world_size, PLAN.elastic) == (8080, 15, 1, False)
    assert from_json(TrainSettings, {}) == TrainSettings()


def test_a_full_plan_survives_the_way() -> None:
    source = Source("/other", "u-2", "lora", step=5, weights_only=True, rank=8, model="a/b")
    settings = TrainSettings(False, 2, True, 9, True, 60.5, 1.0, 3.0, "http://s", source)
    plan = Plan(
        "train", PLAN.owner, 1, ("a", "漢 $"), "/o", to_json(settings), "4.6", ("A",), ("B",), 8, "amd.com/gpu", 2, 16,
        True, "m", "/c", ("k",), 1, 1, 2.0, "/t",
    )  # fmt: skip
    assert Plan.from_json(plan.to_json()) == plan
    assert from_json(TrainSettings, Plan.from_json(plan.to_json()).settings) == settings


@dataclasses.dataclass(frozen=True)
class Several:
    """A tuple of objects, as a plan for several targets has it."""

    owners: tuple[Owner, ...] = ()
    words: tuple[str, ...] = ()


def test_a_tuple_of_objects_survives_the_way() -> None:
    several = Several((PLAN.owner, Owner("SFTRun", "ns", "other", "u-2")), ("a",))
    content = json.loads(json.dumps(to_json(several)))
    assert content["owners"][1] == {"kind": "SFTRun", "namespace": "ns", "name": "other", "uid": "u-2"}
    assert from_json(Several, content) == several


@pytest.mark.parametrize("owners", ["x", [1], [{}], {}, [["x"]]])
def test_a_tuple_of_something_else_is_refused(owners: object) -> None:
    with pytest.raises(BadJSON):
        from_json(Several, {"owners": owners})


def test_what_is_not_known_is_ignored() -> None:
    assert Plan.from_json(members(PLAN.to_json(), unknown=1)) == PLAN


@pytest.mark.parametrize(
    "text",
    [
        None, "", "{", "[]", "{}", "[" * 100_000,
        *(
            members(PLAN.to_json(), **{name: value})
            for name, value in (
                ("version", 2), ("owner", {}), ("owner", "x"), ("attempt", "2"), ("attempt", True),
                ("command", "python"), ("command", [1]), ("program", None), ("settings", []), ("elastic", 1),
            )
        ),
    ],
)  # fmt: skip
def test_a_bad_plan_is_refused(text: str | None) -> None:
    with pytest.raises(BadPlan):
        Plan.from_json(text)


def test_placeholders_are_filled() -> None:
    command = ("--node_rank", "$(NODE_RANK)", "--master_addr", "$(MASTER_ADDR)", "x$(NODE_RANK)")
    assert fill(command, rank=3, master_addr="a.b") == ("--node_rank", "3", "--master_addr", "a.b", "x$(NODE_RANK)")


def test_both_sides_know_exactly_the_members_of_a_report() -> None:
    names = [attribute(member.name) for member in TRAINING]
    assert sorted(names) == sorted(field.name for field in dataclasses.fields(Report))
    assert [member.name for member in PREVIOUS] == list(to_json(Previous("p", 1, "r", 1, 1)))


GOOD: dict[str, Any] = {"phase": 1, "step": 5, "loss": -2.5, "checkpointTime": 1764000000, "trackerWorkspace": "alice"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300, 10**400, LARGEST + 1, "5", True, [5], {"a": 1}])
@pytest.mark.parametrize("name", ["step", "checkpointTime", "loss"])
def test_an_odd_member_is_left_out_and_nothing_else(name: str, value: object) -> None:
    expected = {known: said for known, said in GOOD.items() if known != name}
    assert read(TRAINING, {**GOOD, name: value, "secret": "x"}) == expected


def test_counts_are_never_negative_and_words_are_plain() -> None:
    odd = {"step": -1, "loss": -1, "trackerWorkspace": "a/../b"}
    assert read(TRAINING, odd) == {"loss": -1}
    assert read(TRAINING, {"etaSeconds": 7.6}) == {"etaSeconds": 7}


@given(JSON | st.dictionaries(st.sampled_from([member.name for member in TRAINING]), JSON))
def test_whatever_a_pod_says_can_be_printed(document: object) -> None:
    found = read(TRAINING, document)
    json.dumps(found, allow_nan=False)
    for name in ("updated", "checkpointTime"):
        datetime.fromtimestamp(found.get(name, 0), UTC)  # type: ignore[arg-type]


def test_the_end_of_the_execution_before() -> None:
    previous = Previous(pod="p", time=5, reason="Lost", step=3)
    assert read_previous({"previous": [{**previous.to_json(), "keptStep": 1e300}]}) == (previous,)
    odd: tuple[object, ...] = (None, [], {}, {"previous": {}}, {"previous": [[], {"pod": "p", "reason": "Lost"}]})
    for said in odd:
        assert read_previous(said) == ()
    many = [dataclasses.replace(previous, pod=f"p{number}") for number in range(9)]
    assert read_previous({"previous": [one.to_json() for one in many]}) == tuple(many[-PREVIOUS_ONES:])


def test_a_large_model_has_a_size() -> None:
    size = 1_600_000_000_000
    said = {"bytesTotal": size, "artifactBytes": 1 << 53, "bytes0": (1 << 53) + 1, "phase": size}
    assert read(EXPORTING, said) == {"bytesTotal": size, "artifactBytes": 1 << 53}
    assert read(UPLOADING, said) == {"bytesTotal": size}
