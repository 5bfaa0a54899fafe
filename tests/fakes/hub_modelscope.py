"""The ModelScope API, as far as its real client (modelscope 1.40) asks for it when it publishes and downloads."""

from __future__ import annotations

import base64
import email
import email.policy
import re
from typing import Any

from http_fake import Reply, Request, as_json
from hub_store import PRIVATE, PUBLIC, Repository, Store, Stored, git_oid, sha256

MAIN = "master"
FIRST_FILES = (".gitattributes", "README.md")
VISIBILITIES = {1: PRIVATE, 3: "internal", 5: PUBLIC}
NUMBERS = {name: number for number, name in VISIBILITIES.items()}
GENERAL_DATASET = 4  # plain files, without the hub's own description of them
EXISTS = {"model": 10010101001, "dataset": 10020101001}
CREATE = re.compile(r"/api/v1/(model|dataset)s$")
REPOSITORY = re.compile(r"/(?:api/v1(?:/repos)?|openapi/v1)/(model|dataset)s/(\d+(?=/repo|$)|[^/]+/[^/]+)(/.*)?$")
RANGE = re.compile(r"bytes=(\d+)-(\d*)$")


class ModelScope:
    """Answers for one account."""

    def __init__(self, account: str, organizations: tuple[str, ...]) -> None:
        self._account = account
        self._owners = (account, *organizations)
        self.store = Store(MAIN, FIRST_FILES)
        self.tells_visibility = True  # where the older API describes a repository
        self.digests = "all"  # that listings tell: of "all" files, of the "large" ones, "git" of the small ones, "none"

    def answer(self, request: Request, *, known: bool, uploads: str) -> Reply:
        """Route one request. ``known``: it carries the account's token; ``uploads``: the host that takes blobs."""
        if request.path == "/api/v1/login":
            return self._login(known)
        if request.path == "/openapi/v1/users/me":
            user = {"username": self._account, "email": "a@example.invalid"}
            return as_json({"success": True, "data": user}) if known else _refused(401, "InvalidAuthentication")
        creating = CREATE.match(request.path)
        if creating and request.method == "POST":
            return self._create(creating[1], request) if known else _refused(401, "user not logged in")
        found = REPOSITORY.match(request.path)
        repository = self.store.find(found[1], found[2]) if found else None
        if found is None or repository is None or (repository.visibility != PUBLIC and not known):
            return _refused(404, "not found")
        rest = found[3] or ""
        if rest.startswith(("/info/lfs", "/commit/", "/repo/tag")):
            if not known:
                return _refused(401, "user not logged in")
            if repository.id.partition("/")[0] not in self._owners:
                return _refused(403, "no permission")
            return self._write(repository, rest, request, uploads)
        return self._read(repository, rest, request)

    def _login(self, known: bool) -> Reply:
        if not known:
            return _refused(400, "AccessToken is invalid or expired", 10010103009)
        user = {"AccessToken": "git-token", "Username": self._account, "Email": "a@example.invalid"}
        return _data(user, note={"login": "accepted"})

    def _create(self, kind: str, request: Request) -> Reply:
        body = request.json() if kind == "model" else _form(request)
        owner = str(body.get("Path") or body.get("Owner"))
        name = f"{owner}/{body['Name']}"
        if owner not in self._owners:
            return _refused(403, "no permission for this namespace")
        if self.store.find(kind, name):
            return _refused(400, "already exists", EXISTS[kind])
        made = self.store.create(kind, name, VISIBILITIES[int(body["Visibility"])])
        return _data(_described(made), note={"created": name, "visibility": made.visibility})

    def _write(self, repository: Repository, rest: str, request: Request, uploads: str) -> Reply:
        body = request.json()
        if rest == "/info/lfs/objects/batch":
            links = [self._link(item, uploads) for item in body["objects"]]
            return _data({"objects": links})
        if rest == "/repo/tag":
            if body["TagName"] in repository.tags:
                return _refused(400, "tag already exists")
            repository.tags[body["TagName"]] = repository.at(body["Ref"]).id
            return _data({})
        if rest != f"/commit/{MAIN}":
            return _refused(400, "only master takes commits")
        changes: dict[str, tuple[bytes, bool] | None] = {}
        for action in body["actions"]:
            large = action["type"] == "lfs"
            content = self.store.blobs.get(action["sha256"]) if large else base64.b64decode(action["content"])
            if content is None:
                return _refused(400, f"blob {action['sha256']} was not uploaded")
            changes[action["path"]] = None if action["action"] == "delete" else (content, large)
        made = self.store.commit(repository, MAIN, body["commit_message"], changes)
        return _data({"commit_id": made.id}, note={"committed": sorted(changes)})

    def _link(self, item: dict[str, Any], uploads: str) -> dict[str, Any]:
        if item["oid"] in self.store.blobs:
            return dict(item)
        return {**item, "actions": {"upload": {"href": f"{uploads}/_blob/modelscope/{item['oid']}"}}}

    def _read(self, repository: Repository, rest: str, request: Request) -> Reply:
        if rest == "" and request.path.startswith("/openapi/"):
            return as_json(
                {"success": True, "data": {"id": repository.id, "private": repository.visibility == PRIVATE}}
            )
        if rest == "":
            described = _described(repository)
            return _data(described if self.tells_visibility else {**described, "Visibility": None})
        if rest == "/revisions":
            branches = [{"Revision": name, "CreatedAt": 1} for name in repository.heads]
            tags = [{"Revision": name, "CreatedAt": 1} for name in repository.tags]
            return _data({"RevisionMap": {"Branches": branches, "Tags": tags}})
        revision = request.query.get("Revision") or MAIN
        if not repository.knows(revision):
            return _refused(404, f"revision {revision} not found")
        if rest in ("/repo/files", "/repo/tree"):
            return self._listing(repository, revision, request)
        if rest == "/repo":
            return _file(repository, revision, request)
        return _data({})  # statistics, acceleration hints and other courtesies: the client goes on without them

    def _listing(self, repository: Repository, revision: str, request: Request) -> Reply:
        """All files, or a page of them when one is asked for."""
        files = [
            {"Path": path, "Name": path.rpartition("/")[2], "Type": "blob", "Size": len(stored.content),
             "Sha256": self._digest(stored), "IsLFS": stored.large, "Revision": stored.commit,
             "CommittedDate": stored.time}
            for path, stored in sorted(repository.at(revision).tree.items())
        ]  # fmt: skip
        if "Root" in request.query:
            files = _below(files, request.query["Root"].strip("/"), deep=request.query.get("Recursive") == "True")
        if "PageNumber" in request.query:
            size = int(request.query.get("PageSize", 50))
            start = (int(request.query["PageNumber"]) - 1) * size
            files = files[start : start + size]
        return _data({"Files": files})

    def _digest(self, stored: Stored) -> str:
        wanted = {"all": True, "large": stored.large, "git": True, "none": False}[self.digests]
        found: str = git_oid(stored.content) if self.digests == "git" and not stored.large else stored.digest
        return found if wanted else ""


def _described(repository: Repository) -> dict[str, Any]:
    owner, _, name = repository.id.partition("/")
    return {"Id": repository.number, "Path": owner, "Owner": owner, "Name": name, "Type": GENERAL_DATASET,
            "Visibility": NUMBERS[repository.visibility]}  # fmt: skip


def _below(files: list[dict[str, Any]], root: str, *, deep: bool) -> list[dict[str, Any]]:
    """Files and folders of one folder, or of all below it."""
    start = f"{root}/" if root else ""
    inside = [file for file in files if file["Path"].startswith(start)]
    parents = {path[:end] for path in (file["Path"] for file in inside) for end in _ends(path) if end >= len(start)}
    folders = [
        {"Path": path, "Name": path.rpartition("/")[2], "Type": "tree", "Size": 0, "Sha256": ""}
        for path in sorted(parents)
    ]
    found = [*folders, *inside]
    return found if deep else [entry for entry in found if "/" not in entry["Path"][len(start) :]]


def _ends(path: str) -> list[int]:
    return [end for end, letter in enumerate(path) if letter == "/"]


def _file(repository: Repository, revision: str, request: Request) -> Reply:
    """One file or a range of it."""
    name = request.query.get("FilePath", "")
    stored = repository.at(revision).tree.get(name)
    if stored is None:
        return _refused(404, f"{name} not found")
    content = stored.content
    wanted = RANGE.match(request.headers.get("range", ""))
    headers = {"Content-Type": "application/octet-stream", "ETag": f'"{sha256(content)}"'}
    note = {"downloaded": f"{repository.id}/{name}"}
    if wanted is None:
        return Reply(content, 200, headers, note)
    start, end = int(wanted[1]), int(wanted[2] or len(content) - 1)
    headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
    return Reply(content[start : end + 1], 206, headers, note)


def _form(request: Request) -> dict[str, str]:
    """A multipart form, as the client sends when it creates a dataset."""
    head = b"content-type: " + request.headers["content-type"].encode() + b"\r\n\r\n"
    message = email.message_from_bytes(head + request.body, policy=email.policy.HTTP)
    parts = message.iter_parts()
    return {str(part.get_param("name", header="content-disposition")): part.get_content().strip() for part in parts}


def _data(value: dict[str, Any], *, note: dict[str, Any] | None = None) -> Reply:
    return as_json({"Code": 200, "Success": True, "Message": "success", "Data": value}, note=note)


def _refused(status: int, message: str, code: int = 0) -> Reply:
    return as_json({"Code": code or status, "Success": False, "Message": message}, status=status)
