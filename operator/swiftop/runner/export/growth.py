"""How far ``swift export`` is, which does not tell: the size of what it has written, and what it will come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from . import weights


@dataclass
class Growth:
    """Of one merge. ``base`` is a folder or an id of a hub, which lies in a cache once it is loaded."""

    written: Path
    base: str
    dtype: str
    environ: Mapping[str, str]

    def progress(self) -> dict[str, Any]:
        """Like that of a task; nothing until the model is loaded, and no total of a model that is not found."""
        try:
            done = sum(path.stat().st_size for path in self.written.iterdir())
        except OSError:  # not there yet, or a temporary file that has just gone
            return {}
        return {"bytesDone": min(done, self._total), "bytesTotal": self._total} if self._total else {}

    @cached_property
    def _total(self) -> int:
        """The weights of the model in the wanted type, without what stands beside them; 0 when they are not found.

        Asked for once something is written, when the model has been loaded.
        """
        for folder in self._folders():
            try:
                found = weights.read_folder(folder)
            except (OSError, weights.Damaged):
                continue
            code = weights.CODES.get(self.dtype)
            if found:
                return sum((tensor.as_type(code) if code else tensor).bytes for tensor in found.values())
        return 0

    def _folders(self) -> list[Path]:
        """Where the base may lie; the hubs' clients have changed their layouts."""
        if self.base.startswith("/"):
            return [Path(self.base)]
        owner, _, name = self.base.partition("/")
        modelscope, huggingface = (Path(self.environ.get(home) or "/-") for home in ("MODELSCOPE_CACHE", "HF_HOME"))
        old = Path("models", owner, name.replace(".", "___"))
        return [
            *modelscope.glob(f"models/{owner}--{name}/snapshots/*"),
            *huggingface.glob(f"hub/models--{owner}--{name}/snapshots/*"),
            modelscope / old,
            modelscope / "hub" / old,
        ]
