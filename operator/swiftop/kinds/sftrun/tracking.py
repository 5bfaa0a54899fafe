"""SwanLab: flags, environment, key, and the link to a run, known before it starts.

The link needs no report from the pod: SwanLab takes a run id that is set in advance (``SWANLAB_RUN_ID`` together with
``SWANLAB_RESUME=allow``), so a restarted pod goes on with the same experiment. The key is never a flag, ms-swift prints
its command line and writes it to ``args.json``.
"""

from __future__ import annotations

import hashlib
from urllib.parse import quote

from swiftop.api.v1alpha1.sftrun import SFTRunSpec
from swiftop.api.v1alpha1.tracking import SwanLab
from swiftop.swift.argv import Flags
from swiftop.swift.paths import Identity, join, output_dir
from swiftop.swift.secrets import SecretVar, variable

API_HOST = "https://api.swanlab.cn"
WEB_HOST = "https://swanlab.cn"

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_RUN_ID_LENGTH = 21  # SwanLab's own ids are 21 small letters and digits; older servers refuse other lengths


def run_id(identity: Identity) -> str:
    """SwanLab id of a run, derived from its UID."""
    number = int.from_bytes(hashlib.sha256(identity.uid.encode()).digest())
    digits = []
    for _ in range(_RUN_ID_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)


def flags(spec: SFTRunSpec, identity: Identity) -> Flags:
    """``--report_to`` is always explicit: without it ms-swift writes TensorBoard files and sends nothing."""
    swanlab = spec.tracking.swanlab
    targets = (*(("swanlab",) if swanlab else ()), *(("tensorboard",) if spec.tracking.tensorboard else ()))
    result: Flags = {"report_to": targets or ("none",)}
    if swanlab is None:
        return result
    result["swanlab_project"] = (swanlab.project,)
    result["swanlab_mode"] = (swanlab.mode,)
    result["swanlab_exp_name"] = (swanlab.experiment_name or identity.name,)
    if swanlab.workspace:
        result["swanlab_workspace"] = (swanlab.workspace,)
    return result


def env(spec: SFTRunSpec, identity: Identity) -> dict[str, str]:
    """Environment of the SwanLab client; its files go to the output, where ``swanlab sync`` finds them later."""
    swanlab = spec.tracking.swanlab
    if swanlab is None:
        return {}
    result = {"SWANLAB_LOG_DIR": join(output_dir(spec.output, identity), "swanlog")}
    if swanlab.mode == "cloud":
        result["SWANLAB_RUN_ID"] = run_id(identity)
        result["SWANLAB_RESUME"] = "allow"
    if swanlab.host:
        result["SWANLAB_API_HOST"] = result["SWANLAB_WEB_HOST"] = swanlab.host.rstrip("/")
    if swanlab.workspace:
        result["SWANLAB_WORKSPACE"] = swanlab.workspace
    if swanlab.tags:
        result["SWANLAB_TAGS"] = ",".join(swanlab.tags)
    if swanlab.group:
        result["SWANLAB_GROUP"] = swanlab.group
    return result


def key(spec: SFTRunSpec) -> SecretVar | None:
    """The variable with SwanLab's key, where one is needed."""
    swanlab, credentials = spec.tracking.swanlab, spec.credentials
    if swanlab is None or swanlab.mode != "cloud":
        return None
    return variable("SWANLAB_API_KEY", credentials, credentials.swanlab_api_key, optional=False)


def api_host(swanlab: SwanLab) -> str:
    """Server that the runner asks before the start whether the key is good."""
    return (swanlab.host or API_HOST).rstrip("/")


def tracking_url(spec: SFTRunSpec, identity: Identity, said: str = "") -> str | None:
    """Page of the run. Where the spec names no workspace, the server knows whose key it is, and the runner has ``said``
    what it answered."""
    swanlab = spec.tracking.swanlab
    if swanlab is None or swanlab.mode != "cloud" or not (workspace := swanlab.workspace or said):
        return None
    host = (swanlab.host or WEB_HOST).rstrip("/")
    return f"{host}/@{quote(workspace, safe='')}/{quote(swanlab.project, safe='')}/runs/{run_id(identity)}"
