"""The samples against the commands that people ran by hand before.

seeds/*.sh are those commands, word for word. What of a command the plan of a sample says otherwise is listed here by
name, with the reason.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.kinds.modelexport.kind import KIND
from swiftop.model.kind import World
from swiftop.model.verdict import Create
from swiftop.runner.protocol import ExportSettings, Plan
from swiftop.runner.typed_json import from_json
from swiftop.workload.job import plan_of
from tests.unit.kinds.modelexport.test_children_of_export import RUN, TRAINED, sample

SEEDS = Path(__file__).parent / "seeds"
CHECKPOINT = "/swiftop/source/mh-sft-7b-lora-output/mh-sft-7b-lora-9f8e7d6c/checkpoint-508"

Flags = dict[str, list[str]]


def seed(name: str) -> tuple[list[str], Flags]:
    """Words of a command and its flags."""
    words: list[str] = []
    flags: Flags = {}
    for word in shlex.split((SEEDS / f"{name}.sh").read_text("utf-8").replace("\\\n", " ")):
        if word.startswith("--"):
            flags[word[2:]] = []
        else:
            (flags[next(reversed(flags))] if flags else words).append(word)
    return words, flags


def plan(name: str) -> tuple[Plan, ExportSettings]:
    """What the pod of a sample gets."""
    run = {**TRAINED, "spec": {"model": {"id": "Qwen/Qwen2.5-7B-Instruct"}}}
    defaults = Defaults(image="registry.example/trainer:4.6")
    world = World(defaults=defaults, runner_config_map="r", references={RUN: run})
    found = plan_of(KIND.build(KIND.prepare(sample(name), world), Create(1))[-1])
    assert found is not None
    return found, from_json(ExportSettings, found.settings)


RENAMED = {"ckpt_dir": "adapters", "merge_dtype": "torch_dtype"}  # names of an ms-swift before the supported ones
PLACES = {  # in the pod; the result gets its own name, output/model, when it is complete and verified
    "adapters": [CHECKPOINT],
    "output_dir": ["/swiftop/output/{name}-0a1b2c3d/model.partial"],
}
ADDED = {"model": ["Qwen/Qwen2.5-7B-Instruct"]}  # of the run; ms-swift would take it from the checkpoint's args.json


@pytest.mark.parametrize("name", ["modelexport", "modelexport-push"])
def test_a_sample_renders_exactly_the_flags_of_the_merge(name: str) -> None:
    words, flags = seed("merge")
    assert words == ["swift", "export"]
    found, settings = plan(name)
    expected = {RENAMED.get(flag, flag): values for flag, values in flags.items()} | ADDED
    expected |= {flag: [value.format(name=found.owner.name) for value in values] for flag, values in PLACES.items()}
    command = list(found.command)
    rendered: Flags = {}
    assert command[:3] == ["python", "-m", "swift.cli.export"]
    for word in command[3:]:
        if word.startswith("--"):
            rendered[word[2:]] = []
        else:
            rendered[next(reversed(rendered))].append(word)
    assert rendered == expected
    assert settings.merge


def test_both_uploads_of_the_result_are_targets_of_one_sample() -> None:
    """The folder is that of the result, whatever it is called: ``--model_dir`` and the first word after upload."""
    _, settings = plan("modelexport-push")
    of_modelscope, of_huggingface = settings.targets
    words, flags = seed("upload-modelscope")
    assert words == ["swift", "upload"]
    assert flags == {
        "model_dir": ["./export/qwen-sft-7b"],
        "hub": [of_modelscope.hub],
        "model_id": [of_modelscope.repo],
    }
    words, flags = seed("upload-huggingface")
    assert (words, flags) == (["huggingface-cli", "upload", "./export/qwen-sft-7b", of_huggingface.repo], {})
    assert of_huggingface.hub == "huggingface"
    # By hand both repositories would have been public, which nobody had said.
    assert [target.visibility for target in settings.targets] == ["private", "private"]


def test_the_adapter_itself_is_pushed() -> None:
    found, settings = plan("modelexport-adapter")
    (target,) = settings.targets
    words, flags = seed("push-adapter")
    assert words == ["swift", "export"]
    assert flags == {
        "adapters": ["$CKPT"],  # settings.source: a checkpoint of the run, whose step is known at its end
        "push_to_hub": ["true"],  # a target is there
        "hub_model_id": [target.repo.replace("yourname/", "CodyWhy/")],  # the reader's own account
        "hub_token": ["<你的SDK Token>"],  # by environment, never by flag
        "use_hf": [str(target.hub == "huggingface").lower()],
    }
    assert (settings.source, settings.merge) == (CHECKPOINT, False)
    assert target.token_env in found.required_env
    assert target.token_env in found.secret_env
