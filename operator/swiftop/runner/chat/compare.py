"""ms-swift's template and a chat template, compared token for token, and one made that renders the same.

Needs the libraries of the image. What ms-swift refuses of a dialogue is not compared, and is told as a note.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from . import jinja
from .probes import PROBES, Probe, difference, in_swift_words

LONGEST = 1 << 20
"""Length that a template has to take, else that of the model, which may be less than a probe."""


@dataclass(frozen=True)
class Rendered:
    """What ms-swift makes of the probes."""

    tokens: Mapping[str, Sequence[int]]  # by the name of a probe
    notes: tuple[str, ...]


def rendered(template: Any) -> Rendered:
    """Of all probes, by a template of ms-swift; raises what it raises on a model that it does not know."""
    found = {probe.name: _ours(template, probe) for probe in PROBES}
    return Rendered({name: ids for name, ids in found.items() if not isinstance(ids, str)}, tuple(_left_out(found)))


def _ours(template: Any, probe: Probe) -> Any:
    """Tokens by ms-swift, or why it refuses such a dialogue."""
    row: dict[str, Any] = {"messages": in_swift_words(probe.messages)}
    if probe.tools:
        row["tools"] = [dict(tool) for tool in probe.tools]
    try:
        return list(template.encode(row)["input_ids"])
    except (AssertionError, ValueError) as error:
        return first_line(error)


def _left_out(found: Mapping[str, Any]) -> list[str]:
    names: dict[str, list[str]] = {}
    for name, told in found.items():
        if isinstance(told, str):
            names.setdefault(told, []).append(name)
    return [f"not compared, because ms-swift refuses it ({', '.join(same)}): {why}" for why, same in names.items()]


def first_difference(
    tokenizer: Any, wanted: Mapping[str, Sequence[int]], chat_template: Optional[str] = None
) -> Optional[str]:
    """The first probe at which a chat template differs from ms-swift, in words; without one that of the tokenizer."""
    for probe in PROBES:
        if probe.name not in wanted:
            continue
        try:
            text = tokenizer.apply_chat_template(
                [dict(message) for message in probe.messages],
                tools=[dict(tool) for tool in probe.tools] or None,
                chat_template=chat_template,
                add_generation_prompt=True,
                tokenize=False,
            )
        except Exception as error:  # Jinja's, or what the template itself raises
            return f"{probe.name}: the chat template refuses it: {first_line(error)}"
        theirs = tokenizer(text, add_special_tokens=False)["input_ids"]
        if found := difference(probe.name, wanted[probe.name], theirs, tokenizer.decode):
            return found
    return None


def equal_one(template: Any, tokenizer: Any, wanted: Mapping[str, Sequence[int]], notes: list[str]) -> Optional[str]:
    """A chat template that renders as ms-swift does; None when none is found, and a note says so."""
    for candidate in _candidates(template, tokenizer.chat_template, notes):
        if first_difference(tokenizer, wanted, candidate) is None:
            return candidate
    notes.append("no chat template was found that renders the same")
    return None


def _candidates(template: Any, own: Any, notes: list[str]) -> Iterator[str]:
    system, switch = template.template_meta.default_system or "", getattr(template, "jinja_enable_thinking_key", None)
    if isinstance(own, str):
        switches = {switch: bool(template.enable_thinking)} if switch and switch in own else {}  # 3.7 knows none
        yield jinja.with_defaults(own, system=system, switches=switches)
    try:
        yield jinja.render(_parts(template))
    except jinja.Unsupported as error:
        notes.append(f"no chat template can be made of ms-swift's parts: {error}")


def _parts(template: Any) -> jinja.Parts:
    """The parts of a template, tokens as their text."""
    meta, tokenizer = template.template_meta, template.tokenizer
    if _thinks(template) or getattr(meta, "non_thinking_prefix", False):
        raise jinja.Unsupported("it leaves thoughts out, which a client may switch")
    if meta.is_post_system or meta.chat_sep is None:
        raise jinja.Unsupported("it has the system prompt in the last question, or takes one question only")

    def text(prompt: Optional[Sequence[Any]]) -> str:
        return "".join(part if isinstance(part, str) else tokenizer.decode(part) for part in prompt or ())

    prefix = text(meta.prefix)
    if datetime.datetime.now().strftime("%d %b %Y") in prefix:
        raise jinja.Unsupported("it tells today's date")
    start = _bos(tokenizer) if meta.auto_add_bos else ""
    return jinja.Parts(
        prefix=start + prefix,
        prompt=text(meta.prompt),
        separator=text(meta.chat_sep),
        suffix=text(meta.suffix),
        system_prefix=start + text(meta.system_prefix) if meta.system_prefix is not None else None,
        default_system=meta.default_system or "",
        response_prefix=getattr(template, "response_prefix", getattr(meta, "response_prefix", "")) or "",
        tools=jinja.HERMES if template._agent_template == jinja.HERMES else "",
    )


def _thinks(template: Any) -> bool:
    """Whether it leaves the thoughts of earlier answers out; ms-swift 3.7 has a class for that."""
    known = getattr(template.template_meta, "is_thinking", None)
    return any(cls.__name__ == "ThinkingTemplate" for cls in type(template).__mro__) if known is None else bool(known)


def _bos(tokenizer: Any) -> str:
    """What the tokenizer itself puts before a text."""
    whole, bare = tokenizer.encode("a"), tokenizer.encode("a", add_special_tokens=False)
    return str(tokenizer.decode(whole[: whole.index(bare[0])]))


def first_line(error: Exception) -> str:
    """What an error says, without the lists of all that would be right."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.partition(". ")[0].partition(" not in [")[0][:200]
