"""A Kubernetes API client of the standard library: small, quick to import, enough for booting and provisioning."""

import base64
import http.client
import json
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

Object = dict[str, Any]


class ApiError(Exception):
    """The API server's refusal."""

    def __init__(self, status: int, message: str) -> None:
        """Keep the status code for callers that expect it."""
        super().__init__(f"{status}: {message}")
        self.status = status


@dataclass(frozen=True)
class Api:
    """One API server and the identity to use there."""

    host: str
    port: int
    tls: ssl.SSLContext

    @classmethod
    def from_files(cls, server: str, ca: Path, certificate: Path, key: Path) -> "Api":
        """Use certificates that lie in files."""
        tls = ssl.create_default_context(cafile=str(ca))
        tls.load_cert_chain(certificate, key)
        url = urlsplit(server)
        return cls(url.hostname or "127.0.0.1", url.port or 443, tls)

    @classmethod
    def from_kubeconfig(cls, path: Path) -> "Api":
        """Use a kubeconfig with one cluster and its certificates inside, as this package and kind write it."""
        document = yaml.safe_load(path.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        with tempfile.TemporaryDirectory() as directory:
            files = [Path(directory) / name for name in ("ca", "certificate", "key")]
            contents = (
                cluster["certificate-authority-data"],
                user["client-certificate-data"],
                user["client-key-data"],
            )
            for file, content in zip(files, contents, strict=True):
                file.write_bytes(base64.b64decode(content))
            return cls.from_files(cluster["server"], *files)

    def get(self, path: str) -> Object:
        """One object or one list."""
        return self._request("GET", path)

    def create(self, path: str, body: Object, *, exists_ok: bool = False) -> None:
        """Create an object; one that is already there can be fine."""
        try:
            self._request("POST", path, body)
        except ApiError as error:
            if not (exists_ok and error.status == http.client.CONFLICT):
                raise

    def patch(self, path: str, body: Object) -> Object:
        """Merge into an object."""
        return self._request("PATCH", path, body, "application/merge-patch+json")

    def delete(self, path: str) -> None:
        """Delete an object; one that is gone is fine."""
        try:
            self._request("DELETE", path)
        except ApiError as error:
            if error.status != http.client.NOT_FOUND:
                raise

    def ready(self) -> bool:
        """Whether the API server answers and calls itself ready."""
        try:
            connection, response = self._open("GET", "/readyz", None, "", 5)
        except OSError:
            return False
        connection.close()
        return response.status == http.client.OK

    def watch(self, path: str) -> Iterator[Object]:
        """The events of a list from now on, until the server ends the watch."""
        connection, response = self._open("GET", f"{path}?watch=1", None, "", None)
        try:
            if response.status != http.client.OK:
                raise ApiError(response.status, response.read().decode(errors="replace"))
            for line in response:
                yield json.loads(line)
        except (http.client.HTTPException, ValueError) as error:  # cut off within a chunk or within a line
            raise ConnectionError(f"the watch broke off: {error!r}") from error
        finally:
            connection.close()

    def _request(self, method: str, path: str, body: Object | None = None, kind: str = "application/json") -> Object:
        connection, response = self._open(method, path, body, kind, 30)
        try:
            text = response.read().decode()
        except http.client.HTTPException as error:
            raise ConnectionError(f"the answer broke off: {error!r}") from error
        finally:
            connection.close()
        if response.status >= http.client.BAD_REQUEST:
            raise ApiError(response.status, text)
        document: Object = json.loads(text)
        return document

    def _open(
        self, method: str, path: str, body: Object | None, kind: str, timeout: float | None
    ) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=self.tls)
        try:
            headers = {"Content-Type": kind, "Accept": "application/json"}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            return connection, connection.getresponse()
        except http.client.HTTPException as error:
            connection.close()
            raise ConnectionError(str(error)) from error
        except OSError:
            connection.close()
            raise
