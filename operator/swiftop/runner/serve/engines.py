"""Each engine's heart: when it makes a token, and how it is made to stop. What is touched of ms-swift is here.

ms-swift goes on to generate when the client has left, tells of no token before the whole answer is there, and of a dead
engine only its answer 400.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Callable, Optional

import peft
import torch
import transformers

from ..protocol import ServedAdapter
from .adapters import LORA, layers_beyond, tensor_names
from .backend import Engine
from .board import CURRENT, Call

_CALL, _NUMBER = "_swiftop_call", "_swiftop_number"
_NUMBERS = itertools.count()


class Left(RuntimeError):
    """The client has left before its turn came."""


def attach(deploy: Any) -> Engine:
    """Follow the engine of ms-swift's app."""
    # Paths in the text of a turn would be opened: the server's files are nobody's business.
    deploy.template._replace_image_tags = lambda inputs: None
    engine = deploy.infer_engine
    kind = type(engine).__name__
    in_thread = kind in ("TransformersEngine", "PtEngine")
    _remember_errors(engine, in_thread=in_thread)
    if in_thread:
        return Transformers(deploy, engine)
    return Vllm(deploy, engine) if kind == "VllmEngine" else Other()


class Other:
    """An engine that nothing is known of: its answers are its signs of life."""

    async def load(self, adapter: ServedAdapter) -> None:
        """As in ``Backend``: the first request loads it."""

    def dead(self) -> Optional[str]:
        """As in ``Backend``."""
        return None

    def misfit(self, adapter: ServedAdapter) -> Optional[str]:
        """As in ``Backend``."""
        return None


def _remember_errors(engine: Any, *, in_thread: bool) -> None:
    """ms-swift turns each exception into a text."""
    original = engine.infer_async

    async def infer_async(request: Any, config: Any = None, **others: Any) -> Any:
        call = CURRENT.get()
        if call is not None and in_thread:
            others["pre_infer_hook"] = _hook(call, others.get("pre_infer_hook"))
            if config is not None:
                # Of requests that wait with equal settings each would get the hook of the first.
                vars(config)[_NUMBER] = next(_NUMBERS)
        try:
            answer = await original(request, config, **others)
        except Exception as error:
            if call is not None:
                call.error = call.error or error
            raise
        if call is not None and call.error is not None:
            raise call.error
        return answer

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

    setattr(begun, _CALL, call)
    return begun


class _Beat(transformers.StoppingCriteria):  # type: ignore[misc]
    """Asked after each token."""

    def __init__(self, call: Call) -> None:
        self.call = call

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        self.call.beat(input_ids.shape[0])
        return torch.full((input_ids.shape[0],), self.call.gone.is_set(), dtype=torch.bool, device=input_ids.device)


class Transformers:
    """One request at a time, in a thread of its own; a stream in one more."""

    def __init__(self, deploy: Any, engine: Any) -> None:
        engine.max_batch_size = 1  # a batch fails as a whole, and with named adapters always
        self._engine = engine
        self._template = deploy.template
        self._prepare, self._generate = self._template.prepare_generate_kwargs, self._template.generate
        self._infer = engine._infer
        self._template.prepare_generate_kwargs = self._with_beat
        self._template.generate = self._generate_or_tell
        engine._infer = self._infer_or_tell

    def _infer_or_tell(self, **kwargs: Any) -> Any:
        """What fails is told by the call: in 3.x an exception ends the engine's only thread, and nobody hears of it."""
        call: Optional[Call] = getattr(kwargs.get("pre_infer_hook"), _CALL, None)
        try:
            found = self._infer(**kwargs)
        except Exception as error:
            if call is None:
                raise
            call.error = error
            return iter(()) if kwargs["request_config"].stream else [None] * len(kwargs["infer_requests"])
        return _told(found, call) if call is not None and isinstance(found, Iterator) else found

    def _with_beat(self, kwargs: Any, **others: Any) -> Any:
        call = _taken(kwargs["generation_config"])
        prepared = self._prepare(kwargs, **others)
        if call is not None:
            criteria = [*(prepared.get("stopping_criteria") or ()), _Beat(call)]
            prepared["stopping_criteria"] = transformers.StoppingCriteriaList(criteria)
        return prepared

    def _generate_or_tell(self, model: Any, *words: Any, **kwargs: Any) -> Any:
        """A stream is generated in a thread of its own, whose failure would leave the engine waiting for ever."""
        try:
            return self._generate(model, *words, **kwargs)
        except Exception as error:
            streamer = kwargs.get("streamer")
            if streamer is None:
                raise
            for beat in kwargs.get("stopping_criteria") or ():
                if isinstance(beat, _Beat):
                    beat.call.error = error
            streamer.end()
            return None

    async def load(self, adapter: ServedAdapter) -> None:
        """As in ``Backend``: the first request loads it, and one that fails harms no other."""

    def dead(self) -> Optional[str]:
        """As in ``Backend``."""
        thread = getattr(self._engine, "_task_thread", None)
        return "the engine's thread has ended" if thread is not None and not thread.is_alive() else None

    def misfit(self, adapter: ServedAdapter) -> Optional[str]:
        """PEFT leaves out what has no place, and starts anew what is missing, both without an error."""
        given = tensor_names(adapter.path)
        if not given:
            return None
        try:
            state = peft.get_peft_model_state_dict(
                self._engine.model, adapter_name=adapter.name, save_embedding_layers=False
            )
        except Exception:  # a tuner of another kind: it cannot be told
            return None
        taken = {name for name in state if LORA in name}
        odd = sorted(given - taken) or sorted(taken - given)
        return f"{odd[0]} is in one of them only, and {len(odd) - 1} more" if odd else None


def _told(results: Iterator[Any], call: Call) -> Iterator[Any]:
    """The results of a stream; a failure ends them, and the call has it."""
    try:
        yield from results
    except Exception as error:
        call.error = call.error or error


def _taken(config: Any) -> Optional[Call]:
    """The call that the hook has left; ``generate`` copies the configuration, and a call cannot be copied."""
    found: Optional[Call] = config.__dict__.pop(_CALL, None)
    return found


class Vllm(Other):
    """vLLM's own engine, in processes of its own. It refuses an adapter of other shapes by itself."""

    def __init__(self, deploy: Any, engine: Any) -> None:
        self._engine, self._inner = engine, engine.engine
        self._paths: Mapping[str, str] = getattr(deploy.args, "adapter_mapping", None) or {}
        self._generate = self._inner.generate
        self._inner.generate = self._with_beat

    async def load(self, adapter: ServedAdapter) -> None:
        """As in ``Backend``: what fails in the first request that uses it ends the engine, for every name."""
        pool, add = getattr(self._engine, "_adapters_pool", None), getattr(self._inner, "add_lora", None)
        if pool is None or add is None:
            return
        request = importlib.import_module("vllm.lora.request").LoRARequest(
            lora_name=adapter.name, lora_path=self._paths.get(adapter.name, adapter.path), lora_int_id=len(pool) + 1
        )
        pool[adapter.name] = request  # ms-swift's own requests name it likewise
        await add(request)

    def misfit(self, adapter: ServedAdapter) -> Optional[str]:
        """As in ``Backend``: layers that the model does not have are left out in silence."""
        path = self._paths.get(adapter.name, adapter.path)
        return layers_beyond(path, str(getattr(self._engine, "model_dir", "")))

    async def _with_beat(self, *words: Any, **others: Any) -> AsyncIterator[Any]:
        call, made = CURRENT.get(), 0
        async for result in self._generate(*words, **others):
            count = sum(len(output.token_ids) for output in result.outputs)
            if call is not None:
                call.beat(max(count - made, 0))
            made = max(count, made)
            yield result

    def dead(self) -> Optional[str]:
        """As in ``Backend``."""
        return "vLLM's engine process has ended" if getattr(self._inner, "errored", False) else None
