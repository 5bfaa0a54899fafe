"""ms-swift's own deploy app, made in this process: its module moved between major versions."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Sequence
from typing import Any

from .. import causes
from ..task import Refused
from . import engines, identity
from .backend import InProcess, Loaded

_MODULES = ("swift.pipelines.infer.deploy", "swift.llm.infer.deploy")  # 4.x, 3.x
_MEDIA = "SWIFT_MEDIA_ALLOWED_DIRS"


def load(words: Sequence[str], names: Sequence[str]) -> Loaded:
    """The model loaded, the app made, nothing listening."""
    deploy = _deploy(words, names)
    top = min(identity.TOP, int(getattr(deploy.args, "max_logprobs", identity.TOP)))
    embeds = getattr(deploy.args, "task_type", None) == "embedding"
    return Loaded(InProcess(deploy.app, engines.attach(deploy)), embeds=embeds, top=top)


def _deploy(words: Sequence[str], names: Sequence[str]) -> Any:
    os.environ.setdefault(_MEDIA, tempfile.mkdtemp(prefix="swiftop-media-"))  # ms-swift's own lock on local files
    deploy = _class()(list(words))
    served = deploy._get_model_list()
    if sorted(served) != sorted(names):
        raise Refused(causes.INVALID_ARGUMENTS, f"the command serves {', '.join(served)}, not {', '.join(names)}")
    deploy.jsonl_writer = None  # what its run() would set
    deploy.args.log_interval = -1  # its statistics would be kept and never be read
    if "--verbose" not in words:
        deploy.args.verbose = False  # what people ask and are told does not belong in a log
    return deploy


def _class() -> Any:
    for name in _MODULES:
        try:
            return importlib.import_module(name).SwiftDeploy
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise  # something that ms-swift itself needs
    raise Refused(causes.VERSION_MISMATCH, "ms-swift's deploy is not where any known version has it")
