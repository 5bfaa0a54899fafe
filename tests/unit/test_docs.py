"""The documents keep up with the code, and lead nowhere that is not there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.api.validate import problems
from swiftop.kinds.registry import KINDS
from swiftop.kinds.sftrun import check
from swiftop.reasons import Reason
from swiftop.runner import causes
from swiftop.runner.report import ACCELERATION_PARTS
from swiftop.swift.releases import SUPPORTED
from tests.apiserver.sftrun_patches import MINIMAL
from tests.support.objects import problems_of

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("images/*.md"), *ROOT.glob("tools/*/*.md")])


def test_every_reason_is_explained() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "reasons.md").read_text(), re.M)
    assert sorted(rows) == sorted([*causes.BY_REASON, *(reason.value for reason in Reason)])


def test_what_to_do_about_an_end_is_told_as_in_the_status() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.*) \|$", (ROOT / "docs" / "reasons.md").read_text(), re.M)
    told = {reason: (int(code), text) for reason, code, text in rows}
    advised = [cause for cause in causes.BY_REASON.values() if cause.suggestion]
    assert {c.reason: (c.exit_code, c.suggestion) for c in advised}.items() <= told.items()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]*)#?([^)]*)\)", page.read_text())
    led = [(page.parent / file if file else page, part) for file, part in links]
    assert [to for to, part in led if not to.exists()] == []
    assert [(to, part) for to, part in led if part and part not in headings(to)] == []


def headings(page: Path) -> list[str]:
    """What links name the headings of a page by."""
    found = re.findall(r"^#+ (.*)$", re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.M | re.S), re.M)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found]


def examples() -> Iterator[Any]:
    """YAML of the pages: whole blocks, and a member of the spec in the middle of a line, as in `output: {…}`."""
    for page in PAGES:
        text = page.read_text()
        blocks = re.findall(r"^ *```yaml\n(.*?)^ *```", text, re.M | re.S)
        inline = re.findall(r"`(\w+: [{\[][^`]*)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S))
        for number, example in enumerate([*blocks, *inline]):
            yield pytest.param(example, id=f"{page.relative_to(ROOT)}-{number}")


EXAMPLES = list(examples())


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_valid_object_or_a_part_of_a_run(example: str) -> None:
    found = yaml.safe_load(example)
    if found.get("kind") in KINDS.keys() - {"SFTRun"}:
        assert problems(KINDS[found["kind"]].parse(found)) == ()
        return
    whole = found if found.get("kind") == "SFTRun" else {**MINIMAL, "spec": {**MINIMAL["spec"], **found}}
    run = SFTRun.from_object(whole)
    version = run.spec.runtime.swift_version or SUPPORTED[-1]
    assert [*problems(run), *problems_of(run.spec, version), *check.warnings(run.spec)] == []


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    """By its path from the root, as in a command. NAME stands for any name."""
    named = re.findall(r"(?<![\w./-])(?:crds|demo|docs|images|manifests|tests|tools)/[\w./-]*\w", page.read_text())
    assert [path for path in named if not list(ROOT.glob(path.replace("NAME", "*")))] == []


def test_every_test_that_is_named_as_a_proof_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "testing.md").read_text())
    assert len(named) > 30
    assert [(path, test) for path, test in named if f"def {test}(" not in (ROOT / path).read_text()] == []


def test_the_map_of_the_code_shows_every_module() -> None:
    code = ROOT / "operator" / "swiftop"
    modules = {f"{path.parent.name}/" for path in code.glob("*/__init__.py")} | {p.name for p in code.glob("[a-z]*.py")}
    table = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "architecture.md").read_text(), re.M)
    named = {name for row in table for name in re.findall(r"`(\w+(?:/|\.py))`", row)}
    assert modules == named


def test_every_word_of_the_acceleration_is_explained() -> None:
    """Why a part of it is left out, as the status has it. The memory's words stand for fields, and are never shown."""
    modules = [path for path in (ROOT / "operator/swiftop/acceleration").glob("*.py") if path.name != "memory.py"]
    nodes = (node for path in modules for node in ast.walk(ast.parse(path.read_text())))
    constants = (node for node in nodes if isinstance(node, ast.Constant))
    texts = {constant.value for constant in constants if isinstance(constant.value, str)}
    words = {text for text in texts if re.fullmatch(r"[A-Z]\w*[a-z]\w*", text)} - {"Approximate"}
    explained = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "acceleration.md").read_text()))
    assert words - explained == set()
    assert len(words) > 20


def test_every_part_of_the_acceleration_is_described() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "acceleration.md").read_text(), re.M)
    assert [row for row in rows if row in ACCELERATION_PARTS] == list(ACCELERATION_PARTS)


def test_the_rights_of_the_operator_are_written_down_as_they_are() -> None:
    documents = yaml.safe_load_all((ROOT / "manifests" / "base" / "rbac.yaml").read_text())
    role = next(found for found in documents if found["kind"] == "ClusterRole")
    rights = [(resource, rule["verbs"]) for rule in role["rules"] for resource in rule["resources"]]
    rows = re.findall(r"^\| `([\w/]+)` \| ([\w, ]+) \|", (ROOT / "SECURITY.md").read_text(), re.M)
    assert [(resource, verbs.split(", ")) for resource, verbs in rows] == rights
