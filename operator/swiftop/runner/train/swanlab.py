"""Ask SwanLab's login before the training starts.

ms-swift logs in after the model is loaded, and prints one text for a wrong key and for a server that cannot be
reached. Asking first costs a second instead of minutes of a GPU, and tells the two apart.
The certificates are those that SwanLab's own client (``requests``) would use, and so are the proxies.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from .. import trackers
from ..classify import Judged

API_KEY = "SWANLAB_API_KEY"
DEFAULT_HOST = "https://api.swanlab.cn"
TIMEOUT = 10.0
ANSWER_BYTES = 64 * 1024
_WORKSPACE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
PAUSES = (1.0, 2.0, 4.0, 8.0)  # between tries: a pod's network may need some seconds after its start


@dataclass(frozen=True)
class Answer:
    """What is wrong, and else whose key it is: that names the workspace where none is asked for."""

    problem: Optional[Judged] = None
    workspace: Optional[str] = None


def check(host: str, api_key: str, *, sleep: Callable[[float], object] = time.sleep) -> Answer:
    """Without a problem when SwanLab accepts the key, or answers in a way that only its own client can judge."""
    if not (api_key.isascii() and api_key.isprintable()):
        what = "a line break or another control character" if api_key.isascii() else "a character that is not ASCII"
        return Answer(Judged(trackers.AUTH_FAILED, f"{API_KEY} contains {what}"))
    trouble = ""
    for pause in (*PAUSES, None):
        try:
            status, body = _login(login_url(host), api_key)
        except (ssl.SSLError, ValueError, http.client.InvalidURL) as error:  # no second try would help
            return _unreachable(host, str(error))
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None)
            if isinstance(reason, ssl.SSLError):
                return _unreachable(host, str(reason))
            trouble = f"{type(error).__name__}: {reason or error}"
        else:
            if status in (401, 403):
                text = f"SwanLab at {host} refuses the API key (HTTP {status})"
                return Answer(Judged(trackers.AUTH_FAILED, text))
            if status < 500 and status != 429:
                return Answer(workspace=_workspace(body))
            trouble = f"HTTP {status}"
        if pause is not None:
            sleep(pause)
    return _unreachable(host, trouble)


def _unreachable(host: str, trouble: str) -> Answer:
    return Answer(Judged(trackers.UNREACHABLE, f"SwanLab at {host} does not answer: {trouble}"))


def _workspace(body: bytes) -> Optional[str]:
    try:
        name = json.loads(body)["userInfo"]["username"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) and _WORKSPACE.fullmatch(name) else None


def login_url(host: str) -> str:
    """Where SwanLab's client logs in; it accepts a host without scheme, and one that ends with ``/api``."""
    base = (host or DEFAULT_HOST).strip().rstrip("/")
    if "://" not in base:
        base = f"https://{base}"
    if base.endswith("/api"):
        base = base[: -len("/api")]
    return f"{base}/api/login/api_key"


def _login(url: str, api_key: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, data=b"", method="POST", headers={"authorization": api_key})
    handlers: list[urllib.request.BaseHandler] = []
    if url.startswith("https://"):
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=_certificates())))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT) as response:
            return int(response.status), bytes(response.read(ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""


def _certificates() -> Optional[str]:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if os.environ.get(name):
            return os.environ[name]
    found = importlib.util.find_spec("certifi")
    if found is not None and found.origin:
        bundle = Path(found.origin).with_name("cacert.pem")
        return str(bundle) if bundle.is_file() else None
    return None
