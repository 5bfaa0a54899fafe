"""Pages of the hubs, for people."""

from __future__ import annotations

from collections.abc import Iterable

from swiftop.api.v1alpha1.workload import EnvVar
from swiftop.model.text import printable

_PAGES = {"modelscope": "https://www.modelscope.cn", "huggingface": "https://huggingface.co"}
_ENDPOINTS = {"modelscope": "MODELSCOPE_ENDPOINT", "huggingface": "HF_ENDPOINT"}
_FOLDERS = {("modelscope", False): "/models", ("huggingface", False): ""}


def page(hub: str, repo: str, env: Iterable[EnvVar], *, dataset: bool) -> str:
    """Page of a repository: what the pod says of it is not needed, and would have to be believed."""
    mirror = next((item.value for item in env if item.name == _ENDPOINTS[hub]), "")
    root = mirror if mirror.startswith(("https://", "http://")) else _PAGES[hub]
    return f"{printable(root).rstrip('/')}{_FOLDERS.get((hub, dataset), '/datasets')}/{repo}"
