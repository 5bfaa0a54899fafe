"""Whose host did not answer: a hub's, the experiment tracker's, or another. Pure."""

from __future__ import annotations

import re
from typing import Optional

HUB, TRACKER, OTHER = "hub", "tracker", "other"

_HOST = re.compile(
    r"(?:host=|Failed to resolve |resolve host:? ?|connect(?:ing)? to (?:host )?)"
    r"['\"]?(?:https?://)?([A-Za-z0-9][A-Za-z0-9.-]{0,253})"
    r"|https?://(?:[^/@\s'\"]{1,200}@)?([A-Za-z0-9][A-Za-z0-9.-]{0,253})",
)
_HUBS = re.compile(
    r"(?:^|\.)(?:modelscope\.(?:cn|ai)|huggingface\.co|hf\.co|hf-mirror\.com|xethub\.hf\.co)$|"
    r"modelscope|huggingface|(?:^|[.-])hf[.-]",
    re.IGNORECASE,
)
_TRACKERS = re.compile(r"swanlab|wandb|mlflow|comet\.(?:com|ml)|neptune\.ai|clear\.ml|clearml", re.IGNORECASE)
_HUB_PATHS = re.compile(r"/api/(?:v1/)?(?:models|datasets|repos|whoami)|/resolve/|/openapi/v1|/info/lfs")
_TRACKER_PATHS = re.compile(r"/api/login/api_key|/api/house|/api/project")
_ONLY_HUBS_SAY = re.compile(
    r"LocalEntryNotFound|OfflineModeIsEnabled|We couldn't connect to|on the Hub|FileDownloadError|"
    r"modelscope|huggingface_hub",
)


def host_of(text: str) -> Optional[str]:
    """The host that an error names, None when it names none."""
    found = [first or second for first, second in _HOST.findall(text)]
    return next((host.rstrip(".").lower() for host in found if "." in host or host == "localhost"), None)


def whose(text: str) -> Optional[str]:
    """Whose host an error is about; None when it does not say."""
    host = host_of(text)
    if host is not None and _TRACKERS.search(host):
        return TRACKER
    if host is not None and _HUBS.search(host):
        return HUB
    if _TRACKER_PATHS.search(text):
        return TRACKER
    if _HUB_PATHS.search(text) or _ONLY_HUBS_SAY.search(text):
        return HUB
    return OTHER if host is not None else None
