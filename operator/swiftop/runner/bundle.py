"""The runner as one zip file that Python runs: what the operator puts into the pod. Not part of the zip itself.

The acceleration's package comes along, for the runner to hand to ms-swift.

Same sources, same bytes, on any machine: the hash of the bytes names the ConfigMap, so files are sorted, times are
fixed, and nothing is compressed (zlib's output differs between builds).
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import lru_cache
from pathlib import Path

from swiftop.runner.ends import EXIT_INTERRUPTED

PACKAGE = "swiftop_runner"
ACCELERATION = "swiftop_acceleration"
_EPOCH = (1980, 1, 1, 0, 0, 0)
# PID 1 ignores a signal that it has no handler for, and importing takes a second where the CPU is scarce: a pod that is
# told to stop in that second would sit out its whole grace period.
_MAIN = f"""import os
import signal

signal.signal(signal.SIGTERM, lambda *_: os._exit({EXIT_INTERRUPTED}))

from {PACKAGE}.main import main  # noqa: E402

if __name__ == '__main__':
    raise SystemExit(main())
"""


@lru_cache(maxsize=1)
def bundle() -> bytes:
    """Content of ``runner.pyz``."""
    files = {"__main__.py": _MAIN.encode()}
    runner = Path(__file__).parent
    for package, root in ((PACKAGE, runner), (ACCELERATION, runner.with_name("acceleration"))):
        for path in root.rglob("*.py"):
            if path != Path(__file__):
                files[f"{package}/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            info.create_system = 3  # Unix, whatever it is made on
            archive.writestr(info, files[name])
    return buffer.getvalue()


def digest() -> str:
    """SHA-256 of ``bundle()`` in hex."""
    return hashlib.sha256(bundle()).hexdigest()
