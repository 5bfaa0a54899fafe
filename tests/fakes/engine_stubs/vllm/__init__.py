"""Lets ms-swift believe that vLLM is there: its engine says one word, a token at a time.

What ms-swift passes on is printed. With a file ``/mnt/engine-dies`` every request fails, as when the engine's own
process has ended; ``/mnt/slow`` has the seconds a token.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

__version__ = "0.23.0"
TOKEN = 264
WORK = Path("/mnt")


class EngineArgs:
    """Takes whatever it is given; those named here are what ms-swift looks for."""

    def __init__(
        self, *, model: str = "", dtype: str = "", enable_lora: bool = False, max_loras: int = 1,
        max_lora_rank: int = 16, enable_expert_parallel: bool = False, enable_sleep_mode: bool = False,
        disable_cascade_attn: bool = False, load_format: str = "", mm_processor_cache_gb: float = 4,
        speculative_config: Any = None, logprobs_mode: Any = None, quantization: Any = None,
        limit_mm_per_prompt: Any = None, runner: str = "auto", data_parallel_size: int = 1, **others: Any,
    ) -> None:  # fmt: skip
        self.given = {"enable_lora": enable_lora, "max_loras": max_loras, "max_lora_rank": max_lora_rank}
        vars(self).update(others)


AsyncEngineArgs = EngineArgs


class SamplingParams:
    """As far as ms-swift reads it."""

    __slots__ = (
        "best_of", "frequency_penalty", "logprobs", "max_tokens", "min_p", "n", "presence_penalty", "prompt_logprobs",
        "repetition_penalty", "seed", "stop", "stop_token_ids", "temperature", "top_k", "top_p",
    )  # fmt: skip

    def __init__(
        self, *, n: int = 1, temperature: float = 1.0, top_p: float = 1.0, top_k: int = -1, min_p: float = 0.0,
        repetition_penalty: float = 1.0, max_tokens: int = 16, logprobs: Any = None, prompt_logprobs: Any = None,
        stop: Any = None, stop_token_ids: Any = None, frequency_penalty: float = 0, presence_penalty: float = 0,
        seed: Any = None, best_of: Any = None,
    ) -> None:  # fmt: skip
        given = locals()
        for name in self.__slots__:
            setattr(self, name, given[name])

    def get(self, name: str) -> Any:
        """Of the stub alone."""
        return getattr(self, name)


class _Output:
    index = 0
    logprobs = None

    def __init__(self, count: int, last: bool) -> None:
        self.token_ids = [TOKEN] * count
        self.finish_reason = "length" if last else None

    def finished(self) -> bool:
        return self.finish_reason is not None


class _Result:
    def __init__(self, prompt: list[int], count: int, last: bool) -> None:
        self.outputs = [_Output(count, last)]
        self.prompt_token_ids = prompt
        self.finished = last


class AsyncLLMEngine:
    """The engine."""

    errored = False

    @classmethod
    def from_engine_args(cls, args: EngineArgs) -> AsyncLLMEngine:
        """Print what was asked for."""
        print("stub made", json.dumps(args.given), flush=True)
        return cls()

    async def generate(
        self, inputs: dict[str, Any], params: SamplingParams, request_id: str, lora_request: Any = None, **others: Any
    ) -> AsyncIterator[_Result]:
        """A token at a time; each result has all of them so far."""
        count, limit = 0, params.get("max_tokens")
        try:
            for count in range(1, limit + 1):
                if (WORK / "engine-dies").exists():
                    raise RuntimeError("EngineCore encountered an issue. See stack trace (above) for the root cause.")
                slow = WORK / "slow"
                await asyncio.sleep(float(slow.read_text()) if slow.exists() else 0)
                yield _Result(inputs["prompt_token_ids"], count, count == limit)
        except (asyncio.CancelledError, GeneratorExit):
            print("stub aborted after", count, flush=True)
            raise


LLMEngine = AsyncLLMEngine
