"""What people write in one word where an object is asked for, and how the object is written.

ms-swift takes ``--dataset HF::org/name:subset#500``; here each of its parts is a field.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_HUBS = {"HF": "huggingface", "MS": "modelscope"}
_HUB_ID = re.compile(
    r"((?P<hub>HF|MS)::)?(?P<id>[A-Za-z0-9_][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*)"
    r"(:(?P<subsets>[^:#\s]+))?(#(?P<sample>[0-9]+))?"
)
_URL = re.compile(
    r"(https?://)?(www\.)?(?P<host>modelscope\.(cn|ai)|huggingface\.co|hf-mirror\.com|hf\.co)/(models/|datasets/)?"
    r"(?P<id>[A-Za-z0-9_][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*)([/?#].*)?"
)
_PINNED = re.compile(r"(?P<id>[^@\s]+)@(?P<revision>[A-Za-z0-9][A-Za-z0-9._/-]*)")
_FILE = re.compile(r"[./~].*|.*\.(jsonl?|csv|parquet|safetensors|py|txt)(#[0-9]+)?")
_PLAIN = re.compile(r"(?!(?i:true|false|yes|no|on|off|y|n|null|[-+.0-9e_]*)$)[A-Za-z0-9_./][A-Za-z0-9_./-]*")


def as_object(word: str, fields: Collection[str]) -> str:
    """The object with an id that a word stands for, in YAML, made of ``fields``; empty where nobody can tell."""
    if "id" not in fields:
        return ""
    if "persistentVolumeClaim" in fields and _FILE.fullmatch(word):
        path = word.lstrip("./~").partition("#")[0]
        return f"{{persistentVolumeClaim: {{claimName: CLAIM, path: {quoted(path)}}}}}"
    return _object(hub_members(word), fields)


def instead_of_id(word: str, fields: Collection[str]) -> str:
    """The members that an id with more in it stands for, in YAML; empty where nobody can tell."""
    word = word.strip()
    if found := _URL.fullmatch(word):
        hub = {} if found["host"].startswith("modelscope") else {"hub": "huggingface"}
        return _members({"id": found["id"], **hub}, fields)
    if "persistentVolumeClaim" in fields and _FILE.fullmatch(word):
        return as_object(word, fields)[1:-1]
    if found := _PINNED.fullmatch(word):
        return _members({**hub_members(found["id"]), "revision": found["revision"]}, fields)
    return _members(hub_members(word), fields)


def hub_members(word: str) -> dict[str, str]:
    """The fields of what ms-swift writes as ``HF::org/name:subset#500``, in YAML; empty where it is not that."""
    found = _HUB_ID.fullmatch(word)
    if found is None:
        return {}
    members = {"id": found["id"], "hub": _HUBS.get(found["hub"] or "", ""), "sample": found["sample"] or ""}
    if found["subsets"]:
        members["subsets"] = f"[{', '.join(found['subsets'].split('/'))}]"
    return {name: value for name, value in members.items() if value}


def _object(members: dict[str, str], fields: Collection[str]) -> str:
    written = _members(members, fields)
    return f"{{{written}}}" if written else ""


def _members(members: dict[str, str], fields: Collection[str]) -> str:
    if "id" not in members or not set(members) <= set(fields):
        return ""
    return ", ".join(f"{name}: {value}" for name, value in members.items())


def quoted(word: str) -> str:
    """A word as YAML takes it for a text."""
    return word if _PLAIN.fullmatch(word) else '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
