"""The shape of the checkout: what a wrong file in the wrong place would break."""

from __future__ import annotations

import operator
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.unit.collected import MARK

ROOT = Path(__file__).parents[2]


def test_operator_is_a_source_root_and_never_a_package() -> None:
    """``operator/__init__.py`` would shadow the standard library's ``operator`` and stop Python itself."""
    assert not (ROOT / "operator" / "__init__.py").exists()
    children = {p.name for p in (ROOT / "operator").iterdir() if not p.name.startswith((".", "__pycache__"))}
    assert children == {"swiftop"}


def test_the_standard_librarys_operator_wins_from_the_root() -> None:
    code = "import operator; print(operator.itemgetter(0)('ok'), operator.__file__)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.split() == ["o", operator.__file__]


def test_pytest_finds_every_test_file() -> None:
    """pytest descends into no folder that is named `build`, `dist` or `venv`, and says nothing about it."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "--capture=no", "-p", "tests.unit.collected"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = {Path(line.removeprefix(MARK)).resolve() for line in done.stdout.splitlines() if line.startswith(MARK)}
    there = {path.resolve() for path in (ROOT / "tests").rglob("test_*.py")}
    assert sorted(there - found) == [], done.stderr
    assert len(there) > 50


def test_the_contracts_of_the_imports_name_every_kind() -> None:
    """A kind that they leave out is held to none of them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = {contract["name"]: contract for contract in project["tool"]["importlinter"]["contracts"]}
    kinds = {f"swiftop.kinds.{found.parent.name}" for found in (ROOT / "operator/swiftop/kinds").glob("*/__init__.py")}
    assert set(contracts["A kind is read without any other kind"]["modules"]) == kinds
    assert kinds <= set(contracts["What all kinds share knows no kind but by the registry"]["forbidden_modules"])
    assert len(kinds) > 2


def test_the_contract_of_the_runner_names_every_module_that_the_operator_does_not_know() -> None:
    """One that it leaves out could be imported by the operator, whatever it imports itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (contract,) = (
        found for found in project["tool"]["importlinter"]["contracts"] if found["name"].startswith("Of the runner")
    )
    operator_ = ROOT / "operator"
    modules = {
        ".".join(path.relative_to(operator_).with_suffix("").parts)
        for path in (operator_ / "swiftop/runner").rglob("*.py")
        if path.name != "__init__.py"
    }
    named = contract["forbidden_modules"]
    left_out = {module for module in modules if not any(f"{module}.".startswith(f"{known}.") for known in named)}
    known = (
        "advice",
        "bundle",
        "causes",
        "ends",
        "hub.causes",
        "image",
        "machine",
        "protocol",
        "report",
        "serve.causes",
        "serve.declared",
        "trackers",
        "training",
        "typed_json",
    )
    assert left_out == {f"swiftop.runner.{module}" for module in known}
