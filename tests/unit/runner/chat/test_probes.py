"""What two renderings of a dialogue differ by."""

from __future__ import annotations

from collections.abc import Sequence

from swiftop.runner.chat.probes import PROBES, difference, in_swift_words


def letters(ids: Sequence[int]) -> str:
    return "".join(map(chr, ids))


def test_equal_renderings_have_no_difference() -> None:
    assert difference("one question", [1, 2], [1, 2], letters) is None


def test_the_first_difference_is_told_with_what_is_around() -> None:
    ours, theirs = b"system: be kind. question", b"system: be brief. question"
    assert difference("tools", ours, theirs, letters) == (
        "tools: from token 11 on ms-swift has ' be kind. qu', the chat template ' be brief. q'"
    )


def test_a_rendering_that_is_the_start_of_the_other_differs_at_its_end() -> None:
    assert (
        difference("x", b"abc", b"abcd", letters) == "x: from token 3 on ms-swift has 'abc', the chat template 'abcd'"
    )


def test_every_dialogue_waits_for_an_answer_and_has_its_own_name() -> None:
    assert {probe.messages[-1]["role"] for probe in PROBES} == {"user", "tool"}
    assert len({probe.name for probe in PROBES}) == len(PROBES)


def test_each_call_of_a_tool_is_a_message_of_its_own() -> None:
    calls = [{"id": "1", "function": {"name": "weather", "arguments": {"city": "上海"}}}]
    user, answer = {"role": "user", "content": "?"}, {"role": "tool", "content": "21"}
    call = {"role": "tool_call", "content": '{"name": "weather", "arguments": {"city": "上海"}}'}
    for content, before in (("", []), ("I look.", [{"role": "assistant", "content": "I look."}])):
        asked = {"role": "assistant", "content": content, "tool_calls": calls}
        assert in_swift_words([user, asked, answer]) == [user, *before, call, answer]
