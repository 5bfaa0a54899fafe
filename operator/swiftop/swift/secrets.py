"""Which secret variables a pod gets, and which of them it cannot do without.

| variable | given to the pod | required |
|---|---|---|
| MODELSCOPE_API_TOKEN | ModelScope is read from or written to | when named in credentials (a private repository) |
| HF_TOKEN | Hugging Face is | when named in credentials (a gated or private repository) |
| SWANLAB_API_KEY (kinds/sftrun/tracking.py) | SwanLab in cloud mode | always then: without it the client ends the run |

A token that nothing needs is not given: with MODELSCOPE_API_TOKEN in its environment ms-swift logs in to ModelScope at
every start, even for local files, and so needs the network.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from swiftop.api.v1alpha1.refs import SecretKey
from swiftop.api.v1alpha1.workload import Credentials
from swiftop.names import DEFAULT_CREDENTIALS_SECRET
from swiftop.runner.protocol import CLIENT_TOKENS


@dataclass(frozen=True, slots=True)
class SecretVar:
    """One environment variable that is filled from a Secret."""

    name: str
    secret_name: str
    key: str
    optional: bool


def variable(name: str, credentials: Credentials, own: SecretKey | None, *, optional: bool) -> SecretVar:
    """Variable from its ``own`` place, which then must be there, or from the key of its name in the common Secret."""
    if own is not None:
        return SecretVar(name, own.name, own.key, optional=False)
    return SecretVar(name, credentials.secret_name or DEFAULT_CREDENTIALS_SECRET, name, optional)


def hub_tokens(credentials: Credentials, hubs: Collection[str]) -> list[SecretVar]:
    """Tokens of these hubs, and of those that credentials name, in a fixed order."""
    return [
        variable(name, credentials, own, optional=True)
        for hub, name in CLIENT_TOKENS.items()
        if (own := _own(hub, credentials)) is not None or hub in hubs
    ]


def write_token(hub: str, credentials: Credentials) -> SecretVar:
    """Token of a hub that is written to, which nothing goes without."""
    return variable(CLIENT_TOKENS[hub], credentials, _own(hub, credentials), optional=False)


def _own(hub: str, credentials: Credentials) -> SecretKey | None:
    return {"modelscope": credentials.modelscope_api_token, "huggingface": credentials.hf_token}[hub]
