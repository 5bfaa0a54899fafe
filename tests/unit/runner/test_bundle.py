"""The zip file: same bytes always, complete, and standing on the standard library alone."""

from __future__ import annotations

import ast
import io
import sys
import zipfile

from swiftop.runner.bundle import PACKAGE, bundle, digest


def test_bytes_are_deterministic() -> None:
    first = bundle()
    bundle.cache_clear()
    assert bundle() == first
    assert len(digest()) == 64
    assert len(first) < 200_000  # a ConfigMap holds 1 MiB, and each namespace has its own


def test_members_are_sorted_and_have_no_time() -> None:
    with zipfile.ZipFile(io.BytesIO(bundle())) as archive:
        names = archive.namelist()
        assert names == sorted(names)
        assert "__main__.py" in names
        assert f"{PACKAGE}/main.py" in names
        assert f"{PACKAGE}/bundle.py" not in names
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_only_the_standard_library_is_imported_and_python_3_9_can_read_it() -> None:
    with zipfile.ZipFile(io.BytesIO(bundle())) as archive:
        for name in archive.namelist():
            tree = ast.parse(archive.read(name), name, feature_version=(3, 9))
            for node in ast.walk(tree):
                if isinstance(node, ast.Import):
                    modules = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    modules = [node.module or ""]
                else:
                    continue
                assert all(m.partition(".")[0] in {*sys.stdlib_module_names, PACKAGE} for m in modules), (name, modules)
