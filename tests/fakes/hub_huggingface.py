"""The Hugging Face API, as far as its real client (huggingface_hub 0.36 and 1.33) asks for it without xet."""

from __future__ import annotations

import base64
import json
import re
from typing import Any
from urllib.parse import parse_qs

from http_fake import Reply, Request, as_json
from hub_store import PRIVATE, PUBLIC, Commit, Repository, Store, Stored, git_oid, sha256

MAIN = "main"
FIRST_FILES = (".gitattributes",)
LARGE = 10_000  # bytes from which the hub wants a file by itself
LARGE_ENDINGS = (".safetensors", ".bin", ".gz")
REPOSITORY = re.compile(r"/api/(model|dataset)s/([^/]+/[^/]+)(?:/([\w-]+)(?:/(.+))?)?$")
BATCH = re.compile(r"/(?:(dataset)s/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch$")
RESOLVE = re.compile(r"/(?:(dataset)s/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")


class HuggingFace:
    """Answers for one account."""

    def __init__(self, account: str, organizations: tuple[str, ...]) -> None:
        self._account = account
        self._organizations = organizations
        self.store = Store(MAIN, FIRST_FILES)
        self.role = "write"

    def answer(self, request: Request, *, known: bool, uploads: str, own: str) -> Reply:
        """Route one request. ``known``: it carries the account's token; ``uploads``: the host that takes blobs."""
        if request.path == "/api/whoami-v2":
            return self._whoami() if known else _refused(401, "Invalid username or password.")
        if request.path == "/api/validate-yaml":
            return as_json({"errors": [], "warnings": []})
        if request.path == "/api/repos/create":
            return self._create(request, own) if known else _refused(401, "Invalid username or password.")
        batch, resolved, found = (pattern.match(request.path) for pattern in (BATCH, RESOLVE, REPOSITORY))
        which = batch or resolved or found
        repository = self.store.find(which[1] or "model", which[2]) if which else None
        if which is None or repository is None or (repository.visibility != PUBLIC and not known):
            return _refused(404 if known else 401, "Repository not found", "RepoNotFound")
        if batch:
            return self._batch(request, uploads) if self._may_write(repository, known) else _refused(403, "Forbidden")
        if resolved:
            return _file(repository, resolved[3], resolved[4], request)
        assert found is not None
        what, rest = found[3] or "", found[4] or ""
        if what in ("preupload", "commit", "branch"):
            if not self._may_write(repository, known):
                return _refused(403, "Forbidden")
            return self._write(repository, what, rest, request, own)
        return _read(repository, what, rest, request)

    def _may_write(self, repository: Repository, known: bool) -> bool:
        return known and repository.id.partition("/")[0] in (self._account, *self._organizations)

    def _whoami(self) -> Reply:
        organizations = [{"name": name} for name in self._organizations]
        access = {"type": "access_token", "accessToken": {"role": self.role}}
        return as_json({"type": "user", "name": self._account, "orgs": organizations, "auth": access})

    def _create(self, request: Request, own: str) -> Reply:
        body = request.json()
        owner, kind = body.get("organization") or self._account, body.get("type") or "model"
        name = f"{owner}/{body['name']}"
        if owner not in (self._account, *self._organizations):
            return _refused(403, f"You don't have the rights to create a {kind} under the namespace {owner}")
        url = f"{own}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if self.store.find(kind, name):
            return as_json({"error": f"You already created this {kind} repo", "url": url}, status=409)
        private = body.get("private") or body.get("visibility") == PRIVATE
        made = self.store.create(kind, name, PRIVATE if private else PUBLIC)
        return as_json({"url": url, "name": name}, note={"created": name, "visibility": made.visibility})

    def _batch(self, request: Request, uploads: str) -> Reply:
        links = []
        for item in request.json()["objects"]:
            actions = {
                "upload": {"href": f"{uploads}/_blob/huggingface/{item['oid']}"},
                "verify": {"href": f"{uploads}/_verify"},
            }
            links.append(item if item["oid"] in self.store.blobs else {**item, "actions": actions})
        return as_json({"transfer": "basic", "objects": links})

    def _write(self, repository: Repository, what: str, rest: str, request: Request, own: str) -> Reply:
        if what == "branch":
            if rest in repository.heads:
                return _refused(409, "Reference already exists")
            repository.heads[rest] = repository.heads[MAIN]
            return as_json({})
        if rest not in repository.heads:
            return _refused(404, f"Invalid rev id: {rest}", "RevisionNotFound")
        if what == "preupload":
            tree = repository.at(rest).tree
            return as_json({"files": [_mode(item, tree.get(item["path"])) for item in request.json()["files"]]})
        lines = [json.loads(line) for line in request.body.splitlines() if line]
        changes: dict[str, tuple[bytes, bool] | None] = {}
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "lfsFile":
                if value["oid"] not in self.store.blobs:
                    return _refused(400, f"LFS pointer pointed to a file that does not exist: {value['oid']}")
                changes[value["path"]] = (self.store.blobs[value["oid"]], True)
            elif line["key"] == "file":
                changes[value["path"]] = (base64.b64decode(value["content"]), False)
            else:
                changes[value["path"]] = None
        made = self.store.commit(repository, rest, lines[0]["value"]["summary"], changes)
        answer = {"success": True, "commitUrl": f"{own}/{repository.id}/commit/{made.id}", "commitOid": made.id}
        return as_json(answer, note={"committed": sorted(changes)})


def _mode(item: dict[str, Any], stored: Stored | None) -> dict[str, Any]:
    large = item["size"] > LARGE or item["path"].endswith(LARGE_ENDINGS)
    there = None if stored is None else (sha256 if stored.large else git_oid)(stored.content)
    return {"path": item["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": there}


def _read(repository: Repository, what: str, rest: str, request: Request) -> Reply:
    revision = rest.partition("/")[0] or MAIN
    if not repository.knows(revision):
        return _refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    commit = repository.at(revision)
    if what in ("", "revision"):
        siblings = [_sibling(path, stored, "blobs" in request.query) for path, stored in commit.tree.items()]
        private = repository.visibility == PRIVATE
        return as_json({"_id": "x", "id": repository.id, "modelId": repository.id, "private": private, "sha": commit.id,
                        "siblings": siblings, "tags": [], "downloads": 0, "likes": 0})  # fmt: skip
    if what == "tree":
        return _tree(commit, rest.partition("/")[2], deep=request.query.get("recursive") == "True")
    if what == "paths-info":
        form = parse_qs(request.body.decode())
        paths = request.json()["paths"] if request.json() else form["paths"]
        return as_json([_entry(path, commit.tree[path]) for path in paths if path in commit.tree])
    return _refused(404, f"not known here: {request.path}")


def _tree(commit: Commit, folder: str, *, deep: bool) -> Reply:
    """Files and folders below a folder, or the entries of that folder alone."""
    start = f"{folder}/" if folder else ""
    files = {path: stored for path, stored in commit.tree.items() if path.startswith(start)}
    if folder and not files:
        return _refused(404, f"{folder} does not exist", "EntryNotFound")
    inner = {path[:end] for path in files for end in range(len(start), len(path)) if path[end] == "/"}
    folders = [{"type": "directory", "path": path, "size": 0, "oid": git_oid(path.encode())} for path in sorted(inner)]
    found = [*folders, *(_entry(path, stored) for path, stored in files.items())]
    return as_json([entry for entry in found if deep or "/" not in entry["path"][len(start) :]])


def _sibling(path: str, stored: Stored, details: bool) -> dict[str, Any]:
    if not details:
        return {"rfilename": path}
    content = stored.content
    lfs = {"lfs": {"sha256": stored.digest, "size": len(content), "pointerSize": 130}} if stored.large else {}
    return {"rfilename": path, "size": len(content), "blobId": git_oid(content), **lfs}


def _entry(path: str, stored: Stored) -> dict[str, Any]:
    content = stored.content
    lfs = {"lfs": {"oid": stored.digest, "size": len(content), "pointerSize": 130}} if stored.large else {}
    return {"type": "file", "path": path, "size": len(content), "oid": git_oid(content), **lfs}


def _file(repository: Repository, revision: str, path: str, request: Request) -> Reply:
    if not repository.knows(revision):
        return _refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    commit = repository.at(revision)
    stored = commit.tree.get(path)
    if stored is None:
        return Reply(b"{}", 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit.id})
    digest = stored.digest if stored.large else git_oid(stored.content)
    headers = {"ETag": f'"{digest}"', "X-Repo-Commit": commit.id, "Content-Type": "application/octet-stream"}
    note = {"downloaded": f"{repository.id}/{path}"} if request.method == "GET" else None
    return Reply(stored.content, 200, headers, note)


def _refused(status: int, message: str, code: str = "") -> Reply:
    reply = as_json({"error": message}, status=status)
    return Reply(reply.body, status, {**reply.headers, **({"X-Error-Code": code} if code else {})})
