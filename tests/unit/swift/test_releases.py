"""Each release's record agrees with its own flag table, and the page of flags with both."""

from __future__ import annotations

import json

import pytest

from swiftop.api.v1alpha1.training import FLASH_ATTENTION
from swiftop.errors import Invalid
from swiftop.swift.releases import DEFAULT, RELEASES, SUPPORTED, having, table
from tests.support.objects import ROOT
from tools.flags_page import PAGE, page

FILES = ROOT / "operator" / "swiftop" / "swift" / "flags"


def test_every_table_belongs_to_a_release() -> None:
    named = {f"{version}.{program}.json" for version, release in RELEASES.items() for program in release.programs}
    assert {path.name for path in FILES.iterdir()} == named


@pytest.mark.parametrize("version", SUPPORTED)
def test_a_record_says_what_its_table_says(version: str) -> None:
    release, known = RELEASES[version], table(version)
    assert release.release == json.loads((FILES / f"{version}.sft.json").read_text("utf-8"))["release"]
    assert (known.release, known.version, known.program) == (release, version, "sft")
    assert [name for name in ("train_type", "tuner_type") if name in known.flags] == [release.tuner_flag]
    assert set(release.packing_attention) <= set(FLASH_ATTENTION)
    assert {"lora", "full"} <= set(known.tuners)


def test_the_default_is_supported_and_another_version_is_told_which_are() -> None:
    assert DEFAULT in SUPPORTED
    with pytest.raises(Invalid, match=r"ms-swift 9\.9 is not supported \(use one of 3\.7, 3\.12, 4\.6\)"):
        table("9.9")


def test_which_releases_have_a_flag() -> None:
    assert having("train_type") == ["3.7", "3.12"]
    assert having("no_such_flag") == []


def test_the_page_of_flags_is_that_of_the_models() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: make docs"
