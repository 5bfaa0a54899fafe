"""Pages of the hubs, for people."""

from __future__ import annotations

from collections.abc import Iterable

from swiftop.api.v1alpha1.workload import EnvVar

_PAGES = {"modelscope": "https://www.modelscope.cn", "huggingface": "https://huggingface.co"}
_ENDPOINTS = {"modelscope": "MODELSCOPE_ENDPOINT", "huggingface": "HF_ENDPOINT"}
_MODELS = {"modelscope": "/models", "huggingface": ""}
_DATASETS = "/datasets"  # on both


def page(hub: str, repo: str, env: Iterable[EnvVar], *, dataset: bool) -> str:
    """Page of a repository, on the mirror that ``env`` names. What the pod says of it would have to be believed."""
    mirror = next((item.value for item in env if item.name == _ENDPOINTS[hub]), "")
    root = mirror if mirror.startswith(("https://", "http://")) else _PAGES[hub]
    return f"{root.rstrip('/')}{_DATASETS if dataset else _MODELS[hub]}/{repo}"
