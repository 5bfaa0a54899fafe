"""README.md of an exported model: front matter that both hubs read, and where the model comes from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Union

NAME = "README.md"
Front = Union[str, Sequence[str]]


@dataclass(frozen=True)
class Source:
    """A model or a dataset that this one was made of."""

    name: str
    revision: str = ""
    hub: str = ""  # modelscope or huggingface; empty: no repository, as a file of a claim


@dataclass(frozen=True)
class Card:
    """What is known of a model. Everything may be missing: nothing is said of it then."""

    name: str = ""
    base: Source = Source("")
    datasets: tuple[Source, ...] = ()
    license: str = ""  # of the base model, as the hubs call it
    adapter: bool = False  # the adapter itself, not merged
    pipeline: str = ""  # the hubs' word for what it does, as text-generation
    dtype: str = ""
    quantization: str = ""  # in words: awq, 4 bits, groups of 128
    calibration: tuple[Source, ...] = ()  # datasets that it was chosen by
    tags: tuple[str, ...] = ()
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    swift_version: str = ""
    image: str = ""
    tracker: str = ""  # address of the experiment
    result: Mapping[str, Any] = field(default_factory=dict)
    lineage: tuple[str, ...] = ()


def read(told: Mapping[str, Any]) -> Card:
    """A card of plain JSON, the members named as the fields in camelCase; unknown ones are left out."""
    values: dict[str, Any] = {}
    for member in fields(Card):
        head, *rest = member.name.split("_")
        key = head + "".join(word.capitalize() for word in rest)
        if told.get(key) is not None:
            values[member.name] = _READ.get(member.name, str)(told[key])
    return Card(**values)


def _source(told: Mapping[str, Any]) -> Source:
    return Source(*(str(told.get(key) or "") for key in ("name", "revision", "hub")))


_READ: Mapping[str, Any] = {
    "base": _source,
    "datasets": lambda told: tuple(map(_source, told)),
    "calibration": lambda told: tuple(map(_source, told)),
    "adapter": bool,
    "tags": lambda told: tuple(map(str, told)),
    "hyperparameters": dict,
    "result": dict,
    "lineage": lambda told: tuple(map(str, told)),
}


def render(card: Card) -> str:
    """The whole file."""
    front = "".join(f"{key}:{_yaml(value)}\n" for key, value in _front(card) if value)
    return f"---\n{front}---\n\n" + "\n\n".join(_parts(card)) + "\n"


def _front(card: Card) -> Iterator[tuple[str, Front]]:
    """Only repositories: the hubs make links of these, and refuse what is not a name of theirs."""
    yield "base_model", card.base.name if card.base.hub else ""
    yield "base_model_relation", _relation(card) if card.base.hub else ""
    yield "datasets", [dataset.name for dataset in card.datasets if dataset.hub]
    yield "license", card.license
    yield "library_name", "peft" if card.adapter else "transformers"
    yield "pipeline_tag", card.pipeline
    yield "tags", ["ms-swift", "swiftop", *(["lora"] if card.adapter else []), *card.tags]


def _relation(card: Card) -> str:
    return "adapter" if card.adapter else "quantized" if card.quantization else "finetune"


def _yaml(value: Front) -> str:
    if isinstance(value, str):
        return f" {_quoted(value)}"
    return "".join(f"\n- {_quoted(item)}" for item in value)


def _quoted(text: str) -> str:
    """JSON strings are YAML strings, but for characters that YAML takes for ends of lines or does not allow."""
    quoted = json.dumps(text, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", quoted)


def _parts(card: Card) -> Iterator[str]:
    yield f"# {_line(card.name or 'Fine-tuned model')}"
    kind = "Adapter" if card.adapter else "Model"
    base = f" from {_code(card.base.name)}" if card.base.name else ""
    yield f"{kind} fine-tuned{base} with [ms-swift](https://github.com/modelscope/ms-swift) on Kubernetes by swiftop."
    yield "## Where it comes from\n\n" + _table(("", "name", "revision", "hub"), _sources(card))
    if facts := [(name, _shown(value)) for name, value in _facts(card) if value]:
        yield "## How it was made\n\n" + _table(("", ""), facts)
    if card.hyperparameters:
        yield "## Hyperparameters\n\n" + _values(card.hyperparameters)
    if card.result:
        yield "## Result\n\n" + _values(card.result)
    if card.lineage:
        yield "## Lineage\n\n" + "\n".join(f"{number}. {_line(text)}" for number, text in enumerate(card.lineage, 1))


def _sources(card: Card) -> Iterator[tuple[str, ...]]:
    named = (("dataset", card.datasets), ("calibration data", card.calibration))
    for kind, source in (("base model", card.base), *((kind, source) for kind, found in named for source in found)):
        if source.name:
            yield kind, _code(source.name), _code(source.revision) if source.revision else "", source.hub


def _facts(card: Card) -> Iterator[tuple[str, str]]:
    yield "ms-swift", card.swift_version
    yield "image", card.image
    yield "quantization", card.quantization
    yield "type of the other weights" if card.quantization else "type of the weights", card.dtype
    yield "experiment", card.tracker


def _values(values: Mapping[str, Any]) -> str:
    return _table(("", ""), [(_code(name), _shown(value)) for name, value in sorted(values.items())])


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"<{text}>" if text.startswith("https://") and not set(text) & set(" <>|") else _code(text)


def _code(text: object) -> str:
    """Text in a cell of a table, taken for nothing but text."""
    inner = _line(str(text)).replace("|", "\\|")
    fence = "``" if "`" in inner else "`"
    space = " " if "`" in inner else ""
    return f"{fence}{space}{inner}{space}{fence}" if inner else ""


def _line(text: str) -> str:
    return " ".join(text.split())
