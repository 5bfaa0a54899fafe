"""Which secret variables a run gets, and which of them it cannot do without.

| variable | given to the pod | required |
|---|---|---|
| SWANLAB_API_KEY | SwanLab in cloud mode | always then: without a key and a terminal the client ends the training |
| MODELSCOPE_API_TOKEN | something comes from ModelScope by id | when named in credentials (a private repository) |
| HF_TOKEN | something comes from Hugging Face by id | when named in credentials (a gated or private repository) |

A token that nothing needs is not given: with MODELSCOPE_API_TOKEN in its environment ms-swift logs in to ModelScope at
every start, even for local files, and so needs the network.
"""

from __future__ import annotations

from dataclasses import dataclass

from swiftop.api.v1alpha1.refs import SecretKey
from swiftop.api.v1alpha1.sftrun import SFTRunSpec
from swiftop.names import DEFAULT_CREDENTIALS_SECRET


@dataclass(frozen=True, slots=True)
class SecretVar:
    """One environment variable that is filled from a Secret."""

    name: str
    secret_name: str
    key: str
    optional: bool


def hubs(spec: SFTRunSpec) -> frozenset[str]:
    """Hubs that something is downloaded from."""
    default = spec.model.hub or "modelscope"
    used = {default} if spec.model.id or any(adapter.id for adapter in spec.model.adapters) else set[str]()
    used |= {dataset.hub or default for dataset in (*spec.datasets, *spec.validation.datasets) if dataset.id}
    return frozenset(used)


def required(spec: SFTRunSpec) -> list[SecretVar]:
    """Secret variables of the pod, in a fixed order; ``optional`` ones may be missing."""
    credentials, swanlab, used = spec.credentials, spec.tracking.swanlab, hubs(spec)
    secret = credentials.secret_name or DEFAULT_CREDENTIALS_SECRET

    def variable(name: str, own: SecretKey | None, *, optional: bool) -> SecretVar:
        if own is not None:
            return SecretVar(name, own.name, own.key, optional=False)
        return SecretVar(name, secret, name, optional)

    result = []
    if swanlab is not None and swanlab.mode == "cloud":
        result.append(variable("SWANLAB_API_KEY", credentials.swanlab_api_key, optional=False))
    if "modelscope" in used or credentials.modelscope_api_token is not None:
        result.append(variable("MODELSCOPE_API_TOKEN", credentials.modelscope_api_token, optional=True))
    if "huggingface" in used or credentials.hf_token is not None:
        result.append(variable("HF_TOKEN", credentials.hf_token, optional=True))
    return result
