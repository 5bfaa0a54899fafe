"""The list of flags that extraArgs may not carry, held to what is rendered and to what ms-swift has."""

from __future__ import annotations

import pytest

from swiftop.api.v1alpha1.flags import EXTRA_ARG_RULES, FIELD_OF_FLAG
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.api.v1alpha1.training import ExtraArg
from swiftop.swift import fields
from swiftop.swift.paths import RunIdentity
from swiftop.swift.releases import SUPPORTED, table
from swiftop.swift.typed import typed_flags
from tests.apiserver.cases import ACCEPTED

# A list flag that is merged with the user's own values, and what only a run on the CPU gets.
SHARED = {"report_to", "use_cpu", "ddp_backend"}


def test_a_flag_of_a_typed_field_is_refused_as_extra_flag() -> None:
    run = RunIdentity(name="run", uid="00000000")
    specs = [SFTRun.from_object(case.object()).spec for case in ACCEPTED]
    rendered = {flag for v in SUPPORTED for spec in specs for flag in typed_flags(spec, run, table(v))}
    tables = [getattr(fields, name) for name in dir(fields) if name.isupper()]
    passed = {flag for rows in tables for _, flag in rows}
    assert (rendered | passed) - set(FIELD_OF_FLAG) == SHARED


def test_every_refused_flag_is_a_flag_of_some_version() -> None:
    known = {flag for v in SUPPORTED for flag in table(v).flags}
    assert set(FIELD_OF_FLAG) <= known


@pytest.mark.parametrize("version", SUPPORTED)
def test_every_secret_of_ms_swift_is_refused_and_nothing_else(version: str) -> None:
    secret_rule = EXTRA_ARG_RULES[0]
    refused = {f for f in table(version).flags if not secret_rule.holds(ExtraArg(name=f, value="x"))}
    sounds_like_one = {f for f in table(version).flags if "secret" in f or "webhook" in f or f.endswith("token")}
    assert refused == sounds_like_one
