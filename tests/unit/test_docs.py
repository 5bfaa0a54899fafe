"""The documents keep up with the code, and lead nowhere that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from swiftop.names import Reason
from swiftop.runner import causes

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("images/*.md"), *ROOT.glob("tests/*/*.md")])


def test_every_reason_is_explained() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "reasons.md").read_text(), re.M)
    assert sorted(rows) == sorted([*causes.BY_REASON, *(reason.value for reason in Reason)])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
