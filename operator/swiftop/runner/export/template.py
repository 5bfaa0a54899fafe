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

import importlib
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import transformers

from .. import task
from ..chat import compare
from . import folder

FILE = "chat_template.jinja"
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
        wanted = compare.rendered(template)
    except Exception as error:  # a model that ms-swift does not know from its folder: nothing can be said
        return {
            **_result(None),
            "templateEqual": None,
            "unknown": f"ms-swift has no template for it: {compare.first_line(error)}",
        }
    notes = list(wanted.notes)
    found = compare.first_difference(_tokenizer(artifact), wanted.tokens)
    baked = bool(found and request.get("bake")) and _bake(artifact, template, wanted.tokens, notes)
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
        "max_length": compare.LONGEST,
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


def _tokenizer(artifact: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(artifact, trust_remote_code=True)


def _bake(artifact: Path, template: Any, wanted: Mapping[str, Sequence[int]], notes: list[str]) -> bool:
    candidate = compare.equal_one(template, _tokenizer(artifact), wanted, notes)
    if candidate is None:
        return False
    _write(artifact, candidate)
    return compare.first_difference(_tokenizer(artifact), wanted) is None


def _write(artifact: Path, candidate: str) -> None:
    """Where each release of transformers looks: the file wins, older ones know the configuration alone."""
    (artifact / FILE).write_text(candidate, encoding="utf-8")
    path = artifact / "tokenizer_config.json"
    config = folder.read_json(path) if path.is_file() else {}
    if isinstance(config.get("chat_template"), str):
        config["chat_template"] = candidate
        path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(task.main(work))
