"""Documents that are too deep for Python's decoder lose their depths, and nothing else."""

from __future__ import annotations

import gc
import json
import time
import tracemalloc
from typing import Any

import pytest

from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.api.validate import problems
from swiftop.shell.decode import DEEPEST, listed, loads
from tests.apiserver.cases import merged
from tests.apiserver.sftrun_patches import MINIMAL


def deep(levels: int, opening: str = "[", inner: str = "", closing: str = "]") -> str:
    return opening * levels + inner + closing * levels


def depth_of(value: Any) -> int:
    levels = 0
    while isinstance(value, list | dict):
        levels += 1
        value = next(iter(value.values() if isinstance(value, dict) else value), None)
    return levels


@pytest.mark.parametrize("text", ['{"a": [1, "x"]}', "[]", '"[["', deep(DEEPEST + 50)])
def test_what_is_not_too_deep_is_as_it_was(text: str) -> None:
    assert loads(text) == loads(text.encode()) == json.loads(text)


@pytest.mark.parametrize(("opening", "inner", "closing"), [("[", "", "]"), ('{"a":', "1", "}"), ('[{"b":', "[]", "}]")])
def test_the_others_are_read_around_what_is_cut(opening: str, inner: str, closing: str) -> None:
    odd = '"]}[{ \\\\\\" \\u005b é"'
    text = f'[{{"before": {odd}}}, {deep(9_000, opening, inner, closing)}, {{"after": {odd}}}]'
    before, cut, after = loads(text)
    assert (before, after) == ({"before": json.loads(odd)}, {"after": json.loads(odd)})
    assert depth_of(cut) == DEEPEST - 1
    assert "nested too deeply" in json.dumps(cut)
    assert loads(text.encode()) == [before, cut, after]


def test_brackets_in_texts_of_the_depths_do_not_count() -> None:
    inner = '["]]]", "\\\\", "\\"]"]'
    assert loads(f"[{deep(5_000, inner=inner)}, 7]")[1] == 7


@pytest.mark.parametrize("text", [deep(9_000)[:-1], "[" * 9_000 + '"', "[" * 200_000, "[" * 5_000 + '"\\"' * 100_000])
def test_what_is_no_document_is_an_error_soon(text: str) -> None:
    before = time.perf_counter()
    with pytest.raises(ValueError):  # noqa: PT011 - any
        loads(text)
    assert time.perf_counter() - before < 5


LISTS = (
    '{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"5","continue":"x"},"items":[%s]}',
    '{"apiVersion":"a/v1","items":[%s],"kind":"SFTRunList","metadata":{"resourceVersion":"5"}}',
    '{"metadata": {"resourceVersion": "5"}, "items": [%s]}',
)


@pytest.mark.parametrize("items", ["", '{"a":1}', '{"a":"]},{"},{"items":[[]]}', '{"a":' + deep(5_000) + '},{"b":2}'])
@pytest.mark.parametrize("text", LISTS)
def test_of_a_list_each_object_is_read_and_cut_by_itself(text: str, items: str) -> None:
    whole = (text % items).encode()
    assert listed(whole, lambda item: item) == loads(whole)
    assert listed(whole, lambda item: [*item])["items"] == [[*item] for item in loads(whole)["items"]]


def test_a_list_without_items_is_empty() -> None:
    assert listed(b'{"items":null,"metadata":{}}', len) == {"items": [], "metadata": {}}


@pytest.mark.parametrize("text", LISTS)
def test_what_is_no_list_is_an_error(text: str) -> None:
    for end in range(len(text) - 3):
        with pytest.raises(ValueError):  # noqa: PT011 - any
            listed(text[:end].encode(), lambda item: item)


@pytest.mark.parametrize("text", LISTS[:2])
def test_of_a_list_no_more_is_in_memory_than_one_object_and_what_is_cut_of_the_others(text: str) -> None:
    large = json.dumps({"a": [[]] * 20_000}, separators=(",", ":"))  # 60 KB, and more than a megabyte in memory
    whole = (text % ",".join([large] * 20)).encode()
    tracemalloc.start()
    listed(whole, lambda item: {**item, "a": None})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * len(whole) + 3e6


def test_a_large_document_does_not_have_the_collector_go_through_all_objects() -> None:
    """Which takes ten times as long as to read it, and nobody else is served meanwhile."""
    large, collections = '{"items":[{"a":[' + "[]," * 100_000 + "[]]}]}", []

    def count(phase: str, _: dict[str, int]) -> None:
        collections.append(phase)

    gc.callbacks.append(count)
    try:
        loads(large)
        listed(large.encode(), len)
        assert len(collections) <= 4  # begin and end of one afterwards; 280 otherwise
        with pytest.raises(ValueError):  # noqa: PT011 - any
            loads(large[:-1])
    finally:
        gc.callbacks.remove(count)
    assert gc.isenabled()


@pytest.mark.parametrize("levels", [60, 300, 9_990])
@pytest.mark.parametrize(
    ("path", "group", "member", "inner"),
    [
        ("spec.runtime.podPatch", "runtime", "podPatch", "spec"),
        ("spec.placement.affinity", "placement", "affinity", "nodeAffinity"),
    ],
)
def test_a_run_that_is_too_deep_is_invalid(path: str, group: str, member: str, inner: str, levels: int) -> None:
    """Also one that the decoder reads: a model cannot be dumped from fewer levels on."""
    shallow = json.dumps(merged(MINIMAL, {"spec": {group: {member: {inner: {"x": "HERE"}}}}}))
    (problem,) = problems(SFTRun.from_object(loads(shallow.replace('"HERE"', deep(levels)))))
    assert (problem.path, problem.message) == (path, "is too large: keep it within 50 levels")
