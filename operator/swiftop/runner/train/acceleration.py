"""The acceleration's side in the pod: its package beside ms-swift, as a plugin, and what it tells.

The package lies in the runner's own zip file, which was checked before it was started. ms-swift puts a plugin's folder
in front of everything that it imports, so that folder has the entry alone, and the package is found last.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from ..protocol import Acceleration

PACKAGE = "swiftop_acceleration"
VARIABLE = "SWIFTOP_ACCELERATION"
KERNELS = "TRITON_CACHE_DIR"
FLAG = "--external_plugins"
LARGEST_REPORT = 16 * 1024
_BUNDLE = Path(__file__).parents[2]
_ENTRY_FOLDER, _ENTRY = "entry", "swiftop_entry.py"
_ENTRY_TEXT = """import sys

sys.path.append({folder!r})
try:
    from {package} import plugin

    plugin.install()
except Exception as error:
    sys.stderr.write(f"swiftop: acceleration: nothing is installed: {{type(error).__name__}}: {{error}}\\n")
"""


class Accelerator:
    """The acceleration of one execution."""

    def __init__(self, wanted: Acceleration, *, bundle: Path = _BUNDLE) -> None:
        self._wanted = wanted
        self._bundle = bundle
        self._report: Optional[Path] = None
        self._read_at: Optional[int] = None
        self._told: Any = None
        self.environ: dict[str, str] = {}
        self.problem = ""

    def prepare(self, command: tuple[str, ...], output: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
        """The command with the plugin; as it was, and ``problem`` told, where it cannot be brought."""
        try:
            folder = Path(tempfile.mkdtemp(prefix="swiftop-acceleration-"))
            entry = self._write(folder)
        except (OSError, zipfile.BadZipFile) as error:
            self.problem = f"the training is not accelerated: {error}"
            return command
        self._report = folder / "report.json"
        wanted = {"mode": self._wanted.mode, "fixed": list(self._wanted.fixed), "report": str(self._report)}
        self.environ = {VARIABLE: json.dumps({**wanted, "entry": str(entry)})}
        if KERNELS not in environ and (kernels := kernel_cache(output)) is not None:
            self.environ[KERNELS] = str(kernels)
        return with_plugin(command, str(entry))

    def _write(self, folder: Path) -> Path:
        with zipfile.ZipFile(self._bundle) as archive:
            names = [name for name in archive.namelist() if name.startswith(f"{PACKAGE}/")]
            if not names:
                raise OSError("it is not in the runner's bundle")
            archive.extractall(folder, names)
        entry = folder / _ENTRY_FOLDER / _ENTRY
        entry.parent.mkdir()
        entry.write_text(_ENTRY_TEXT.format(folder=str(folder), package=PACKAGE), encoding="utf-8")
        return entry

    def report(self) -> Any:
        """What it told last, believed by nobody yet; None before it has told anything."""
        if self._report is None:
            return None
        try:
            file = os.open(self._report, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # no pipe is waited for
        except OSError:
            return self._told
        try:
            found = os.fstat(file)
            if stat.S_ISREG(found.st_mode) and found.st_mtime_ns != self._read_at:
                self._read_at = found.st_mtime_ns
                self._told = json.loads(os.read(file, LARGEST_REPORT))
        except (OSError, ValueError, RecursionError):
            pass  # whoever runs in the pod may write there
        finally:
            os.close(file)
        return self._told


def with_plugin(command: tuple[str, ...], entry: str) -> tuple[str, ...]:
    """The command with one plugin more, after those that it has."""
    words = list(command)
    for at in range(len(words) - 1, -1, -1):  # ms-swift takes the last
        flag, joined, value = words[at].partition("=")
        if flag.replace("-", "_") != FLAG.replace("-", "_"):
            continue
        if joined:
            words[at : at + 1] = [FLAG, value]
        end = next((i for i in range(at + 1, len(words)) if words[i].startswith("--")), len(words))
        words.insert(end, entry)
        return tuple(words)
    return (*command, FLAG, entry)


def kernel_cache(output: Path) -> Optional[Path]:
    """Compiled kernels beside the checkpoints, so that a run that is resumed need not compile them again.

    They are libraries too: none can be loaded from a volume that lets nothing be executed.
    """
    folder = output / ".triton"
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        return None if os.statvfs(folder).f_flag & os.ST_NOEXEC else folder
    except OSError:
        return None
