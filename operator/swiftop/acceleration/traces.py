"""Nothing of this plugin in what a training leaves behind.

ms-swift writes its arguments beside each checkpoint, and whoever merges or serves one later reads from there which
plugins to import: in another pod, where this one's file is not.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any


def leave_none(entry: str) -> None:
    """Take the plugin out of the arguments once ms-swift has imported it."""
    factory = importlib.import_module("swift.trainers").TrainerFactory
    plain = factory.get_training_args

    @functools.wraps(plain)
    def get_training_args(args: Any) -> Any:
        args.external_plugins = [plugin for plugin in args.external_plugins if plugin != entry]
        return plain(args)

    factory.get_training_args = staticmethod(get_training_args)
