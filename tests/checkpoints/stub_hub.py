"""A model hub on this machine: enough of its protocol for huggingface_hub to download folders."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class StubHub(ThreadingHTTPServer):
    """Serves folders as repositories.

    Attributes:
        repositories: "org/name" -> commit -> folder; the last commit is the branch's.
        gated: repositories whose files nobody may have.
        asked: paths of files that were asked for, in order.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.repositories: dict[str, dict[str, Path]] = {}
        self.gated: set[str] = set()
        self.asked: list[str] = []

    def publish(self, repo: str, folder: Path, commit: str) -> None:
        """Makes a folder the last commit of a repository."""
        self.repositories.setdefault(repo, {})[commit] = folder

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    server: StubHub

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        if path.startswith("api/models/"):
            repo, _, rest = path.removeprefix("api/models/").partition("/revision/")
            if not rest:
                repo, _, rest = path.removeprefix("api/models/").partition("/tree/")
            self._describe(repo, rest, tree="/tree/" in path, body=body)
        else:
            repo, _, rest = path.partition("/resolve/")
            revision, _, name = rest.partition("/")
            self._file(repo, revision, name, body=body)

    def _send(self, status: int, content: bytes, body: bool, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _commit(self, repo: str, revision: str) -> tuple[Path, str]:
        commits = self.server.repositories[repo]
        commit = revision if revision in commits else list(commits)[-1]
        return commits[commit], commit

    def _describe(self, repo: str, revision: str, *, tree: bool, body: bool) -> None:
        if repo not in self.server.repositories:
            self._send(404, b"{}", body, X_Error_Code="RepoNotFound")
            return
        folder, commit = self._commit(repo, revision)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        names = [path.relative_to(folder).as_posix() for path in files]
        if tree:
            answer: object = [{"type": "file", "path": name, "size": path.stat().st_size,
                               "oid": hashlib.sha1(path.read_bytes()).hexdigest()}
                              for name, path in zip(names, files, strict=True)]
        else:
            answer = {"id": repo, "modelId": repo, "sha": commit, "private": False, "tags": [], "downloads": 0,
                      "likes": 0, "siblings": [{"rfilename": name} for name in names]}
        self._send(200, json.dumps(answer).encode(), body, Content_Type="application/json")

    def _file(self, repo: str, revision: str, name: str, *, body: bool) -> None:
        self.server.asked.append(name)
        folder, commit = self._commit(repo, revision)
        if repo in self.server.gated:
            self._send(403, b"{}", body, X_Error_Code="GatedRepo")
        elif not (folder / name).is_file():
            self._send(404, b"", body, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        else:
            content = (folder / name).read_bytes()
            kind = hashlib.sha256 if name.endswith((".bin", ".safetensors")) else hashlib.sha1
            self._send(200, content, body, ETag=f'"{kind(content).hexdigest()}"', X_Repo_Commit=commit)


@contextmanager
def stub_hub() -> Iterator[StubHub]:
    """Runs a hub without repositories."""
    with StubHub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
