"""Datasets as the command lines of ms-swift name them, and which of them a release would read otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from swiftop.api.v1alpha1.hub import NamedDataset
from swiftop.errors import Problem
from swiftop.swift.argv import Flags
from swiftop.swift.paths import dataset_path
from swiftop.swift.releases import RELEASES, FlagTable

_INFO = {"modelscope": ("ms_dataset_id", "ms_revision"), "huggingface": ("hf_dataset_id", "hf_revision")}
_PREFIXES = {"huggingface": "HF::", "modelscope": "MS::"}

Placed = tuple[str, NamedDataset]
"""A dataset with its place in the object, as ``spec.datasets[0]``."""


def named(sources: Iterable[NamedDataset], hub: str) -> tuple[str, ...]:
    """Words of ``--dataset``: ``[HF::|MS::]name[:subset/subset][#sample]``; the prefix overrides ``--use_hf``."""
    return tuple(_named(source, hub) for source in sources)


def _named(source: NamedDataset, hub: str) -> str:
    prefix = _PREFIXES[source.hub] if source.hub not in (None, hub) else ""
    subsets = f":{'/'.join(source.subsets)}" if source.subsets else ""
    sample = f"#{source.sample}" if source.sample is not None else ""
    return f"{prefix}{_registered(source)}{subsets}{sample}"


def _registered(source: NamedDataset) -> str:
    return dataset_path(source) + (f"@{source.revision}" if source.revision is not None else "")


def info(sources: Iterable[NamedDataset], hub: str) -> Flags:
    """The revisions of datasets, for which ms-swift has no flag: each is registered under a name of its own.

    By its id it might be registered already, and two revisions of one could not be told apart. One text for each: of a
    text with five or more ms-swift fails to print what it has registered.
    """
    entries: dict[str, dict[str, str]] = {}
    for source in sources:
        if source.id is not None and source.revision is not None:
            id_, revision = _INFO[source.hub or hub]
            entry = entries.setdefault(_registered(source), {"dataset_name": _registered(source)})
            entry |= {id_: source.id, revision: source.revision}
    return {"custom_dataset_info": tuple(json.dumps([entry]) for entry in entries.values())} if entries else {}


def placed(path: str, sources: Sequence[NamedDataset]) -> list[Placed]:
    """Datasets of a hub, with their places."""
    return [(f"{path}[{index}]", source) for index, source in enumerate(sources) if source.id is not None]


def problems(sources: Sequence[Placed], *, hub: str, hub_field: str, known: FlagTable) -> Iterator[Problem]:
    """Datasets of a hub that this release would read from elsewhere, or otherwise, than the spec says.

    ``hub`` is what ids refer to, by ``hub_field``; ``known`` is the table of ``sft``, which knows their names.
    """
    pinned = {_last(source) for _, source in sources if source.revision is not None}
    for path, source in sources:
        if hub == "huggingface" and source.hub == "modelscope" and not known.release.mixes_hubs:
            able = ", ".join(version for version, release in RELEASES.items() if release.mixes_hubs)
            message = f"ms-swift {known.version} reads all datasets from Hugging Face when {hub_field} is huggingface"
            yield Problem(path, message, suggestion=f"set runtime.swiftVersion to one of {able}")
        if source.revision is not None and source.id in known.datasets:
            message = f"ms-swift {known.version} prepares {source.id} in a way of its own, but not at a revision"
            yield Problem(f"{path}.revision", message, suggestion="remove it")
        if source.revision is None and _last(source) in pinned:
            message = "ms-swift would read it at the revision of the dataset that has the same name"
            yield Problem(path, message, suggestion="set its revision")


def _last(source: NamedDataset) -> str:
    """What ms-swift finds a dataset by that it does not know: the name without its owner, in 3.7 in any case."""
    return (source.id or "").rpartition("/")[2].lower()
