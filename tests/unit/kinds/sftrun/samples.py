"""The samples of manifests/samples, their goldens, and how to write the goldens anew.

python -m tests.unit.kinds.sftrun.samples        # after a change of the command that was meant
"""

from __future__ import annotations

from pathlib import Path

from swiftop.kinds.sftrun.command import Rendered
from swiftop.swift.paths import Identity
from swiftop.swift.releases import table
from tests.support.objects import rendered_of, sample

GOLDEN = Path(__file__).parent / "golden"
SEEDS = Path(__file__).parent / "seeds"
UID = "0f3a1c9e-5d1b-4e0a-9a55-0c1d2e3f4a5b"

NAMES = (
    "sftrun-7b",
    "sftrun-7b-fast",
    "sftrun-32b",
    "sftrun-local-file",
    "sftrun-minimal",
    "sftrun-smoke",
    "sftrun-tiny",
)
GOLDEN_VERSIONS = ("3.7", "4.6")


def rendered(name: str, version: str) -> Rendered:
    """Command and environment of a sample under a fixed identity."""
    run = sample(name)
    identity = Identity(name=run.metadata.name, uid=UID, namespace="default")
    return rendered_of(run.spec, table=table(version), identity=identity)


def as_text(result: Rendered) -> str:
    """One word a line, environment last."""
    return "\n".join([*result.command, "", *(f"{name}={value}" for name, value in result.env.items())]) + "\n"


if __name__ == "__main__":
    for sample_name in NAMES:
        for swift_version in GOLDEN_VERSIONS:
            text = as_text(rendered(sample_name, swift_version))
            (GOLDEN / f"{sample_name}-{swift_version}.txt").write_text(text, "utf-8")
