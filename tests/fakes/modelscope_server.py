"""The download part of the ModelScope API, as much of it as the real client (modelscope 1.40, ms-swift 4.6) asks for.

``modelscope_server.py --root DIR --port N [--token-sha256 HEX]`` serves ``DIR/models/<owner>/<name>/**`` and
``DIR/datasets/<owner>/<name>/**``. Set ``MODELSCOPE_ENDPOINT`` to its address; nothing else has to be known to the
client. ``GET /_counts`` tells how often each file was downloaded: a run that uses a filled cache must add nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections import Counter
from pathlib import Path
from typing import Any

from http_fake import Recorder, Reply, Request, as_json, serve

GENERAL_DATASET = 4  # modelscope.utils.constant.DatasetFormations.general: plain files, no server-side meta data
RANGE = re.compile(r"bytes=(\d+)-(\d*)$")
REPO = re.compile(r"/api/v1/(models|datasets)/([^/]+/[^/]+|\d+)(?:/(repo/files|repo/tree|repo|revisions))?$")


class Hub:
    """Repositories on disk and the answers about them."""

    def __init__(self, *, root: Path, token_sha256: str, recorder: Recorder) -> None:
        self._root = root
        self._token_sha256 = token_sha256
        self._recorder = recorder
        names = sorted(p.relative_to(root).as_posix() for p in root.glob("datasets/*/*"))
        self._dataset_ids = {str(number): name.partition("/")[2] for number, name in enumerate(names, start=1)}

    def answer(self, request: Request) -> Reply:
        """Route one request."""
        if request.path == "/_counts":
            return as_json(self._counts())
        if request.path == "/api/v1/login":
            return self._login(request)
        match = REPO.match(request.path)
        if match is None:
            # Statistics, acceleration hints and other courtesies: the client goes on without them.
            return as_json({"Code": 200, "Success": True, "Data": {}})
        kind, repo, call = match.groups()
        repo = self._dataset_ids.get(repo, repo)
        folder = self._root / kind / repo
        if not folder.is_dir():
            return as_json({"Code": 404, "Success": False, "Message": f"{kind} {repo} not found"}, status=404)
        if call in ("repo/files", "repo/tree"):
            return _data({"Files": _files(folder)})
        if call == "revisions":
            return _data({"RevisionMap": {"Branches": [{"Revision": "master", "CreatedAt": 1}], "Tags": []}})
        if call == "repo":
            return _file(request, folder, label=f"{kind}/{repo}")
        return _data(self._info(kind, repo))

    def _info(self, kind: str, repo: str) -> dict[str, Any]:
        owner, _, name = repo.partition("/")
        numbers = {name: int(number) for number, name in self._dataset_ids.items()}
        return {"Id": numbers.get(repo, 0), "Type": GENERAL_DATASET, "Name": name, "Owner": owner, "Visibility": 5,
                "Path": owner, "Namespace": owner, "Kind": kind, "Revision": "master"}  # fmt: skip

    def _login(self, request: Request) -> Reply:
        token = str(request.json().get("AccessToken", ""))
        good = hashlib.sha256(token.encode()).hexdigest() == self._token_sha256
        note = {"login": "accepted" if good else "refused"}
        if not good:
            return as_json({"Code": 401, "Success": False, "Message": "invalid access token"}, status=401, note=note)
        data = {"AccessToken": "git-token", "Username": "alice", "Email": "alice@example.invalid"}
        reply = as_json({"Code": 200, "Success": True, "Data": data}, note=note)
        return Reply(reply.body, 200, {**reply.headers, "Set-Cookie": "m_session_id=session; Path=/"}, note)

    def _counts(self) -> dict[str, Any]:
        downloads = Counter(e["downloaded"] for e in self._recorder.entries() if "downloaded" in e)
        return {"downloads": dict(sorted(downloads.items())), "total": sum(downloads.values())}


def _data(value: dict[str, Any]) -> Reply:
    return as_json({"Code": 200, "Success": True, "Data": value})


def _files(folder: Path) -> list[dict[str, Any]]:
    """The whole tree in one page, directories included, as ``repo/files`` and ``repo/tree`` give it."""
    entries = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            entries.append({"Path": name, "Name": path.name, "Type": "tree", "Size": 0, "Sha256": ""})
        else:
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            entries.append({"Path": name, "Name": path.name, "Type": "blob", "Size": len(content), "Sha256": digest})
    return entries


def _file(request: Request, folder: Path, *, label: str) -> Reply:
    """One file or a range of it. A GET that starts at byte 0 counts as one download, a HEAD never does."""
    name = request.query.get("FilePath", "")
    path = (folder / name).resolve()
    if not path.is_file() or not path.is_relative_to(folder.resolve()):
        return as_json({"Code": 404, "Success": False, "Message": f"{name} not found"}, status=404)
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()}"'
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", "ETag": etag}
    wanted = RANGE.match(request.headers.get("range", ""))
    start = int(wanted.group(1)) if wanted else 0
    note = {"downloaded": f"{label}/{name}"} if request.method == "GET" and start == 0 else None
    if wanted is None:
        return Reply(content, 200, headers, note)
    end = min(int(wanted.group(2) or len(content) - 1), len(content) - 1)
    headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
    return Reply(content[start : end + 1], 206, headers, note)


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--token-sha256", default="", help="digest of the one token that login accepts")
    args = parser.parse_args()
    recorder = Recorder()
    hub = Hub(root=args.root, token_sha256=args.token_sha256, recorder=recorder)
    serve(hub.answer, port=args.port, recorder=recorder)


if __name__ == "__main__":
    main()
