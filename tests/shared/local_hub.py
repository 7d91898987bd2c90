"""A server on 127.0.0.1 that speaks the Hugging Face hub's protocol, for tests that walk the roads to it.

Answers follow the hub: files of git are redirected to a path that holds the commit, large ones to a storage on another
host that wants no token; ``X-Error-Code`` says what is missing; whoever is not logged in gets a 401 for what is not
there. Xet, which the hub offers beside plain HTTP, is not spoken: clients fall back where no ``X-Xet-Hash`` is sent,
and uploads go as Git LFS with ``HF_HUB_DISABLE_XET=1``.

``huggingface_hub`` reads ``HF_ENDPOINT`` when it is imported, so ``tests/conftest.py`` reserves the address first.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub_repositories import Repository, StoredFile, is_large, read_folder

TOKEN = "hf_testtoken"
USER = "tester"

_reserved: list[socket.socket] = []  # bound, never listening; a server that listens may bind beside them


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def file(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


@dataclass
class LocalHub:
    """The hub's contents, what was asked of it, and the faults that are due.

    Args:
        address: Where it listens, as in ``HF_ENDPOINT``.
        storage: Where its large files lie.
    """

    address: str
    storage: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    granted: set[str] = field(default_factory=set)
    requests: list[Request] = field(default_factory=list)
    cuts: list[tuple[str, int]] = field(default_factory=list)
    failures: list[tuple[str, int]] = field(default_factory=list)
    servers: tuple[ThreadingHTTPServer, ...] = ()

    def publish(self, repository: str, folder: Path, *, branch: str = "main", **kind: bool) -> str:
        """Put a folder's files on a branch of a repository, which is made if need be; returns the commit."""
        kept = self.repositories.setdefault(repository, Repository(repository, **kind))
        return kept.commit(read_folder(folder), branch)

    def tag(self, repository: str, name: str, commit: str) -> None:
        """Name a commit."""
        self.repositories[repository].tags[name] = commit

    def cut(self, file: str, *after: int) -> None:
        """Close the connection in the middle of the next downloads of a file, each after some bytes of its body."""
        self.cuts += [(file, count) for count in after]

    def fail(self, part_of_path: str, status: int) -> None:
        """Answer every request whose path contains a text with a status."""
        self.failures.append((part_of_path, status))

    def close(self) -> None:
        """Go away: from now on connections are refused."""
        for server in self.servers:
            server.shutdown()
            server.server_close()
        self.servers = ()

    def asked(self, method: str, file: str) -> list[Request]:
        """The requests of one method for files of one name."""
        return [request for request in self.requests if request.method == method and request.file == file]

    def stored_under(self, digest: str) -> bytes | None:
        """The large file with a SHA-256, wherever it belongs."""
        commits = (files for repository in self.repositories.values() for files in repository.commits.values())
        files = (file for commit in commits for file in commit.values())
        return self.uploads.get(digest) or next((each.content for each in files if each.sha256 == digest), None)


def reserve_address() -> str:
    """Take a free port of 127.0.0.1 for this process: until a hub serves there, connections to it are refused."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    _reserved.append(reserved)
    return f"http://127.0.0.1:{reserved.getsockname()[1]}"


@contextlib.contextmanager
def serve(address: str | None = None) -> Iterator[LocalHub]:
    """Serve a hub, at an address that ``reserve_address`` gave."""
    storage, main = _Server(0, _Storage), _Server(urlsplit(address).port or 0 if address else 0, _Hub)
    hub = LocalHub(f"http://127.0.0.1:{main.server_port}", f"http://localhost:{storage.server_port}")
    hub.servers = (storage, main)
    for server in hub.servers:
        server.hub = hub
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield hub
    finally:
        hub.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: LocalHub

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", port), handler)


class _Refusal(Exception):  # noqa: N818 - not an error of the server
    """An answer that is no success."""

    def __init__(self, status: int, code: str | None, message: str, commit: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.commit = status, code, message, commit


class _Handler(BaseHTTPRequestHandler):
    """What the hub and its storage share."""

    protocol_version = "HTTP/1.1"
    server: _Server
    body = b""

    def log_message(self, *_: Any) -> None:
        """Say nothing: the tests read ``LocalHub.requests``."""

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def answer_request(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.hub, self.query = self.server.hub, parse_qs(parts.query)
        path = unquote(parts.path)
        self.hub.requests.append(Request(self.command, path, {k.lower(): v for k, v in self.headers.items()}))
        try:
            status = next((status for part, status in self.hub.failures if part in path), None)
            if status is not None:
                raise _Refusal(status, None, "Internal Error")
            # The name of a branch may hold slashes, which clients escape; so it is split before it is unescaped.
            self.route([unquote(piece) for piece in parts.path.strip("/").split("/")])
        except _Refusal as refusal:
            headers = {"X-Error-Message": refusal.message}
            headers |= {"X-Error-Code": refusal.code} if refusal.code else {}
            headers |= {"X-Repo-Commit": refusal.commit} if refusal.commit else {}
            self.send(refusal.status, json.dumps({"error": refusal.message}).encode(), headers)

    do_GET = do_HEAD = do_POST = do_PUT = answer_request  # noqa: N815 - http.server's names

    def route(self, parts: list[str]) -> None:
        raise NotImplementedError

    def send(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, cut: int | None = None
    ) -> None:
        """Send an answer, with ``cut`` only so many bytes of its body, and close the connection."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Connection": "close", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if cut is None else body[:cut])

    def send_json(self, value: Any, **headers: str) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})

    def send_file(self, name: str, content: bytes, headers: dict[str, str]) -> None:
        """Send a file, or the part of it that ``Range`` names; in the middle of it a cut that is due."""
        cut = None
        if self.command == "GET":
            due = next((each for each in self.hub.cuts if each[0] == name), None)
            if due is not None:
                self.hub.cuts.remove(due)
                cut = due[1]
        wanted = self.headers.get("Range")
        headers = {"Accept-Ranges": "bytes", **headers}
        if wanted is None:
            self.send(200, content, headers, cut)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start = int(first) if first else max(0, len(content) - int(last))
        end = min(int(last), len(content) - 1) if first and last else len(content) - 1
        if start >= len(content):
            self.send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        self.send(206, content[start : end + 1], headers, cut)


class _Storage(_Handler):
    """Where large files lie, by their SHA-256: signed addresses, no token, so none may be sent here."""

    def route(self, parts: list[str]) -> None:
        digest, name = parts[0], parts[-1]
        if "Authorization" in self.headers:
            raise _Refusal(400, None, "Only one auth mechanism allowed")
        if self.command == "PUT":
            self.hub.uploads[digest] = self.body
            self.send(200)
            return
        content = self.hub.stored_under(digest)
        if content is None:
            raise _Refusal(404, None, "NoSuchKey")
        self.send_file(name, content, {"ETag": f'"{digest}"'})


class _Hub(_Handler):
    """The hub itself."""

    def route(self, parts: list[str]) -> None:
        match parts:
            case ["api", "whoami-v2"]:
                self.require_login()
                self.send_json({"type": "user", "name": USER, "orgs": [], "auth": {"accessToken": {"role": "write"}}})
            case ["api", "validate-yaml"]:
                self.send_json({"errors": [], "warnings": []})
            case ["api", "repos", "create"]:
                self.create_repository()
            case ["api", "models", owner, name, *rest]:
                self.answer_about(self.find(f"{owner}/{name}"), rest)
            case ["api", "resolve-cache", "models", owner, name, commit, *path]:
                self.send_git_file(self.find(f"{owner}/{name}"), commit, "/".join(path))
            case [owner, name, "resolve", revision, *path]:
                self.resolve(self.find(f"{owner}/{name}"), revision, "/".join(path))
            case [_, _, "info", "lfs", "objects", "batch"]:
                self.require_login()
                self.plan_uploads()
            case _:
                raise _Refusal(404, None, "Sorry, we can't find the page you are looking for.")

    @property
    def is_logged_in(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def require_login(self) -> None:
        if not self.is_logged_in:
            wrong = "Invalid credentials in Authorization header"
            raise _Refusal(401, None, wrong if "Authorization" in self.headers else "Invalid username or password.")

    def find(self, identity: str) -> Repository:
        if "Authorization" in self.headers:
            self.require_login()
        found = self.hub.repositories.get(identity)
        if found is None or (found.private and not self.is_logged_in):
            if self.is_logged_in:
                raise _Refusal(404, "RepoNotFound", "Repository not found")
            raise _Refusal(401, "RepoNotFound", "Invalid username or password.")
        return found

    def find_commit(self, repository: Repository, revision: str) -> str:
        commit = repository.resolve(revision)
        if commit is None:
            raise _Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def answer_about(self, repository: Repository, rest: list[str]) -> None:
        match rest:
            case []:
                self.send_json(describe(repository, self.find_commit(repository, "main")))
            case ["revision", revision]:
                self.send_json(describe(repository, self.find_commit(repository, revision)))
            case ["tree", revision, *path]:
                self.list_tree(repository, self.find_commit(repository, revision), "/".join(path))
            case ["refs"]:
                self.send_json(
                    {
                        "branches": list_references("heads", repository.branches),
                        "tags": list_references("tags", repository.tags),
                        "converts": [],
                    }
                )
            case ["paths-info", revision]:
                files = repository.commits[self.find_commit(repository, revision)]
                wanted = json.loads(self.body)["paths"]
                self.send_json([describe_file(path, files[path]) for path in wanted if path in files])
            case ["preupload", revision]:
                self.require_login()
                self.plan_commit(repository.commits.get(repository.branches.get(revision, ""), {}))
            case ["branch", branch]:
                self.require_login()
                repository.branches.setdefault(branch, repository.branches.get("main", ""))
                self.send_json({})
            case ["commit", branch]:
                self.require_login()
                self.commit(repository, branch)
            case _:
                raise _Refusal(404, None, "Not found")

    def list_tree(self, repository: Repository, commit: str, below: str) -> None:
        prefix = f"{below}/" if below else ""
        files = {path: file for path, file in repository.commits[commit].items() if path.startswith(prefix)}
        if not files:
            raise _Refusal(404, "EntryNotFound", f"{below} does not exist on {commit}", commit)
        if self.query.get("recursive") not in (["true"], ["True"], ["1"]):
            files = {path: file for path, file in files.items() if "/" not in path.removeprefix(prefix)}
        self.send_json([describe_file(path, file) for path, file in files.items()])

    def find_file(self, repository: Repository, commit: str, path: str) -> StoredFile:
        if repository.gated and repository.id not in self.hub.granted:
            told = f"Access to model {repository.id} is restricted"
            if self.is_logged_in:
                raise _Refusal(403, "GatedRepo", f"{told} and you are not in the authorized list.")
            raise _Refusal(401, "GatedRepo", f"{told}. You must have access to it and be authenticated to access it.")
        file = repository.commits[commit].get(path)
        if file is None:
            raise _Refusal(404, "EntryNotFound", "Entry not found", commit)
        return file

    def resolve(self, repository: Repository, revision: str, path: str) -> None:
        commit = self.find_commit(repository, revision)
        file = self.find_file(repository, commit, path)
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if file.is_large:
            headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
            headers["Location"] = f"{self.hub.storage}/{file.sha256}/{path.rpartition('/')[2]}"
            self.send(302, b"", headers)
            return
        headers["Location"] = f"/api/resolve-cache/models/{repository.id}/{commit}/{path}?etag=%22{file.blob_id}%22"
        self.send(307, b"", headers)

    def send_git_file(self, repository: Repository, commit: str, path: str) -> None:
        file = self.find_file(repository, commit, path)
        name = path.rpartition("/")[2]
        self.send_file(name, file.content, {"X-Repo-Commit": commit, "ETag": f'"{file.blob_id}"'})

    def create_repository(self) -> None:
        self.require_login()
        wanted = json.loads(self.body)
        identity = f"{wanted.get('organization') or USER}/{wanted['name']}"
        told = {"url": f"{self.hub.address}/{identity}", "name": identity}
        if identity in self.hub.repositories:
            self.send(409, json.dumps({"error": "You already created this model repo", **told}).encode())
            return
        made = Repository(identity, private=wanted.get("visibility") == "private" or bool(wanted.get("private")))
        made.commit({".gitattributes": StoredFile(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n", False)})
        self.hub.repositories[identity] = made
        self.send_json(told)

    def plan_commit(self, present: dict[str, StoredFile]) -> None:
        plans = []
        for each in json.loads(self.body)["files"]:
            there = present.get(each["path"])
            plans.append(
                {
                    "path": each["path"],
                    "uploadMode": "lfs" if is_large(each["path"]) else "regular",
                    "shouldIgnore": False,
                    **({"oid": there.sha256 if there.is_large else there.blob_id} if there else {}),
                }
            )
        self.send_json({"files": plans, "commitOid": "0" * 40})

    def plan_uploads(self) -> None:
        wanted = json.loads(self.body)["objects"]
        plans = []
        for each in wanted:
            there = self.hub.stored_under(each["oid"]) is not None
            target = {"upload": {"href": f"{self.hub.storage}/{each['oid']}/upload", "header": {}}}
            plans.append(each if there else {**each, "authenticated": True, "actions": target})
        self.send_json({"transfer": "basic", "objects": plans})

    def commit(self, repository: Repository, branch: str) -> None:
        if branch not in repository.branches:
            raise _Refusal(404, "RevisionNotFound", f"Invalid rev id: {branch}")
        changes: dict[str, StoredFile | None] = {}
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                changes[value["path"]] = StoredFile(base64.b64decode(value["content"]), False)
            elif entry["key"] == "lfsFile":
                content = self.hub.stored_under(value["oid"])
                if content is None:
                    raise _Refusal(400, None, f"LFS pointer pointed to a file that does not exist: {value['path']}")
                changes[value["path"]] = StoredFile(content, True)
            elif entry["key"] == "deletedFile":
                changes[value["path"]] = None
        identity = repository.commit(changes, branch)
        address = f"{self.hub.address}/{repository.id}/commit/{identity}"
        self.send_json({"success": True, "commitOid": identity, "commitUrl": address, "hookOutput": ""})


def describe(repository: Repository, commit: str) -> dict[str, Any]:
    """The hub's description of a repository at a commit."""
    return {
        "_id": "0", "id": repository.id, "modelId": repository.id, "sha": commit, "private": repository.private,
        "gated": "manual" if repository.gated else False, "disabled": False, "tags": [], "downloads": 0, "likes": 0,
        "siblings": [{"rfilename": path} for path in repository.commits[commit]],
    }  # fmt: skip


def describe_file(path: str, file: StoredFile) -> dict[str, Any]:
    """The hub's description of a file in a tree."""
    told: dict[str, Any] = {"type": "file", "path": path, "size": file.size, "oid": file.blob_id}
    if file.is_large:
        told["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 134}
    return told


def list_references(kind: str, names: dict[str, str]) -> list[dict[str, str]]:
    """The hub's list of branches or tags."""
    return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit} for name, commit in names.items()]
