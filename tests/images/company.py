"""The network of a company: packages come through a proxy with a password, which shows certificates of its own."""

from __future__ import annotations

import base64
import contextlib
import io
import socket
import ssl
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

INDEX = "packages.company.test"  # a name that only the proxy knows
PACKAGE = "swiftop-canary"
WHEEL = "swiftop_canary-1-py3-none-any.whl"


@dataclass
class Company:
    """The proxy, and what was fetched through it."""

    address: str
    authority: Path
    login: str
    fetched: list[str] = field(default_factory=list)

    @property
    def pip_conf(self) -> str:
        """How a machine of the company is set up."""
        proxy = f"http://{self.login}@{self.address}"
        return f"[global]\nindex-url = https://{INDEX}/simple/\nproxy = {proxy}\ncert = {self.authority}\n"

    @property
    def traces(self) -> list[bytes]:
        """What an image would hold that knew of it."""
        password, certificate = self.login.partition(":")[2], self.authority.read_text().splitlines()[1]
        return [text.encode() for text in (INDEX, self.address, password, _basic(self.login), certificate)]


@contextlib.contextmanager
def company(directory: Path, login: str) -> Iterator[Company]:
    """Serve one package until the end of the block, where a build can reach it: for docker that is not the loopback."""
    authority, chain = _certificates(directory)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain)
    with ThreadingHTTPServer((_own_address(), 0), BaseHTTPRequestHandler) as server:
        made = Company("{}:{}".format(*server.server_address[:2]), authority, login)
        server.RequestHandlerClass = _proxy(made, tls)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made
        server.shutdown()


def _proxy(made: Company, tls: ssl.SSLContext) -> type[BaseHTTPRequestHandler]:
    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            if self.path != f"{INDEX}:443" or self.headers.get("Proxy-Authorization") != f"Basic {_basic(made.login)}":
                self.send_error(403)
                return
            self.send_response(200)
            self.end_headers()
            with tls.wrap_socket(self.connection, server_side=True) as inside:
                _index(made)(inside, self.client_address, self.server)

    return Proxy


def _index(made: Company) -> type[BaseHTTPRequestHandler]:
    pages = {f"/simple/{PACKAGE}/": f'<a href="/{WHEEL}">{WHEEL}</a>'.encode(), f"/{WHEEL}": _wheel()}

    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            if page is None:
                self.send_error(404)
                return
            made.fetched.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

    return Index


def _basic(login: str) -> str:
    return base64.b64encode(login.encode()).decode()


def _own_address() -> str:
    """The address by which this machine leaves; asking for it sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _certificates(directory: Path) -> tuple[Path, Path]:
    """An authority, and a key with a certificate from it."""
    authority, key, chain = (directory / name for name in ("authority.crt", "authority.key", "server.pem"))
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    usage = ["-addext", "keyUsage=critical,keyCertSign", "-subj", "/CN=planted authority"]
    leaf = ["-subj", f"/CN={INDEX}", "-addext", f"subjectAltName=DNS:{INDEX}", "-addext", "basicConstraints=CA:FALSE"]
    signed = ["-CA", str(authority), "-CAkey", str(key), "-keyout", str(directory / "server.key"), "-out", str(chain)]
    for command in ([*new, *usage, "-keyout", str(key), "-out", str(authority)], [*new, *leaf, *signed]):
        subprocess.run(command, check=True, capture_output=True)
    chain.write_text(chain.read_text() + (directory / "server.key").read_text())
    return authority, chain


def _wheel() -> bytes:
    """The smallest package that pip installs."""
    info = "swiftop_canary-1.dist-info"
    files = {
        "swiftop_canary.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": f"swiftop_canary.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()
