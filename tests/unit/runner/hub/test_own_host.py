"""A token goes to the hub and nowhere else."""

from __future__ import annotations

import pytest

from swiftop.runner.hub.own_host import is_own, strip

MODELSCOPE, MIRROR, LOCAL = "https://www.modelscope.cn", "http://hub.corp:8080", "http://127.0.0.1:8000"
PLAIN = "https://modelscope.ai"


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (MODELSCOPE, "https://www.modelscope.cn/api/v1/login"),
        (MODELSCOPE, "https://WWW.modelscope.cn:443/api/v1/login"),
        (MODELSCOPE, "https://lfs.modelscope.cn/blob"),
        (PLAIN, "https://pre-lfs.modelscope.ai/blob"),
        (MIRROR, "http://hub.corp:8080/x"),
        (LOCAL, "http://127.0.0.1:8000/x"),
        ("https://huggingface.co", "https://huggingface.co/api/complete_multipart"),
    ],
)
def test_the_hub_gets_it(endpoint: str, url: str) -> None:
    assert is_own(endpoint, url)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (MODELSCOPE, "https://oss-cn-beijing.aliyuncs.com/blob?signature=x"),
        (MODELSCOPE, "http://www.modelscope.cn/x"),
        (MODELSCOPE, "http://lfs.modelscope.cn/x"),
        (MODELSCOPE, "https://lfs.modelscope.cn:8443/x"),
        (MODELSCOPE, "https://lfs.modelscope.cn.evil.example/x"),
        (MODELSCOPE, "https://www.modelscope.cn@evil.example/x"),
        (MODELSCOPE, "https://evil.example/www.modelscope.cn"),
        (MODELSCOPE, "https://www.modelscope.cn:port/x"),
        (MODELSCOPE, "/relative"),
        (MIRROR, "http://hub.corp/x"),
        (MIRROR, "http://lfs.corp:8080/x"),
        (LOCAL, "http://127.0.0.1:8001/x"),
        (LOCAL, "http://localhost:8000/x"),
        ("https://10.0.0.1", "https://lfs.0.0.1/x"),
        ("https://huggingface.co", "https://s3.amazonaws.com/x"),
    ],
)
def test_nobody_else_does(endpoint: str, url: str) -> None:
    assert not is_own(endpoint, url)


def test_credentials_are_taken_off_in_any_spelling() -> None:
    headers = {"Authorization": "Bearer x", "cookie": "m_session_id=x", "Content-Length": "1"}
    strip(headers)
    assert headers == {"Content-Length": "1"}
