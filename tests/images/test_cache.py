"""Where builds, binaries and models are kept."""

from pathlib import Path

import pytest

from images.cache import cache_root

HOME = {"HOME": "/home/someone"}
DEFAULT = Path("/home/someone/.cache/swiftop")


@pytest.mark.parametrize(
    ("environ", "root"),
    [
        (HOME, DEFAULT),
        ({**HOME, "SWIFTOP_CACHE": "/big"}, Path("/big")),
        ({**HOME, "SWIFTOP_CACHE": ""}, DEFAULT),
        ({**HOME, "SWIFTOP_CACHE": "here"}, Path.cwd() / "here"),
    ],
    ids=["default", "moved", "empty", "relative"],
)
def test_the_cache_can_be_moved_and_an_empty_variable_means_the_default(environ: dict[str, str], root: Path) -> None:
    assert cache_root(environ) == root
