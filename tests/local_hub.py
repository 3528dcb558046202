"""A stand-in for the Hugging Face hub on this machine: the few addresses that huggingface_hub asks to make a
repository, commit to it, and fetch from it, with answers of the hub's shapes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_tests"

Files = dict[str, bytes]


@dataclass
class Repository:
    """Commits by their hash, and where each branch stands."""

    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    private: bool = False
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str, added: Files, message: str = "") -> str:
        files = {**self.commits.get(self.branches.get(branch, ""), {}), **added}
        said = b"".join(name.encode() + content for name, content in sorted(files.items()))
        sha = hashlib.sha1(said + str(len(self.commits)).encode()).hexdigest()
        self.commits[sha], self.branches[branch] = files, sha
        self.messages.append(message)
        return sha

    def at(self, revision: str) -> str | None:
        sha = self.branches.get(revision, revision)
        return sha if sha in self.commits else None


@dataclass
class Hub:
    """The stand-in: its address, its repositories, and every request as `"GET /path"`."""

    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def files(self, repo_id: str, revision: str = "main") -> Files:
        """What lies in a repository."""
        repository = self.repositories[repo_id]
        return repository.commits[str(repository.at(revision))]


@contextmanager
def local_hub() -> Iterator[Hub]:
    """A hub for the length of a `with` block."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(hub))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Refused(Exception):
    """An error of the hub: its status, the code that huggingface_hub reads in its head, and what else it says."""


def _handler_of(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"  # a connection for each request, so that none outlives the hub

        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._answer()

        do_HEAD = do_POST = do_GET

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            try:
                known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
                content, head = _content(hub, known, f"{self.command} {path}", body)
                status = 200
            except Refused as error:
                status, code, *more = error.args
                head = {"X-Error-Code": code, "X-Error-Message": code}
                content = json.dumps(dict(*more, error=code)).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **head}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    return Handler


def _content(hub: Hub, known: bool, request: str, body: bytes) -> tuple[bytes, dict[str, str]]:
    """The answer to a request of somebody who is known or not: its content, and what is special of its head."""
    for pattern, answer in ADDRESSES.items():
        found = re.fullmatch(pattern, request)
        if found:
            answered = answer(hub, known, body, **found.groupdict())
            return answered if isinstance(answered, tuple) else (json.dumps(answered).encode(), {})
    raise Refused(404, "NoSuchAddress")


def _found(hub: Hub, known: bool, repo: str, revision: str = "main") -> tuple[Repository, str]:
    repository = hub.repositories.get(repo)
    if repository is None or (repository.private and not known):
        raise Refused(404 if known else 401, "RepoNotFound")
    sha = repository.at(revision)
    if sha is None:
        raise Refused(404, "RevisionNotFound")
    return repository, sha


def _create(hub: Hub, known: bool, body: bytes) -> Any:
    if not known:
        raise Refused(401, "Unauthorized")
    asked = json.loads(body)
    repo = f"{asked.get('organization') or 'someone'}/{asked['name']}"
    if repo in hub.repositories:
        raise Refused(409, "You already created this model repo", {"url": f"{hub.endpoint}/{repo}"})
    hub.repositories[repo] = Repository(private=bool(asked.get("private") or asked.get("visibility") == "private"))
    hub.repositories[repo].commit("main", {".gitattributes": b""})
    return {"url": f"{hub.endpoint}/{repo}", "name": repo, "id": "0"}


def _validate(hub: Hub, known: bool, body: bytes) -> Any:
    """As the hub does, it refuses a `base_model` that is none of its models' names."""
    head = json.loads(body)["content"].split("---")[1]
    named = re.search(r"^base_model: (.*)$", head, re.MULTILINE)
    if named and not re.fullmatch(r"[\w.-]+/[\w.-]+", named[1]):
        return {"errors": [{"message": '"base_model" must be a model\'s name'}], "warnings": []}
    return {"errors": [], "warnings": []}


def _preupload(hub: Hub, known: bool, body: bytes, repo: str, revision: str) -> Any:
    _found(hub, known, repo, revision)
    paths = [file["path"] for file in json.loads(body)["files"]]
    return {"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]}


def _commit(hub: Hub, known: bool, body: bytes, repo: str, revision: str) -> Any:
    repository, _ = _found(hub, known, repo, revision)
    if not known:
        raise Refused(403, "Forbidden")
    lines = [json.loads(line) for line in body.splitlines()]
    added = {
        line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
    }
    sha = repository.commit(revision, added, lines[0]["value"]["summary"])
    return {"success": True, "commitOid": sha, "commitUrl": f"{hub.endpoint}/{repo}/commit/{sha}", "hookOutput": ""}


def _info(hub: Hub, known: bool, body: bytes, repo: str, revision: str) -> Any:
    repository, sha = _found(hub, known, repo, revision)
    return {
        "_id": "0", "id": repo, "modelId": repo, "sha": sha, "private": repository.private, "gated": False,
        "disabled": False, "tags": [], "downloads": 0, "likes": 0,
        "siblings": [{"rfilename": path} for path in repository.commits[sha]],
    }  # fmt: skip


def _tree(hub: Hub, known: bool, body: bytes, repo: str, revision: str) -> Any:
    repository, sha = _found(hub, known, repo, revision)
    return [
        {"type": "file", "path": path, "size": len(content), "oid": _blob(content)}
        for path, content in repository.commits[sha].items()
    ]


def _resolve(hub: Hub, known: bool, body: bytes, repo: str, revision: str, file: str) -> Any:
    repository, sha = _found(hub, known, repo, revision)
    content = repository.commits[sha].get(file)
    if content is None:
        raise Refused(404, "EntryNotFound")
    return content, {"ETag": f'"{_blob(content)}"', "X-Repo-Commit": sha, "Content-Type": "text/plain"}


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


_REPO, _REVISION = r"(?P<repo>[\w.-]+/[\w.-]+)", r"(?P<revision>[^/]+)"
ADDRESSES: dict[str, Any] = {
    "POST /api/repos/create": _create,
    "POST /api/validate-yaml": _validate,
    f"POST /api/models/{_REPO}/preupload/{_REVISION}": _preupload,
    f"POST /api/models/{_REPO}/commit/{_REVISION}": _commit,
    f"GET /api/models/{_REPO}/revision/{_REVISION}": _info,
    f"GET /api/models/{_REPO}/tree/{_REVISION}": _tree,
    f"(GET|HEAD) /{_REPO}/resolve/{_REVISION}/(?P<file>.*)": _resolve,
}
