"""The checked-in flag tables are what the real releases' parsers say."""

from __future__ import annotations

import importlib.util
import json
from types import ModuleType

import pytest

from swiftop.swift.releases import RELEASES
from tests.swift_versions.environments import ROOT
from tests.swift_versions.test_acceptance import ready

SOURCES = {"3.7": ("3.7",), "3.12": ("3.12",), "4.6": ("4.6", "4.6-transformers5")}
TABLES = [(version, program) for version, release in RELEASES.items() for program in release.programs]
FLAGS = ROOT / "operator" / "swiftop" / "swift" / "flags"


def extractor() -> ModuleType:
    module_spec = importlib.util.spec_from_file_location("extract_flags", ROOT / "tools" / "extract_flags.py")
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("version", "program"), TABLES)
def test_a_new_extraction_gives_the_checked_in_table(version: str, program: str) -> None:
    tool = extractor()
    words = ("tools/extract_flags.py", "extract", "--command", program)
    outputs = [ready(name).run(*words) for name in SOURCES[version]]
    tables = [json.loads(output[output.index('{\n"release"') :]) for output in outputs]
    assert tool.render(tool.merge(tables)) == (FLAGS / f"{version}.{program}.json").read_text("utf-8")
