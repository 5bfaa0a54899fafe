"""Task: does the exported chat template give a model what ms-swift gave it in training, token for token?

Engines other than ms-swift render a chat by the template in the model's folder. Where it differs, as by a default
system prompt, the model answers worse, without any error.

Request: ``{artifact, modelType?, template?, system?, agentTemplate?, enableThinking?, responsePrefix?, checkpoint?,
model?, bake?}``; what is not given is read from args.json of ``checkpoint``, and at last type and template are those
that ms-swift knows by the name of ``model``. With ``bake`` a chat_template.jinja that renders the same is written when
the present one does not.
Result: ``{templateEqual, difference, unknown, baked, template, notes}``; ``templateEqual`` is null when nothing can be
said, and ``unknown`` tells why.
"""

from __future__ import annotations

import datetime
import importlib
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import transformers

from .. import task
from . import folder, jinja
from .probes import PROBES, Probe, difference, in_swift_words

FILE = "chat_template.jinja"
_LONGEST = 1 << 20
_BY_NAME = ("swift.model", "swift.llm.model.register")  # where models are known by name, in ms-swift 4 and 3
# Members of a request, and what ms-swift calls them in args.json.
_ARGUMENTS = {
    "modelType": "model_type",
    "template": "template",
    "system": "system",
    "agentTemplate": "agent_template",
    "enableThinking": "enable_thinking",
    "responsePrefix": "response_prefix",
}


def work(request: Mapping[str, Any], progress: task.Progress) -> Mapping[str, Any]:
    """Compare, and bake where it is wanted."""
    progress({"phase": "CheckingTemplate"})
    artifact = Path(request["artifact"])
    known = {**_known_by_name(request.get("model")), **_trained_with(request)}
    asked = {**known, **{key: value for key, value in request.items() if value is not None}}
    try:
        template = _template(artifact, asked)
        rendered = {probe.name: _ours(template, probe) for probe in PROBES}
    except Exception as error:  # a model that ms-swift does not know from its folder: nothing can be said
        return {
            **_result(None),
            "templateEqual": None,
            "unknown": f"ms-swift has no template for it: {_first_line(error)}",
        }
    notes = _left_out(rendered)
    wanted = {name: ids for name, ids in rendered.items() if not isinstance(ids, str)}
    found = _difference(_tokenizer(artifact), wanted)
    baked = bool(found and request.get("bake")) and _bake(artifact, template, wanted, notes)
    return _result(None if baked else found, baked=baked, template=template.template_meta.template_type, notes=notes)


def _result(
    found: Optional[str], *, baked: bool = False, template: str = "", notes: Sequence[str] = ()
) -> dict[str, Any]:
    equal = found is None
    return {
        "templateEqual": equal,
        "difference": found or "",
        "unknown": "",
        "baked": baked,
        "template": template,
        "notes": list(notes),
    }


def _left_out(rendered: Mapping[str, Any]) -> list[str]:
    names: dict[str, list[str]] = {}
    for name, told in rendered.items():
        if isinstance(told, str):
            names.setdefault(told, []).append(name)
    return [f"not compared, because ms-swift refuses it ({', '.join(same)}): {why}" for why, same in names.items()]


def _trained_with(request: Mapping[str, Any]) -> dict[str, Any]:
    path = Path(request.get("checkpoint") or "/nonexistent") / folder.ARGUMENTS
    arguments = folder.read_json(path) if path.is_file() else {}
    return {ours: arguments[theirs] for ours, theirs in _ARGUMENTS.items() if arguments.get(theirs) is not None}


def _known_by_name(model: Optional[str]) -> dict[str, Any]:
    """Type and template by the last part of a model's id or folder: that of the result tells ms-swift nothing."""
    for module in _BY_NAME if model else ():
        try:
            known = importlib.import_module(module).get_matched_model_meta(model)
        except (ImportError, AttributeError):
            continue
        return {"modelType": known.model_type, "template": known.template} if known is not None else {}
    return {}


def _template(artifact: Path, asked: Mapping[str, Any]) -> Any:
    """ms-swift's template, as the training had it."""
    options = {
        "max_length": _LONGEST,  # else that of the model, which may be less than a probe
        "agent_template": asked.get("agentTemplate"),
        "enable_thinking": asked.get("enableThinking"),
        "response_prefix": asked.get("responsePrefix"),
    }
    swift, kind = importlib.import_module("swift"), asked.get("template")
    model_type = asked.get("modelType")
    if hasattr(swift, "get_processor"):
        processor = swift.get_processor(str(artifact), model_type=model_type)
        return swift.get_template(processor, asked.get("system"), template_type=kind, **options)
    swift = importlib.import_module("swift.llm")  # of ms-swift 3
    _, processor = swift.get_model_tokenizer(str(artifact), model_type=model_type, load_model=False)
    kind = kind or processor.model_meta.template
    if kind not in swift.TEMPLATE_MAPPING:
        raise ValueError(f"template_type: {kind!r}")
    known = inspect.signature(swift.get_template).parameters  # 3.7 has no enable_thinking
    return swift.get_template(
        kind, processor, asked.get("system"), **{name: value for name, value in options.items() if name in known}
    )


def _ours(template: Any, probe: Probe) -> Any:
    """Tokens by ms-swift, or why it refuses such a dialogue."""
    row: dict[str, Any] = {"messages": in_swift_words(probe.messages)}
    if probe.tools:
        row["tools"] = [dict(tool) for tool in probe.tools]
    try:
        return list(template.encode(row)["input_ids"])
    except (AssertionError, ValueError) as error:
        return _first_line(error)


def _tokenizer(artifact: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(artifact, trust_remote_code=True)


def _difference(tokenizer: Any, wanted: Mapping[str, Sequence[int]], chat_template: Optional[str] = None) -> Any:
    """The first probe at which a chat template differs from ms-swift, in words."""
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
            return f"{probe.name}: the chat template refuses it: {_first_line(error)}"
        theirs = tokenizer(text, add_special_tokens=False)["input_ids"]
        if found := difference(probe.name, wanted[probe.name], theirs, tokenizer.decode):
            return found
    return None


def _bake(artifact: Path, template: Any, wanted: Mapping[str, Sequence[int]], notes: list[str]) -> bool:
    tokenizer = _tokenizer(artifact)
    for candidate in _candidates(template, tokenizer.chat_template, notes):
        if _difference(tokenizer, wanted, candidate) is None:
            _write(artifact, candidate)
            return _difference(_tokenizer(artifact), wanted) is None
    notes.append("no chat template was found that renders the same")
    return False


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


def _write(artifact: Path, candidate: str) -> None:
    """Where each release of transformers looks: the file wins, older ones know the configuration alone."""
    (artifact / FILE).write_text(candidate, encoding="utf-8")
    path = artifact / "tokenizer_config.json"
    config = folder.read_json(path) if path.is_file() else {}
    if isinstance(config.get("chat_template"), str):
        config["chat_template"] = candidate
        path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _first_line(error: Exception) -> str:
    """What an error says, without the lists of all that would be right."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.partition(". ")[0].partition(" not in [")[0][:200]


if __name__ == "__main__":
    raise SystemExit(task.main(work))
