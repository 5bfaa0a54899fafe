"""What `swiftop preview` takes for files and objects, as kubectl does, and what it prints."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from swiftop.cli.main import app
from swiftop.cli.preview import in_one_line

SPEC: dict[str, Any] = {
    "model": {"id": "a/b"},
    "datasets": [{"id": "a/c"}],
    "output": {"volume": {"size": "1Gi"}},
    "resources": {"gpus": 1},
    "runtime": {"image": "mine"},
}


def run_of(name: str = "demo", *, metadata: dict[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    api = {"apiVersion": "swiftop.dev/v1alpha1", "kind": "SFTRun"}
    return {**api, "metadata": {"name": name, **(metadata or {})}, "spec": SPEC, **members}


def preview(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["preview", *words], input=stdin)


def jobs(result: Result) -> list[str]:
    assert result.exit_code == 0, result.stderr
    return [o["metadata"]["name"] for o in yaml.safe_load_all(result.stdout) if o["kind"] == "Job"]


def told(obj: dict[str, Any]) -> list[str]:
    result = preview("-f", "-", stdin=json.dumps(obj))
    assert (result.exit_code, result.stdout) == (2, ""), result.stdout
    return [line.removeprefix("error: -: ") for line in result.stderr.splitlines()]


def test_several_files_and_a_directory(tmp_path: Path) -> None:
    for name, folder in (
        ("a.yaml", ""),
        ("b.yml", "more"),
        ("c.json", "more"),
        ("d.txt", "more"),
        ("e.yaml", "more/x"),
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).write_text(json.dumps(run_of(name[0])))
    (tmp_path / "more" / "other.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n")
    files = ("-f", str(tmp_path / "a.yaml"), "-f", str(tmp_path / "more"))
    assert jobs(preview(*files)) == ["a-1", "b-1", "c-1"]
    assert jobs(preview(*files, "-R")) == ["a-1", "b-1", "c-1", "e-1"]
    assert jobs(preview(*files[:2], "-f", "-", stdin=json.dumps(run_of("z")))) == ["a-1", "z-1"]


def test_of_several_objects_each_mistake_names_its_own(tmp_path: Path) -> None:
    file = tmp_path / "runs.yaml"
    wrong = [run_of("a", spec={**SPEC, "resources": {"gpus": -1}}), run_of("b"), run_of("c", data={})]
    file.write_text(yaml.safe_dump_all(wrong))
    result = preview("-f", str(file))
    assert (result.exit_code, result.stdout) == (2, "")
    assert sorted(result.stderr.splitlines()) == [
        f"error: {file}: SFTRun a: spec.resources.gpus: must be at least 0",
        f"error: {file}: SFTRun c: data: unknown field (fields here: apiVersion, kind, metadata, spec, status)",
    ]


def export_of(name: str, run: str, **spec: Any) -> dict[str, Any]:
    members = {"source": {"sftRunRef": {"name": run}}, "output": {"volume": {"size": "1Gi"}}, **spec}
    return {"apiVersion": "swiftop.dev/v1alpha1", "kind": "ModelExport", "metadata": {"name": name}, "spec": members}


def test_a_mistake_is_not_told_again_for_what_refers_to_its_object() -> None:
    wrong = [run_of("a", spec={**SPEC, "epochs": 1}), export_of("b", "a"), export_of("c", "a", dtype="half")]
    result = preview("-f", "-", stdin=yaml.safe_dump_all(wrong))
    assert (result.exit_code, result.stdout) == (2, "")
    assert sorted(line.split(": ")[2] for line in result.stderr.splitlines()) == ["ModelExport c", "SFTRun a"]


def test_of_several_objects_each_warning_names_its_own() -> None:
    given = [run_of("a"), export_of("b", "a"), export_of("c", "a", runtime={"image": "mine"})]
    result = preview("-f", "-", stdin=yaml.safe_dump_all(given))
    (line,) = result.stderr.splitlines()
    assert line.startswith("warning: -: ModelExport b: spec.runtime.image: no image with ms-swift ")


def test_lists_are_opened() -> None:
    listed = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [run_of("a"), {"kind": "SFTRunList", "items": [run_of("b")]}],
    }
    assert jobs(preview("-f", "-", stdin=json.dumps(listed))) == ["a-1", "b-1"]


def test_empty_members_are_absent() -> None:
    spec = {
        **SPEC,
        "training": None,
        "tuner": None,
        "files": None,
        "extraArgs": None,
        "lifecycle": {"maxRetries": None},
    }
    spec["placement"] = {"nodeSelector": {"a": None}, "affinity": None}
    empty = run_of(spec=spec, metadata={"labels": None, "creationTimestamp": None}, status=None)
    plain = preview("-f", "-", stdin=json.dumps(run_of(spec={**SPEC, "placement": {"nodeSelector": {}}})))
    assert preview("-f", "-", stdin=json.dumps(empty)).stdout == plain.stdout
    assert told(run_of(spec={**SPEC, "datasets": [None]})) == [
        "spec.datasets[0]: is empty (give it a value, or remove it)"
    ]
    assert told(run_of(spec={**SPEC, "model": None}))[0].startswith("spec.model: required value is missing")


def test_an_object_that_was_read_from_the_cluster_is_taken() -> None:
    metadata = {
        "uid": "x",
        "resourceVersion": "5",
        "generation": 3,
        "managedFields": [],
        "annotations": {"a.b/c": "x y"},
    }
    assert jobs(preview("-f", "-", stdin=json.dumps(run_of(metadata=metadata, status={"state": "Running"})))) == [
        "demo-1"
    ]


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        (run_of(spec_=1), "spec_: unknown field (did you mean spec?)"),
        (run_of(status={"foo": 1}), "status.foo: unknown field (remove the status: swiftop writes it)"),
        (run_of(metadata={"label": {}}), "metadata.label: unknown field (did you mean labels?)"),
        (run_of(metadata={"labels": {"a": 1}}), 'metadata.labels.a: must be a text (put it in quotes: "1")'),
        (run_of(metadata={"labels": {"a": "x y"}}), "metadata.labels.a: 'x y' must have at most 63 letters"),
        (run_of(metadata={"annotations": {"A B": "x"}}), "metadata.annotations.A B: a key has at most 63 letters"),
        (run_of(metadata={"namespace": "A_B"}), "metadata.namespace: 'A_B' must be made of small letters"),
        (run_of(metadata={"name": 5}), 'metadata.name: must be a text (put it in quotes: "5")'),
        (run_of(metadata={"name": None, "generateName": "a-"}), "metadata.name: is missing, and kubectl apply"),
        (run_of(apiVersion="swiftop.dev/v1"), "apiVersion: there is no SFTRun in version 'swiftop.dev/v1' (write"),
        (run_of(kind=None), "kind: required value is missing (use one of SFTRun"),
        (run_of(kind=5), "kind: must be a text"),
        (run_of(metadata=None) | {"metadata": []}, "metadata: must be a map of fields (write metadata: {name: NAME})"),
    ],
)  # fmt: skip
def test_what_is_wrong_beside_the_spec(obj: dict[str, Any], words: str) -> None:
    (message,) = told(obj)
    assert message.startswith(words)


def test_a_document_that_is_no_object() -> None:
    result = preview("-f", "-", stdin="- a\n")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: -: document: must be a map with apiVersion, kind, metadata and spec\n",
    )


def test_the_command_is_a_comment_of_one_line() -> None:
    system = "first line\n'second' \\ line\twith\u2028signs"
    result = preview("-f", "-", stdin=json.dumps(run_of(spec={**SPEC, "training": {"system": system}})))
    assert jobs(result) == ["demo-1"]
    first, second, _, fourth = result.stdout.split("\n")[:4]
    assert first.startswith("# python -m swift.cli.sft ")
    assert (second, fourth) == ("# acceleration: Auto", "---")


@pytest.mark.parametrize("word", ["a", "a b", "", "it's", "一", "a\nb", "it's\\\n\t\r\x07\u2028"])
def test_bash_reads_a_word_back(word: str) -> None:
    line = in_one_line(["printf", "%s", word])
    assert len(line.splitlines()) == 1
    assert subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout.decode() == word
    assert shlex.split(in_one_line(["a b", "c"])) == ["a b", "c"]


def test_validation_without_evaluation_is_warned_of() -> None:
    spec = {**SPEC, "validation": {"splitRatio": "0.1"}, "training": {"evalStrategy": "no"}}
    result = preview("-f", "-", stdin=json.dumps(run_of(spec=spec)))
    assert (result.exit_code, result.stderr) == (
        0,
        "warning: -: spec.training.evalStrategy: no evaluation takes place, though spec.validation says on what "
        "(remove it, or spec.validation)\n",
    )
