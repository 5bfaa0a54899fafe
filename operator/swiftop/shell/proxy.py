"""Which proxy leads to a server, by the variables that kubectl reads: HTTPS_PROXY, HTTP_PROXY and NO_PROXY."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit


def proxy_of(server: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """URL of the proxy to a server; None where it is reached directly, as this machine always is."""
    url = urlsplit(server)
    proxy, around = (_variable(environment, name) for name in (f"{url.scheme}_proxy", "no_proxy"))
    host, port = (url.hostname or "").lower(), url.port or {"https": 443, "http": 80}.get(url.scheme, 0)
    if not proxy or not host or _local(host) or any(_matches(rule, host, port) for rule in around.lower().split(",")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _variable(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name.upper()) or environment.get(name, "")


def _local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _matches(rule: str, host: str, port: int) -> bool:
    """One entry of NO_PROXY: all, an address, a network, or a domain with what is below it; each with a port or not."""
    rule = rule.strip()
    try:
        return ip_address(host) in ip_network(rule, strict=False)
    except ValueError:
        pass
    name, colon, only = rule.rpartition(":")
    if colon and only.isdecimal():
        rule = name if int(only) == port else ""
    below = rule.startswith((".", "*"))  # the domain itself is not meant
    domain = rule.removeprefix("*").removeprefix(".")
    return rule == "*" or bool(domain and (host.endswith(f".{domain}") or (host == domain and not below)))
