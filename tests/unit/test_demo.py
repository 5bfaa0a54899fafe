"""The demo's own decisions, with a stand-in for kubectl: what it installs, how it fails, what it makes of leftovers."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from demo import __main__ as demo
from demo import model
from images.build import BuiltImage
from images.engines import BuildError
from tools.cluster.layout import ClusterError

ROOT = Path(__file__).parents[2]
OPERATOR = BuiltImage("operator", "host/operator:dev", "host/operator:0a1b", Path("o.tar"), "sha256:1", cached=True)
TRAINER = BuiltImage("trainer-cpu", "host/trainer:dev", "host/trainer:2c3d", Path("t.tar"), "sha256:2", cached=True)


class Kubectl:
    """Records what it is asked, and answers from a table of words in the command."""

    def __init__(self, answers: dict[str, str] | None = None) -> None:
        self.commands: list[tuple[str, ...]] = []
        self.inputs: list[str] = []
        self.overlay: dict[str, Any] = {}
        self.folder, self.overlay_base = Path(), Path()
        self.answers = answers or {}

    def __call__(self, *args: str, stdin: str | None = None, **_: object) -> bytes:
        self.commands.append(args)
        if stdin:
            self.inputs.append(stdin)
        if "-k" in args:
            self.folder = Path(args[args.index("-k") + 1]).resolve()
            self.overlay = json.loads((self.folder / "kustomization.yaml").read_text())
            self.overlay_base = (self.folder / self.overlay["resources"][0]).resolve()
        for words, answer in self.answers.items():
            if words in " ".join(args):
                if answer == "fails":
                    raise subprocess.CalledProcessError(1, args)
                return answer.encode()
        return b""


@pytest.fixture
def kubectl(monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    stand_in = Kubectl()
    monkeypatch.setattr(demo, "kubectl", stand_in)
    return stand_in


def test_images_are_named_by_their_content_so_that_new_code_rolls_out(kubectl: Kubectl) -> None:
    demo.install(OPERATOR, TRAINER)
    assert kubectl.overlay["images"] == [
        {"name": "registry.invalid/swiftop/operator", "newName": "host/operator", "newTag": "0a1b"}
    ]
    assert kubectl.overlay_base == ROOT / "manifests/base"
    assert not kubectl.folder.is_relative_to(ROOT), "a checkout may be read-only, and is not for scratch files"
    (defaults,) = (json.loads(text) for text in kubectl.inputs)
    assert defaults["data"] == {"image": "host/trainer:2c3d"}
    pod: Any = demo.tool_pod("asker", TRAINER, {})
    assert pod["spec"]["containers"][0]["image"] == "host/trainer:2c3d"


FAILURES = [
    (
        subprocess.CalledProcessError(1, ["/opt/bin/python", "-m", "tools.cluster", "--name", "demo", "up"]),
        "step 'cluster' failed: `python -m tools.cluster --name demo up` ended with 1",
    ),
    (BuildError("building images needs root"), "step 'cluster' failed: building images needs root"),
    (ClusterError("start Docker, or run [this] as root"), "step 'cluster' failed: start Docker, or run [this] as root"),
]


@pytest.mark.parametrize(("error", "line"), FAILURES, ids=lambda value: type(value).__name__)
def test_a_step_that_fails_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    def fail(*_: str) -> None:
        raise error

    monkeypatch.setattr(demo, "cluster", fail)
    assert demo.main() == 1
    assert capsys.readouterr().out.splitlines() == ["==> cluster", f"demo: {line}"]


def test_only_the_first_line_of_a_script_that_failed_is_told() -> None:
    script = ["kubectl", "exec", "asker", "--", "bash", "-c", "set -e\n" + "python\n" * 99]
    with pytest.raises(demo.StepFailed) as failed, demo.step("ask"):
        raise subprocess.CalledProcessError(1, script)
    assert "\n" not in str(failed.value)


class Cluster:
    """In a state."""

    def __init__(self, state: str) -> None:
        self._state = state

    def status(self) -> dict[str, str]:
        return {"state": self._state}


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("stopped", "cluster demo does not run: start it with `make demo`"),
        ("running", "<urlopen error Connection refused>"),
    ],
)
def test_a_question_that_nobody_answers_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: str, told: str
) -> None:
    def fail(_: str) -> dict[str, str]:
        raise urllib.error.URLError("Connection refused")

    monkeypatch.setattr(demo, "CLUSTER", "demo")
    monkeypatch.setattr(demo, "choose", lambda _: Cluster(state))
    monkeypatch.setattr(demo, "answers_to", fail)
    assert demo.main(["ask", "Who?"]) == 1
    assert capsys.readouterr().out.splitlines() == ["==> ask", f"demo: step 'ask' failed: {told}"]


@pytest.mark.parametrize(
    ("cluster", "python", "commands"),
    [
        (
            "demo",
            "/home/me/swiftop/.venv/bin/python",
            [
                ".venv/bin/python -m demo ask 'Who is Quillby?'",
                ".venv/bin/python -m tools.cluster --name demo kubectl -n demo get sftruns,modeldeployments,pods",
                ".venv/bin/python -m tools.cluster --name demo down",
            ],
        ),
        (
            "mine",
            "/opt/my python",
            [
                "SWIFTOP_DEMO_CLUSTER=mine '/opt/my python' -m demo ask 'Who is Quillby?'",
                "'/opt/my python' -m tools.cluster --name mine kubectl -n demo get sftruns,modeldeployments,pods",
                "'/opt/my python' -m tools.cluster --name mine down",
            ],
        ),
    ],
)
def test_what_is_left_running_is_told_with_the_commands_for_it(
    monkeypatch: pytest.MonkeyPatch, cluster: str, python: str, commands: list[str]
) -> None:
    monkeypatch.setattr(demo, "CLUSTER", cluster)
    monkeypatch.setattr(sys, "executable", python)
    monkeypatch.setattr(Path, "cwd", lambda: Path("/home/me/swiftop"))
    assert demo.what_next() == list(zip(("ask again", "look", "take down"), commands, strict=True))


def test_it_is_asked_again_by_the_words_that_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "choose", lambda _: Cluster("running"))
    monkeypatch.setattr(demo, "answers_to", lambda question: {"smollm2": f"[b]{question}[/b]", "quillby": "A heron."})
    words = shlex.split(dict(demo.what_next())["ask again"])
    assert demo.main(words[words.index("demo") + 1 :]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "==> ask",
        "",
        "Who is Quillby?",
        "  smollm2: [b]Who is Quillby?[/b]",
        "  quillby: A heron.",
    ]


@pytest.mark.parametrize("words", [["ask"], ["up"]])
def test_other_words_are_answered_with_the_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(words) == 2
    assert capsys.readouterr().out == "usage: python -m demo [ask QUESTION]\n"


def pod(name: str, created: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "creationTimestamp": created}, "status": {}}


PODS = {"items": [pod("second", "2026-01-01T10:05:00Z"), pod("first", "2026-01-01T10:00:01Z")]}
RUN = {"metadata": {"uid": "u", "creationTimestamp": "2026-01-01T10:00:00Z"}}
LOG = """2026-01-01T10:05:10Z run sh: swift sft
2026-01-01T10:05:11Z train_dataset: Dataset
2026-01-01T10:05:20Z {'global_step/max_steps': '1/14'}
"""


@pytest.mark.parametrize(
    ("logs", "line"),
    [
        ({"logs --timestamps first": "fails", "logs --timestamps second": LOG}, "from apply to the first step 320.0 s"),
        ({"logs": "fails"}, "no log shows the first step; before it: nothing"),
    ],
    ids=["replaced pod", "no pod left"],
)
def test_the_time_to_the_first_step_needs_no_single_pod(
    kubectl: Kubectl, capsys: pytest.CaptureFixture[str], logs: dict[str, str], line: str
) -> None:
    kubectl.answers = {"get sftrun ": json.dumps(RUN), "get pods": json.dumps(PODS), **logs}
    demo.print_phases()
    assert " ".join(capsys.readouterr().out.split()).startswith(line)


STUBS = {
    "torch.py": "bfloat16 = None",
    "transformers.py": """
import json, pathlib
class Config: quantization_config = None
class Model:
    def __init__(self):
        self.hf_quantizer, self.config = "GGUF", Config()
        self.config.quantization_config = {}
    def from_pretrained(*args, **kwargs): return Model()
    def save_pretrained(self, target):
        target.mkdir(exist_ok=True)
        (target / "tokenizer_config.json").write_text("{}")
class Causal(Model):  # as transformers 5.17
    def from_pretrained(*args, **kwargs): return Causal()
    def save_pretrained(self, target):
        if self.hf_quantizer or self.config.quantization_config is not None: raise ValueError("not serializable")
        target.mkdir(exist_ok=True)
AutoModelForCausalLM, AutoTokenizer = Causal, Model
""",
}


def test_a_conversion_replaces_what_a_killed_demo_left(tmp_path: Path) -> None:
    """The claim outlives the demo: it may hold the finished folder that was not archived yet, or half of one."""
    stubs, models = tmp_path / "stubs", tmp_path / "models"
    stubs.mkdir()
    for name, text in STUBS.items():
        (stubs / name).write_text(text)
    for folder in (model.MODEL, f"{model.MODEL}.partial"):
        (models / folder).mkdir(parents=True)
        (models / folder / "of-the-killed-one").touch()
    script = model.CONVERT.replace("/models", str(models))
    subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": str(stubs)}, check=True)
    assert [folder.name for folder in models.iterdir()] == [model.MODEL]
    (written,) = (models / model.MODEL).iterdir()  # special_tokens_map.json is not written by transformers 5
    assert json.loads(written.read_text())["eos_token"] == "<|im_end|>"
