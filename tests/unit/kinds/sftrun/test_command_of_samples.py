"""The samples against the commands that people ran by hand before, and against their whole rendered argv.

seeds/*.sh are those commands, word for word. For ms-swift 3.7, the release that they were written for, a sample renders
exactly their flags; what differs is listed here by name.
"""

from __future__ import annotations

import re
import shlex

import pytest

from swiftop.api.validate import problems
from swiftop.kinds.sftrun.command import OPERATIONAL, Rendered
from swiftop.swift.releases import SUPPORTED, table
from tests.support.objects import problems_of, sample
from tests.unit.kinds.sftrun.samples import GOLDEN, GOLDEN_VERSIONS, NAMES, SEEDS, UID, as_text, rendered

SECRET_FLAGS = {"swanlab_token"}  # by environment, never by flag
# What swiftop adds to `--bf16 true`, which alone fails on a model that is not saved in bf16.
PRECISION = {"torch_dtype": ["bfloat16"]}
OUTPUT = {"output_dir": ["/swiftop/output/{name}-" + UID[:8]]}
DEVIATIONS: dict[str, dict[str, list[str]]] = {
    "sftrun-7b": {},
    "sftrun-32b": {},
    "sftrun-local-file": {"dataset": ["/data/datasets/your_sharegpt.jsonl"]},  # its place in the pod
    # The hand-written command cannot run: packing needs a flash attention. And what ms-swift reports to by default,
    # TensorBoard, is said explicitly.
    "sftrun-minimal": {"attn_impl": ["flash_attn"], "report_to": ["tensorboard"]},
}


def flags(words: list[str]) -> dict[str, list[str]]:
    """``--name value…`` as a mapping; a flag given twice is an error."""
    result: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            assert word[2:] not in result, f"{word} twice"
            result[word[2:]] = []
        else:
            result[next(reversed(result))].append(word)
    return result


def seed_flags(name: str) -> dict[str, list[str]]:
    """Flags of a hand-written command: up to the first line that is not continued, with ``${NAME:-default}`` filled."""
    text = (SEEDS / f"{name}.sh").read_text("utf-8").replace("\\\n", " ").split("\n", 1)[0]
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    words = shlex.split(text)
    return flags(words[words.index("sft") + 1 :])


def rendered_flags(result: Rendered) -> dict[str, list[str]]:
    words = list(result.command)
    return flags(words[words.index("swift.cli.sft") + 1 :])


@pytest.mark.parametrize("name", DEVIATIONS)
def test_a_sample_renders_exactly_the_flags_of_its_hand_written_command(name: str) -> None:
    expected = {k: v for k, v in seed_flags(name).items() if k not in SECRET_FLAGS}
    expected |= {k: [v.format(name=sample(name).metadata.name) for v in values] for k, values in OUTPUT.items()}
    expected |= {k: list(v) for k, v in OPERATIONAL.items() if k in ("add_version", "check_model")}
    expected |= PRECISION | DEVIATIONS[name]
    assert rendered_flags(rendered(name, "3.7")) == expected


@pytest.mark.parametrize("name", DEVIATIONS)
def test_the_translation_to_4_6_renames_the_tuner_flag_and_saves_when_told_to_go(name: str) -> None:
    old, new = rendered_flags(rendered(name, "3.7")), rendered_flags(rendered(name, "4.6"))
    assert new == {
        **{k: v for k, v in old.items() if k != "train_type"},
        "tuner_type": ["lora"],
        "callbacks": ["graceful_exit"],
    }


def test_what_swiftop_adds_to_a_spec_is_this_and_nothing_else() -> None:
    assert OPERATIONAL == {"add_version": ("false",), "check_model": ("false",), "callbacks": ("graceful_exit",)}
    assert [version for version in SUPPORTED if "callbacks" in table(version).flags] == ["4.6"]


@pytest.mark.parametrize("version", GOLDEN_VERSIONS)
@pytest.mark.parametrize("name", NAMES)
def test_the_whole_command_and_environment(name: str, version: str) -> None:
    """A change that was meant: ``python -m tests.unit.kinds.sftrun.samples`` writes the goldens anew."""
    assert as_text(rendered(name, version)) == (GOLDEN / f"{name}-{version}.txt").read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_is_valid_in_every_version(name: str) -> None:
    run = sample(name)
    assert problems(run) == ()
    assert [p for version in SUPPORTED for p in problems_of(run.spec, version)] == []
