"""The command of an engine's own server, from the same spec: without port, host and key, which the guard alone has.

``engineArgs`` are ms-swift's flags. Those of the engine are its own with its name in front; those of the prompt count
in the check that the pod makes of it; of any other flag the engine's server knows nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from swiftop.api.v1alpha1.flags import ExtraArg
from swiftop.api.v1alpha1.modeldeployment import ModelDeploymentSpec
from swiftop.errors import Problem
from swiftop.kinds.modeldeployment import live
from swiftop.kinds.modeldeployment.command import SHARE_ON_CPU, largest_rank, model_path
from swiftop.kinds.modeldeployment.source import Found
from swiftop.swift.releases import FlagTable

NO_OWN_SERVER, SWIFT_FLAGS = "NoOwnServer", "FlagsOfSwift"
"""Why ``Auto`` takes ms-swift's server whatever the prompt is, as words of the report."""
_OF_THE_PROMPT = ("agent_template", "enable_thinking", "response_prefix")
_KWARGS = "vllm_engine_kwargs"
_ARGUMENT = re.compile("[a-z][a-z0-9_]*")
# Of the engine's arguments, what the guard or a field of the spec decides, also out of a file or a request.
_NOT_IN_KWARGS = (
    "api_key", "chat_template", "config", "enable_lora", "host", "lora_modules", "max_lora_rank", "max_loras", "model",
    "port", "served_model_name", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "tokenizer",
    "trust_request_chat_template", "uds",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """Flags of one engine's server."""

    program: tuple[str, ...]
    model: tuple[str, ...]  # none where it is a word by itself
    name: str
    length: str
    parallel: str
    memory: str
    always: tuple[str, ...] = ()
    off: str = ""  # what makes of a flag its opposite; empty: it is left out
    others: Mapping[str, str] = field(default_factory=dict)  # that are called otherwise than in ms-swift


_ENGINES: Mapping[str, _Names] = {
    "vllm": _Names(
        # The script is missing where the package is called otherwise, as that for the CPU.
        program=("python", "-m", "vllm.entrypoints.openai.api_server"),
        model=("--model",),
        name="--served-model-name",
        length="--max-model-len",
        parallel="--tensor-parallel-size",
        memory="--gpu-memory-utilization",
        # As ms-swift: models with code of their own. And what people ask does not belong in a log.
        always=("--trust-remote-code", "--uvicorn-log-level", "warning", "--max-log-len", "0"),
        off="--no-",
    ),
    "sglang": _Names(
        program=("python", "-m", "sglang.launch_server"),
        model=("--model-path",),
        name="--served-model-name",
        length="--context-length",
        parallel="--tp-size",
        memory="--mem-fraction-static",
        always=("--trust-remote-code", "--enable-metrics", "--log-level-http", "warning"),
    ),
    "lmdeploy": _Names(
        program=("lmdeploy", "serve", "api_server"),
        model=(),
        name="--model-name",
        length="--session-len",
        parallel="--tp",
        memory="--cache-max-entry-count",
        others={"lmdeploy_vision_batch_size": "--vision-max-batch-size"},
    ),
}


def own_command(
    spec: ModelDeploymentSpec, *, name: str, table: FlagTable, found: Mapping[str, Found]
) -> tuple[str, ...]:
    """All words; the model comes first, for the pod may have to put a folder in the place of its id."""
    known = _ENGINES[spec.engine]
    result = [*known.program, *known.model, model_path(spec, found), known.name, name]
    result += _of_adapters(spec, found)
    if spec.dtype is not None:
        result += ["--dtype", spec.dtype]
    if spec.max_model_length is not None:
        result += [known.length, str(spec.max_model_length)]
    if (gpus := spec.tensor_parallel_size or spec.resources.gpus) > 1:
        result += [known.parallel, str(gpus)]
    if spec.gpu_memory_utilization is not None:
        result += [known.memory, spec.gpu_memory_utilization]
    elif spec.engine == "vllm" and not spec.resources.gpus:
        result += [known.memory, SHARE_ON_CPU]
    return (*result, *known.always, *(word for arg in spec.engine_args for word in _words(arg, spec.engine, table)))


def _of_adapters(spec: ModelDeploymentSpec, found: Mapping[str, Found]) -> list[str]:
    """vLLM's means for them: the guard loads them, one by one. Those that come while it serves find room, and the
    newer weights of one are held beside the older ones in the pod's memory, until nobody is answered with these."""
    if not spec.adapters:
        return []
    room = live.slots(spec)
    if live.is_live(spec):
        rank = live.largest_rank(spec, found)
        return [
            "--enable-lora",
            "--max-loras",
            str(room),
            "--max-cpu-loras",
            str(2 * room),
            "--max-lora-rank",
            str(rank),
        ]
    largest = largest_rank(spec.adapters, found)
    limit = ["--max-lora-rank", str(largest)] if largest else []
    return ["--enable-lora", "--max-loras", str(len(spec.adapters)), *limit]


def untranslatable(arg: ExtraArg, engine: str, here: str) -> Iterator[Problem]:
    """Why the engine's own server does not have a flag of ``engineArgs``."""
    prefix = f"{engine}_"
    if arg.name in _OF_THE_PROMPT:
        return
    if not arg.name.startswith(prefix):
        text = f"--{arg.name} is a flag of ms-swift's server, and the own server of {engine} knows nothing of it"
        yield Problem(f"{here}.name", text, suggestion=f"use a flag that begins with {prefix}, or server: Swift")
    elif arg.name == _KWARGS:
        yield from _wrong_kwargs(arg, here)


def _wrong_kwargs(arg: ExtraArg, here: str) -> Iterator[Problem]:
    given = _object(arg)
    if given is None:
        yield Problem(here, f"--{arg.name} has to be a JSON object")
        return
    for name in sorted(given):
        # An engine may take a flag by the beginning of its name.
        if not _ARGUMENT.fullmatch(name):
            yield Problem(
                here, f"{name[:64]!r} is no name of an argument", suggestion="write it as vLLM has it, with _"
            )
        elif any(reserved.startswith(name) for reserved in _NOT_IN_KWARGS):
            text = f"{name} is set by swiftop or by a field of the spec"
            yield Problem(here, text, suggestion=f"remove {name}")


def _words(arg: ExtraArg, engine: str, table: FlagTable) -> tuple[str, ...]:
    known = _ENGINES[engine]
    if arg.name in _OF_THE_PROMPT:
        return ()
    if arg.name == _KWARGS:
        given = _object(arg) or {}
        return tuple(word for name, value in given.items() for word in _flag(f"--{_dashed(name)}", value, known))
    flag = known.others.get(arg.name, f"--{_dashed(arg.name.partition('_')[2])}")
    info = table.flags.get(arg.name)
    if info is not None and info.type == "bool":
        return _flag(flag, arg.words[0].lower() in ("yes", "true", "t", "y", "1"), known)
    return _flag(flag, arg.words[0], known)


def _flag(flag: str, value: object, known: _Names) -> tuple[str, ...]:
    """A flag and its value; one that is on has none, and what is no text stands as JSON."""
    if value is True:
        return (flag,)
    if value is False:
        return (f"{known.off}{flag[2:]}",) if known.off else ()
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return (f"{flag}={text}",) if text.startswith("-") else (flag, text)


def _object(arg: ExtraArg) -> dict[str, object] | None:
    try:
        found = json.loads(arg.words[0])
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _dashed(name: str) -> str:
    return name.replace("_", "-")
