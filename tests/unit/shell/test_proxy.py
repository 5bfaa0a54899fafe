"""The proxy that kubectl would take, by its variables."""

from __future__ import annotations

import pytest

from swiftop.shell.proxy import proxy_of

SERVER = "https://api.example.com:6443"


@pytest.mark.parametrize(
    ("server", "environment", "proxy"),
    [
        (SERVER, {}, None),
        (SERVER, {"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        (SERVER, {"https_proxy": "proxy:3128"}, "http://proxy:3128"),
        (SERVER, {"HTTP_PROXY": "http://proxy:3128"}, None),
        ("http://api.example.com", {"HTTP_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        *(
            (SERVER, {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": around}, None)
            for around in (
                "*",
                "example.com",
                ".example.com",
                "*.example.com",
                "a.b, api.example.com:6443",
                "API.example.com",
            )
        ),
        *(
            (SERVER, {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": around}, "http://proxy:3128")
            for around in ("ample.com", ".api.example.com", "api.example.com:443", "10.0.0.0/8", "")
        ),
        ("https://10.1.2.3", {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "10.0.0.0/8"}, None),
        ("https://127.0.0.1:6443", {"HTTPS_PROXY": "http://proxy:3128"}, None),
        ("https://[::1]:6443", {"HTTPS_PROXY": "http://proxy:3128"}, None),
        ("https://localhost:6443", {"HTTPS_PROXY": "http://proxy:3128"}, None),
    ],
)
def test_the_proxy_of_a_server(server: str, environment: dict[str, str], proxy: str | None) -> None:
    assert proxy_of(server, environment) == proxy
