"""A package ``flash_attn`` for this process where none is installed, on torch's own flash kernels.

ms-swift packs for flash attention alone, and transformers looks for a package of that name, with its version. Nobody
else is to find it: a model that is trained with another attention may import more of the real package than this has.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ASKED = ("flash_attn", "flash_attention_2")
VERSION = "2.8.3"
_MODULES = {
    "__init__.py": f"""from .functions import flash_attn_func, flash_attn_varlen_func
__version__ = "{VERSION}"
flash_attn_with_kvcache = None  # for generation only; transformers imports the name
""",
    "bert_padding.py": """from transformers import modeling_flash_attention_utils as utils
pad_input, unpad_input = utils._pad_input, utils._unpad_input
index_first_axis = getattr(utils, "_index_first_axis", None)
""",
    "functions.py": Path(__file__).with_name("flash.py").read_text("utf-8"),
}


def asked(words: Sequence[str]) -> bool:
    """Whether a command of ms-swift asks for flash attention."""
    value = ""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        flag, joined, rest = word.partition("=")
        if flag.replace("-", "_") == "__attn_impl":
            value = rest if joined else following
    return value in ASKED


def install(words: Sequence[str]) -> str:
    """Bring the package; why not, in a word."""
    if not asked(words):
        return "NotAsked"
    if importlib.util.find_spec("flash_attn") is not None:
        return "Installed"
    site = Path(tempfile.mkdtemp(prefix="swiftop-flash-attn-"))
    write(site)
    sys.path.append(str(site))
    importlib.invalidate_caches()
    known = importlib.import_module("transformers.utils.import_utils")
    getattr(known, "PACKAGE_DISTRIBUTION_MAPPING", {})["flash_attn"] = ["flash-attn"]
    getattr(known.is_flash_attn_2_available, "cache_clear", lambda: None)()
    return "" if known.is_flash_attn_2_available() else "NotTaken"


def write(site: Path) -> None:
    """The package as if it were installed in a folder: transformers asks for the distribution's name and version."""
    package, information = site / "flash_attn", site / f"flash_attn-{VERSION}.dist-info"
    for folder in (package, information):
        folder.mkdir(parents=True)
    for name, text in _MODULES.items():
        (package / name).write_text(text, encoding="utf-8")
    metadata = f"Metadata-Version: 2.1\nName: flash-attn\nVersion: {VERSION}\n"
    (information / "METADATA").write_text(metadata, encoding="utf-8")
    (information / "top_level.txt").write_text("flash_attn\n", encoding="utf-8")
