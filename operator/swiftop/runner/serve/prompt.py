"""Task: would the engine's own server give the model the prompts that ms-swift gives it, token for token?

What counts is what ms-swift's own server would do with the same command: the template, system prompt and agent template
that args.json of an adapter or of the model has, or that the command sets. Where the model's chat template differs, one
is made that does not, and given to the server: the model's folder stays as it is.

Request: ``{words, model, adapters, hub, revision, directory}``. Result: ``{equal, difference, unknown, chatTemplate,
agentTemplate, stopTokens, folders, notes}``: ``equal`` is null when nothing can be said, ``chatTemplate`` the file of
one that renders the same, ``stopTokens`` those that end an answer in ms-swift and that the model's configuration does
not name, ``folders`` where model and adapters lie, by what they are called in the request.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import transformers

from .. import origin, task
from ..chat import compare, jinja

FILE = "chat_template.jinja"
_ARGUMENTS = ("swift.arguments", "swift.llm")  # where ms-swift 4 and 3 have them


def work(request: Mapping[str, Any], progress: task.Progress) -> Mapping[str, Any]:
    """Download what is missing, and compare."""
    progress({"phase": "Loading"})
    model, revision = str(request["model"]), str(request.get("revision") or "")
    folders = {
        name: str(origin.folder_of(name, request, revision=revision if name == model else ""))
        for name in (model, *request["adapters"])
    }
    progress({"phase": "CheckingTemplate"})
    folder = Path(folders[model])
    try:
        template = _template(request["words"])
        wanted = compare.rendered(template)
    except Exception as error:  # a model that ms-swift does not know, or a flag: nothing can be said
        unknown = f"ms-swift has no template for it: {compare.first_line(error)}"
        return {"equal": None, "difference": "", "unknown": unknown, "folders": folders}
    return {**_compared(template, wanted, folder, Path(request["directory"])), "folders": folders}


def _compared(template: Any, wanted: compare.Rendered, folder: Path, directory: Path) -> dict[str, Any]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    notes = list(wanted.notes)
    difference, equal = compare.first_difference(tokenizer, wanted.tokens), tokenizer.chat_template
    if difference:
        equal = compare.equal_one(template, tokenizer, wanted.tokens, notes)
    return {
        "equal": equal is not None,
        "difference": difference or "",
        "unknown": "",
        "chatTemplate": _written(equal, tokenizer, wanted, directory) if isinstance(equal, str) else "",
        "agentTemplate": str(getattr(template, "_agent_template", None) or ""),
        "stopTokens": _more_stops(template, tokenizer, folder),
        "notes": notes,
    }


def _written(equal: str, tokenizer: Any, wanted: compare.Rendered, directory: Path) -> str:
    """The file that the server is given: members of tools that it makes up are no part of the prompt."""
    kept = jinja.without_nulls(equal)
    same = compare.first_difference(tokenizer, wanted.tokens, kept) is None
    path = directory / FILE
    path.write_text(kept if same else equal, encoding="utf-8")
    return str(path)


def _template(words: Sequence[str]) -> Any:
    """As ms-swift's own server would have it."""
    args, left = importlib.import_module("swift.utils").parse_args(_argument_class(), list(words))
    if left:
        raise ValueError(f"unknown flags: {' '.join(map(str, left))}")
    _, processor = args.get_model_processor(load_model=False)
    template = args.get_template(processor)
    template.max_length = compare.LONGEST  # a short limit of answers is none of the template
    return template


def _argument_class() -> Any:
    for name in _ARGUMENTS:
        try:
            return importlib.import_module(name).DeployArguments
        except (ImportError, AttributeError):
            continue
    raise ImportError("this release of ms-swift has no DeployArguments")


def _more_stops(template: Any, tokenizer: Any, folder: Path) -> list[int]:
    """A base model that was trained to chat says an end that its own configuration knows nothing of."""
    known = {tokenizer.eos_token_id, *_named(folder)}
    ids = (_single(word, tokenizer) for word in template.template_meta.stop_words)
    return sorted({one for one in ids if one is not None and one not in known})


def _named(folder: Path) -> list[Any]:
    """Ends that the model's own configuration of generation names."""
    try:
        found = json.loads((folder / "generation_config.json").read_bytes()).get("eos_token_id")
    except (OSError, ValueError, AttributeError):
        return []
    return found if isinstance(found, list) else [found]


def _single(word: Any, tokenizer: Any) -> Optional[int]:
    """The token of a stop word that is one token."""
    ids = tokenizer.encode(word, add_special_tokens=False) if isinstance(word, str) else word
    ids = ids if isinstance(ids, list) else [ids]
    return int(ids[0]) if len(ids) == 1 and ids[0] is not None else None


if __name__ == "__main__":
    raise SystemExit(task.main(work))
