"""From the request of a task to a hub and back: token, client, and every failure as a known cause."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Callable

from .. import causes, image
from ..task import Progress as TellTask
from ..task import Refused, main
from ..typed_json import from_json, to_json
from . import causes as ends
from .adapter import Hub
from .failure import Failure
from .files import Changed
from .publish import Tell
from .request import HUGGINGFACE, Progress, Push, Target

Work = Callable[[Hub, Push, Tell], Any]


def run(work: Work) -> int:
    """Do it as a task: the exit code is that of its cause."""

    def task(request: Mapping[str, Any], progress: TellTask) -> Mapping[str, Any]:
        push = from_json(Push, request)
        token = os.environ.get(push.target.token_env, "").strip()
        if not token:
            raise Refused(causes.SECRET_MISSING, f"environment variable {push.target.token_env} is not set")

        def tell(now: Progress) -> None:
            progress(to_json(now))

        try:
            result: Mapping[str, Any] = to_json(work(connect(push.target, token), push, tell))
        except Changed as error:
            raise Refused(ends.CONTENT_CHANGED, str(error)) from error
        except Failure as failure:
            raise Refused(failure.cause, _told(push.target, failure, token)) from failure
        return result

    return main(task)


def connect(target: Target, token: str) -> Hub:
    """The hub by its own client, which the image has to have."""
    try:
        if target.hub == HUGGINGFACE:
            from .huggingface import HuggingFace

            return HuggingFace(target, token)
        from .modelscope import ModelScope

        return ModelScope(target, token)
    except ImportError as error:
        needed = "huggingface_hub 0.30" if target.hub == HUGGINGFACE else "modelscope 1.40"
        message = f"publishing to {target.hub} needs an image with {needed} or newer: {error}"
        raise Refused(image.PACKAGE_MISSING, message) from error


def _told(target: Target, failure: Failure, token: str) -> str:
    """One line for the user: where, and what the hub says. A token has no place in it, whatever a client puts in."""
    return f"{target.hub} {target.repo}: {failure}".replace(token, "***")[:1000]
