"""``swiftop preview``: the command first, then the objects; exit code 2 and the field's path for an invalid file."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from swiftop.cli.main import app
from tests.support.objects import MINIMAL, SAMPLES
from tests.unit.kinds.sftrun.samples import NAMES, rendered


def run(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["preview", *words], input=stdin)


def document(name: str = "demo", **members: Any) -> str:
    spec = {**MINIMAL, **members}
    return yaml.safe_dump(
        {"apiVersion": "swiftop.dev/v1alpha1", "kind": "SFTRun", "metadata": {"name": name}, "spec": spec}
    )


def defaults(namespace: str | None = None, **data: str) -> str:
    metadata = {"name": "swiftop-defaults", **({"namespace": namespace} if namespace else {})}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


@pytest.mark.parametrize("name", NAMES)
def test_the_samples(name: str) -> None:
    result = run("-f", str(SAMPLES / f"{name}.yaml"))
    assert result.exit_code == 0, result.stderr
    command = result.stdout.partition("\n")[0].removeprefix("# ")
    expected = [w.replace("0f3a1c9e", "00000000") for w in rendered(name, "4.6").command]
    assert shlex.split(command) == expected
    claim = [] if name == "sftrun-smoke" else ["PersistentVolumeClaim"]  # whose results end with the pod
    assert [o["kind"] for o in yaml.safe_load_all(result.stdout)] == [*claim, "Job"]


def test_the_acceleration_stands_below_the_command() -> None:
    result = run("-f", str(SAMPLES / "sftrun-7b-fast.yaml"))
    command, *lines = result.stdout.partition("\n---\n")[0].splitlines()
    assert "--per_device_train_batch_size 1 --gradient_accumulation_steps 32" in command
    assert lines[0] == "# acceleration: Auto"
    assert [line[:10].strip() for line in lines[2:]] == ["#   24 GiB", "#   40 GiB", "#   80 GiB", "#   141 Gi"]
    assert "# acceleration" not in run("-f", str(SAMPLES / "sftrun-tiny.yaml")).stdout


def test_several_nodes_have_a_service_and_the_uid_of_the_file_is_used() -> None:
    text = document(resources={"gpus": 1, "nodes": 2}, output={"persistentVolumeClaim": {"claimName": "rwx"}})
    text = text.replace("name: demo", "name: demo\n  uid: 12345678-aaaa\n  namespace: team")
    result = run("-f", "-", stdin=text)
    assert result.exit_code == 0, result.stderr
    assert "/swiftop/output/demo-12345678" in result.stdout.split("\n", 1)[0]
    objects = list(yaml.safe_load_all(result.stdout.partition("---\n")[2]))
    assert [o["kind"] for o in objects] == ["Service", "Job"]
    assert {o["metadata"]["namespace"] for o in objects} == {"team"}


def test_another_version() -> None:
    assert "--train_type lora" in run("-f", "-", "--swift-version", "3.12", stdin=document()).stdout


def test_the_platforms_defaults_in_the_same_file_count() -> None:
    shared = defaults(image="mirror.example/trainer:1", swiftVersion="3.7")
    result = run("-f", "-", stdin=f"{shared}---\n{document()}")
    assert "--train_type" in result.stdout
    assert "image: mirror.example/trainer:1" in result.stdout
    assert result.stderr == ""


def test_the_platforms_defaults_count_by_their_namespace() -> None:
    team = defaults("team", image="team/trainer:1")
    system = defaults("swiftop-system", image="all/trainer:1", storageClassName="fast")
    other = defaults("other", image="other/trainer:1")
    mine = document(output={"volume": {"size": "1Gi"}}).replace("name: demo", "name: demo\n  namespace: team")
    result = run("-f", "-", stdin="---\n".join([team, system, other, mine, document(name="second")]))
    assert result.exit_code == 0, result.stderr
    objects = list(yaml.safe_load_all(result.stdout))
    images = [o["spec"]["template"]["spec"]["containers"][0]["image"] for o in objects if o["kind"] == "Job"]
    assert images == ["team/trainer:1", "all/trainer:1"]
    assert [o["spec"]["storageClassName"] for o in objects if "storageClassName" in o["spec"]] == ["fast"]


def test_without_a_known_image_all_else_is_shown_and_a_word_tells() -> None:
    result = run("-f", "-", stdin=document())
    assert result.exit_code == 0
    assert "image: IMAGE\n" in result.stdout
    assert "warning: -: spec.runtime.image: no image with ms-swift 4.6 is known (set image in" in result.stderr
    known = run("-f", "-", stdin=document(runtime={"image": "mine"}))
    assert (known.exit_code, known.stderr) == (0, "")


def test_warnings_go_to_stderr_and_change_nothing() -> None:
    result = run("-f", "-", stdin=document(training={"evalSteps": 5}))
    assert result.exit_code == 0
    assert "warning: -: spec.training.evalSteps: there is nothing to evaluate on" in result.stderr
    assert "warning" not in result.stdout


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"training": {"epoch": 1}}, "spec.training.epoch: unknown field (did you mean epochs?)"),
        ({"training": {"packing": True, "maxLength": 9}}, "spec.training.attention: packing and paddingFree need"),
        ({"datasets": [{"id": "a/b", "configMap": {"name": "a", "key": "b.jsonl"}}]}, "spec.datasets[0]: "),
        ({"extraArgs": [{"name": "vit_lrr", "value": "1"}]}, "spec.extraArgs[0].name: ms-swift 4.6 has no flag"),
        ({"extraArgs": [{"name": "hub_token", "value": "1"}]}, "spec.extraArgs[0].name: a secret must not be a flag"),
        ({"tuner": {"type": "lorra"}}, "spec.tuner.type: ms-swift 4.6 has no tuner 'lorra' (did you mean lora?)"),
        ({"runtime": {"swiftVersion": "9.9"}}, "spec.runtime.swiftVersion: ms-swift 9.9 is not supported"),
    ],
)
def test_an_invalid_file_exits_2_with_the_path_of_the_field(members: dict[str, Any], words: str) -> None:
    result = run("-f", "-", stdin=document(**members))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"error: -: {words}" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_number_that_kubectl_reads_as_a_number_is_no_text_here_either() -> None:
    text = document(training={"learningRate": "LR"}).replace("LR", "2e-4")
    result = run("-f", "-", stdin=text)
    assert result.exit_code == 2
    assert "spec.training.learningRate: must be a text" in result.stderr


def test_no_name() -> None:
    result = run("-f", "-", stdin=document(name=""))
    assert result.exit_code == 2
    assert "starts with a letter, and is missing" in result.stderr


def test_a_bad_name() -> None:
    result = run("-f", "-", stdin=document(name="qwen2.5-7b"))
    assert result.exit_code == 2
    assert "use qwen2-5-7b" in result.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "error: -: line 1: is not valid YAML"),
        ("", "there is no SFTRun or ModelExport or DatasetUpload or ModelDeployment in this file"),
        ("kind: Pod", "there is no SFTRun or ModelExport or DatasetUpload or ModelDeployment in this file"),
        ("apiVersion: swiftop.dev/v1alpha1\nkind: SFTRun\nmetadata: 5", "metadata"),
        ("apiVersion: swiftop.dev/v1alpha1\nkind: SFTRun", "spec: required value is missing"),
        ("kind: SFTRun", "apiVersion: required value is missing (write apiVersion: swiftop.dev/v1alpha1)"),
        ("apiVersion: swiftop.dev/v1alpha1\nkind: sftrun", "there is no kind 'sftrun' (use SFTRun)"),
        ("apiVersion: swiftop.dev/v1alpha1\nkind: SFT", "there is no kind 'SFT' (use SFTRun"),
        ("kind: SFTRun\nspec: {}\nspec: {}", "line 1: is not valid YAML: spec is given twice"),
    ],
)
def test_what_is_no_run(text: str, words: str) -> None:
    result = run("-f", "-", stdin=text)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = run("-f", str(tmp_path / "none.yaml"))
    assert result.exit_code == 2
    assert "No such file" in result.stderr


def test_one_bad_run_of_two_prints_nothing() -> None:
    result = run("-f", "-", stdin=f"{document()}---\n{document(tuner={'type': 'x'})}")
    assert (result.exit_code, result.stdout) == (2, "")


UPLOAD = """apiVersion: swiftop.dev/v1alpha1
kind: DatasetUpload
metadata: {name: chats}
spec:
  source: {configMap: {name: chats, key: chats.jsonl}}
  destination: {hub: huggingface, repo: me/chats}
  runtime: {image: x}
"""
REFERRING = document(datasets=[{"uploadRef": {"name": "chats"}, "sample": 5}], runtime={"image": "x"})


def dataset_of(result: Result) -> str:
    assert (result.exit_code, result.stderr) == (0, "")
    words = shlex.split(result.stdout.partition("\n")[0])
    return words[words.index("--dataset") + 1]


def test_what_an_upload_will_tell_stands_in_brackets() -> None:
    assert dataset_of(run("-f", "-", stdin=REFERRING)) == "<repo of DatasetUpload chats>@<commit>#5"
    assert dataset_of(run("-f", "-", stdin=f"{REFERRING}---\n{UPLOAD}")) == "HF::me/chats@<commit>#5"
    elsewhere = UPLOAD.replace("{name: chats}", "{name: chats, namespace: team}", 1)
    assert (
        dataset_of(run("-f", "-", stdin=f"{REFERRING}---\n{elsewhere}")) == "<repo of DatasetUpload chats>@<commit>#5"
    )


def test_a_chain_is_shown_as_far_as_the_file_tells() -> None:
    result = run("-f", str(SAMPLES / "end-to-end.yaml"))
    assert result.exit_code == 0, result.stderr
    assert "--dataset 'yourname/chats@<commit>'" in result.stdout
    assert "python -m swift.cli.export --model Qwen/Qwen2.5-7B-Instruct" in result.stdout
    names = re.findall(r"^kind: Job\nmetadata:\n  name: (.*)$", result.stdout, re.MULTILINE)
    assert names == ["chats-dsup-1", "chats-1", "chats-mexp-1"]


def test_a_wrong_upload_in_the_same_file_is_told() -> None:
    result = run("-f", "-", stdin=f"{REFERRING}---\n{UPLOAD.replace('huggingface', 'github')}")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "spec.destination.hub" in result.stderr


def export_of(checkpoint: str = "last", **members: Any) -> str:
    spec = {
        "source": {"sftRunRef": {"name": "demo", "checkpoint": checkpoint}},
        "output": {"volume": {"size": "1Gi"}},
        "runtime": {"image": "mine"},
        **members,
    }
    metadata = {"name": "exported"}
    return yaml.safe_dump(
        {"apiVersion": "swiftop.dev/v1alpha1", "kind": "ModelExport", "metadata": metadata, "spec": spec}
    )


@pytest.mark.parametrize(
    ("checkpoint", "members", "words"),
    [
        ("last", {"output": {"ephemeral": True}}, "the output of SFTRun demo is ephemeral"),
        (
            "last",
            {"checkpoints": {"saveStrategy": "no"}},
            "SFTRun demo saves no checkpoint: its checkpoints.saveStrategy is no (remove checkpoints.saveStrategy of",
        ),
        ("best", {}, "SFTRun demo has no best checkpoint: it is trained without validation (use checkpoint: last"),
        ("best", {"validation": {"splitRatio": "0.01"}}, ""),
        ("last", {}, ""),
    ],
)
def test_what_an_export_can_never_have_of_a_run_beside_it(checkpoint: str, members: dict[str, Any], words: str) -> None:
    trained = document(**{"runtime": {"image": "mine"}, "output": {"volume": {"size": "1Gi"}}, **members})
    result = run("-f", "-", stdin=f"{trained}---\n{export_of(checkpoint)}")
    assert result.exit_code == 0, result.stderr
    told = [line for line in result.stderr.splitlines() if " spec: " in line]
    said = f"warning: -: ModelExport exported: spec: {words}"
    assert [line.startswith(said) for line in told] == [True] * bool(words)


def test_both_commands_of_a_quantization_are_shown() -> None:
    result = run("-f", "-", stdin=export_of(quantization={"method": "bnb", "bits": 4}))
    assert result.exit_code == 0, result.stderr
    merge, quantize, rest = result.stdout.split("\n", 2)
    assert "--merge_lora true" in merge
    assert "--quant_method bnb" in quantize
    assert rest.startswith("---\n")
