"""What is wrong with a spec may be much, and is told at a bounded cost."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import pytest

from swiftop.api.v1alpha1.flags import ExtraArg
from swiftop.swift import releases
from swiftop.swift.check import extra_args

KNOWN = releases.table("4.6", "sft")


def test_of_many_unknown_flags_all_are_told_and_the_likeness_of_a_few_is_sought(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[int] = []
    original = difflib.get_close_matches

    def counted(word: str, words: Sequence[str], **more: Any) -> list[str]:
        compared.append(len(words))
        return original(word, words, **more)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    args = [ExtraArg(name=f"num_train_epoch_{n}", value="1") for n in range(64)]
    found = list(extra_args(args, KNOWN))
    assert [problem.path for problem in found] == [f"spec.extraArgs[{n}].name" for n in range(64)]
    assert found[0].suggestion == "did you mean num_train_epochs?"
    assert len(compared) <= 3
    assert max(compared) <= 32


@pytest.mark.parametrize("flag", sorted(KNOWN.flags)[::7])
def test_a_flag_with_one_wrong_letter_is_found(flag: str) -> None:
    """As it would be among all of them."""
    wrong = flag[:-1] + "q"
    if wrong in KNOWN.flags:
        return
    (problem,) = extra_args([ExtraArg(name=wrong, value="1")], KNOWN)
    (near,) = difflib.get_close_matches(wrong, tuple(KNOWN.flags), n=1, cutoff=0.7) or ("",)
    assert problem.suggestion.startswith(f"did you mean {near}?" if near else "")
