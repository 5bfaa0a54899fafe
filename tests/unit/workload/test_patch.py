"""runtime.podPatch: a strategic merge."""

from __future__ import annotations

from typing import Any

from hypothesis import find, given, settings
from hypothesis import strategies as st

from swiftop.api.pod_patch import CONTAINER_MERGE_KEYS, POD_MERGE_KEYS, pod_patch_problems
from swiftop.workload.patch import strategic_merge
from tests.support.objects import IMAGE, ON_CPU, children_of, run_of

# Patches on the lists that are merged, most of them of a wrong form.
_MERGE_KEYS = {**POD_MERGE_KEYS, **CONTAINER_MERGE_KEYS}
_NAMES = st.sampled_from(sorted({*_MERGE_KEYS, *_MERGE_KEYS.values(), "valueFrom", "secretKeyRef", "envFrom"}))
_VALUES = st.recursive(
    st.sampled_from(["swift", "tmp", "/tmp", 8080, None, True, "secretKeyRef"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=6,
)
_TRAINERS = st.dictionaries(_NAMES, _VALUES, max_size=3).map(lambda fields: [{**fields, "name": "swift"}])
PATCHES = st.fixed_dictionaries({"spec": st.dictionaries(_NAMES, _VALUES, max_size=2)}) | st.fixed_dictionaries(
    {"spec": st.fixed_dictionaries({"containers": _TRAINERS})}
)


def test_named_items_are_merged_in_place_and_new_ones_follow() -> None:
    base = {"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]}
    patch = {"containers": [{"name": "c"}, {"name": "a", "env": [{"name": "X", "value": "2"}, {"name": "Y"}]}]}
    assert strategic_merge(base, patch) == {
        "containers": [
            {"name": "a", "env": [{"name": "X", "value": "2"}, {"name": "Y"}]},
            {"name": "b"},
            {"name": "c"},
        ]
    }


def test_other_lists_are_replaced_and_inputs_stay() -> None:
    base, patch = {"args": [1, 2], "m": {"a": 1}}, {"args": [3], "m": {"b": 2}}
    assert strategic_merge(base, patch) == {"args": [3], "m": {"a": 1, "b": 2}}
    assert base == {"args": [1, 2], "m": {"a": 1}}


@settings(max_examples=300, deadline=None)
@given(PATCHES)
def test_whatever_is_not_refused_can_be_merged(patch: dict[str, Any]) -> None:
    if pod_patch_problems(patch) == ():
        children_of(run_of({**ON_CPU, "runtime": {**IMAGE, "podPatch": patch}}))


def test_some_of_these_patches_are_not_refused() -> None:
    """Otherwise the property above would hold of nothing."""
    assert find(PATCHES, lambda patch: patch["spec"].keys() == {"containers"} and pod_patch_problems(patch) == ())
