"""The cluster's certificates, made with the openssl command once per cluster name and kept between boots."""

import base64
import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tools.cluster.layout import API_SERVICE_IP, DNS_DOMAIN, NODE_IP, NODE_NAME

_DAYS = "3650"
_AUTHORITIES = ("ca", "front-proxy-ca")
# Python 3.13 verifies strictly: an authority without its usage and identifiers is refused.
_CA_USAGE = "keyUsage=critical,digitalSignature,keyCertSign,cRLSign"
_LEAF_LINES = (
    "keyUsage=critical,digitalSignature,keyEncipherment",
    "extendedKeyUsage=serverAuth,clientAuth",
    "subjectKeyIdentifier=hash",
    "authorityKeyIdentifier=keyid",
)


@dataclass(frozen=True)
class Leaf:
    """One certificate: its file name, subject, alternative names and authority."""

    name: str
    subject: str
    names: tuple[str, ...] = ()
    authority: str = "ca"
    kubeconfig: bool = False


LEAVES = (
    Leaf(
        "apiserver",
        "/CN=kube-apiserver",
        (
            "DNS:localhost",
            "DNS:kubernetes",
            "DNS:kubernetes.default",
            "DNS:kubernetes.default.svc",
            f"DNS:kubernetes.default.svc.{DNS_DOMAIN}",
            "IP:127.0.0.1",
            f"IP:{API_SERVICE_IP}",
            f"IP:{NODE_IP}",
        ),
    ),
    Leaf("admin", "/O=system:masters/CN=admin", kubeconfig=True),
    Leaf("controller-manager", "/CN=system:kube-controller-manager", kubeconfig=True),
    Leaf("scheduler", "/CN=system:kube-scheduler", kubeconfig=True),
    Leaf(
        "kubelet",
        f"/O=system:nodes/CN=system:node:{NODE_NAME}",
        (f"DNS:{NODE_NAME}", "IP:127.0.0.1", f"IP:{NODE_IP}"),
        kubeconfig=True,
    ),
    Leaf("apiserver-kubelet", "/O=system:masters/CN=apiserver-kubelet"),
    Leaf("front-proxy", "/CN=front-proxy-client", authority="front-proxy-ca"),
)


def ensure(pki: Path) -> None:
    """Make all certificates unless a complete set of exactly this shape is there."""
    shape = hashlib.sha256(repr((LEAVES, _AUTHORITIES, _DAYS, _CA_USAGE, _LEAF_LINES)).encode()).hexdigest()
    marker = pki / "complete"
    if marker.exists() and marker.read_text() == shape:
        return
    if pki.exists():
        shutil.rmtree(pki)
    pki.mkdir(parents=True, mode=0o700)
    for authority in _AUTHORITIES:
        _key(pki / f"{authority}.key")
        _openssl("req", "-x509", "-new", "-key", pki / f"{authority}.key", "-sha256", "-days", _DAYS,
                 "-addext", _CA_USAGE, "-subj", f"/CN={authority}", "-out", pki / f"{authority}.crt")  # fmt: skip
    _openssl("genrsa", "-out", pki / "sa.key", "2048")
    _openssl("rsa", "-in", pki / "sa.key", "-pubout", "-out", pki / "sa.pub")
    for leaf in LEAVES:
        _sign(pki, leaf)
    marker.write_text(shape)


def save_kubeconfig(path: Path, text: str) -> None:
    """For its owner alone, and whole at any time: somebody may be reading the one of before."""
    scratch = path.with_suffix(".new")
    scratch.touch(mode=0o600)
    scratch.write_text(text)
    scratch.rename(path)


def kubeconfig(pki: Path, user: str, server: str) -> str:
    """A kubeconfig that holds its certificates, so that the file can be copied anywhere."""

    def inline(file: str) -> str:
        return base64.b64encode((pki / file).read_bytes()).decode()

    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "cluster", "cluster": {"server": server, "certificate-authority-data": inline("ca.crt")}}
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": inline(f"{user}.crt"),
                    "client-key-data": inline(f"{user}.key"),
                },
            }
        ],
        "contexts": [{"name": "default", "context": {"cluster": "cluster", "user": user}}],
        "current-context": "default",
    }
    return json.dumps(document, indent=2) + "\n"


def _sign(pki: Path, leaf: Leaf) -> None:
    request, extensions = pki / f"{leaf.name}.csr", pki / f"{leaf.name}.ext"
    _key(pki / f"{leaf.name}.key")
    _openssl("req", "-new", "-key", pki / f"{leaf.name}.key", "-subj", leaf.subject, "-out", request)
    lines = list(_LEAF_LINES)
    if leaf.names:
        lines.append("subjectAltName=" + ",".join(leaf.names))
    extensions.write_text("\n".join(lines) + "\n")
    authority = pki / leaf.authority
    _openssl("x509", "-req", "-in", request, "-CA", f"{authority}.crt", "-CAkey", f"{authority}.key",
             "-CAcreateserial", "-days", _DAYS, "-sha256", "-extfile", extensions, "-out", pki / f"{leaf.name}.crt")  # fmt: skip # noqa: E501
    request.unlink()
    extensions.unlink()
    if leaf.kubeconfig:
        (pki / f"{leaf.name}.kubeconfig").write_text(kubeconfig(pki, leaf.name, "https://127.0.0.1:443"))


def _key(path: Path) -> None:
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
