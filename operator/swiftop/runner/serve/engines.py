"""Each engine's heart: when it makes a token, and how it is made to stop. What is touched of ms-swift is here.

ms-swift goes on to generate when the client has left, tells of no token before the whole answer is there, and of a dead
engine only its answer 400.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Callable, Optional

import torch
import transformers

from .board import CURRENT, Call

_CALL = "_swiftop_call"

Dead = Callable[[], Optional[str]]


class Left(RuntimeError):
    """The client has left before its turn came."""


def attach(deploy: Any) -> Dead:
    """Follow the engine of ms-swift's app; returns what tells whether it is dead."""
    # Paths in the text of a turn would be opened: the server's files are nobody's business.
    deploy.template._replace_image_tags = lambda inputs: None
    engine = deploy.infer_engine
    kind = type(engine).__name__
    in_thread = kind in ("TransformersEngine", "PtEngine")
    _remember_errors(engine, in_thread=in_thread)
    if in_thread:
        return _follow_transformers(deploy, engine)
    return _follow_vllm(engine) if kind == "VllmEngine" else lambda: None


def _remember_errors(engine: Any, *, in_thread: bool) -> None:
    """ms-swift turns each exception into a text."""
    original = engine.infer_async

    async def infer_async(request: Any, config: Any = None, **others: Any) -> Any:
        call = CURRENT.get()
        if call is not None and in_thread:
            others["pre_infer_hook"] = _hook(call, others.get("pre_infer_hook"))
        try:
            return await original(request, config, **others)
        except Exception as error:
            if call is not None:
                call.error = call.error or error
            raise

    engine.infer_async = infer_async


def _hook(call: Call, inner: Optional[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """What ms-swift calls before it generates, in the engine's thread."""

    def begun(kwargs: Any) -> Any:
        if call.gone.is_set():
            raise Left("the client has left")
        call.running = True
        kwargs = inner(kwargs) if inner is not None else kwargs
        setattr(kwargs["generation_config"], _CALL, call)
        return kwargs

    return begun


class _Beat(transformers.StoppingCriteria):  # type: ignore[misc]
    """Asked after each token."""

    def __init__(self, call: Call) -> None:
        self.call = call

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        self.call.beat(input_ids.shape[0])
        return torch.full((input_ids.shape[0],), self.call.gone.is_set(), dtype=torch.bool, device=input_ids.device)


def _follow_transformers(deploy: Any, engine: Any) -> Dead:
    engine.max_batch_size = 1  # a batch fails as a whole, and with named adapters always
    template = deploy.template
    prepare, generate = template.prepare_generate_kwargs, template.generate

    def prepare_generate_kwargs(kwargs: Any, **others: Any) -> Any:
        call = _taken(kwargs["generation_config"])
        prepared = prepare(kwargs, **others)
        if call is not None:
            criteria = [*(prepared.get("stopping_criteria") or ()), _Beat(call)]
            prepared["stopping_criteria"] = transformers.StoppingCriteriaList(criteria)
        return prepared

    def generate_or_tell(model: Any, *words: Any, **kwargs: Any) -> Any:
        """A stream is generated in a thread of its own, whose failure would leave the engine waiting for ever."""
        try:
            return generate(model, *words, **kwargs)
        except Exception as error:
            streamer = kwargs.get("streamer")
            if streamer is None:
                raise
            for beat in kwargs.get("stopping_criteria") or ():
                if isinstance(beat, _Beat):
                    beat.call.error = error
            streamer.end()
            return None

    template.prepare_generate_kwargs = prepare_generate_kwargs
    template.generate = generate_or_tell

    def dead() -> Optional[str]:
        thread = getattr(engine, "_task_thread", None)
        return "the engine's thread has ended" if thread is not None and not thread.is_alive() else None

    return dead


def _taken(config: Any) -> Optional[Call]:
    """The call that the hook has left; ``generate`` copies the configuration, and a call cannot be copied."""
    found: Optional[Call] = config.__dict__.pop(_CALL, None)
    return found


def _follow_vllm(engine: Any) -> Dead:
    inner = engine.engine
    original = inner.generate

    async def generate(*words: Any, **others: Any) -> AsyncIterator[Any]:
        call, made = CURRENT.get(), 0
        async for result in original(*words, **others):
            count = sum(len(output.token_ids) for output in result.outputs)
            if call is not None:
                call.beat(max(count - made, 0))
            made = max(count, made)
            yield result

    inner.generate = generate

    def dead() -> Optional[str]:
        return "vLLM's engine process has ended" if getattr(inner, "errored", False) else None

    return dead
