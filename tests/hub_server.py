"""A server that speaks as much of the Hugging Face hub's API as a download needs, for folders on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

COMMIT = hashlib.sha1(b"commit").hexdigest()


class Hub(ThreadingHTTPServer):
    """repositories  name to folder;  status: of every answer about a repository, 200 or an error's; broken: files whose
    bodies are cut off; sent: paths of the files asked for
    """

    daemon_threads = True

    def __init__(self, repositories: dict[str, Path]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories, self.status, self.broken, self.sent = repositories, 200, set(), []
        self.sizes: dict[str, int] = {}  # what is said of a file instead of the truth

    def files(self, repository: str) -> dict[str, Path]:
        folder = self.repositories[repository]
        return {str(f.relative_to(folder)): f for f in sorted(folder.rglob("*")) if f.is_file()}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_) -> None:
        pass

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path.strip("/")
        name = next((r for r in self.server.repositories if f"{r}/" in path + "/"), None)
        if name is None or self.server.status != 200:
            gated = (
                {"X_Error_Code": "GatedRepo", "X_Error_Message": "Access is restricted"}
                if self.server.status == 403
                else {}
            )
            return self.reply(404 if name is None else self.server.status, **gated)
        files = self.server.files(name)
        sizes = {k: self.server.sizes.get(k, f.stat().st_size) for k, f in files.items()}
        if path.startswith("api/") and "/tree/" in path:
            entries = [
                dict(type="file", path=k, size=n, oid=hashlib.sha1(k.encode()).hexdigest()) for k, n in sizes.items()
            ]
            return self.reply(200, json.dumps(entries).encode(), Content_Type="application/json")
        if path.startswith("api/"):
            info = dict(
                id=name,
                modelId=name,
                sha=COMMIT,
                private=False,
                tags=[],
                downloads=0,
                siblings=[
                    dict(rfilename=k, size=n, blobId=hashlib.sha1(k.encode()).hexdigest()) for k, n in sizes.items()
                ],
            )
            return self.reply(200, json.dumps(info).encode(), Content_Type="application/json")
        inside = path.split(f"/resolve/{COMMIT}/" if COMMIT in path else "/resolve/main/")[-1]
        if inside not in files:
            return self.reply(404, X_Error_Code="EntryNotFound")
        body = files[inside].read_bytes()
        whole = dict(X_Repo_Commit=COMMIT, ETag=f'"{hashlib.sha1(inside.encode()).hexdigest()}"', Accept_Ranges="bytes")
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0] or 0)
        if self.command == "HEAD":
            return self.reply(200, Content_Length=str(len(body)), **whole)
        self.server.sent.append(inside)
        cut = inside in self.server.broken
        if start:
            whole["Content_Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.reply(
            206 if start else 200,
            body[start : len(body) // 2] if cut else body[start:],
            Content_Length=str(len(body) - start),
            **whole,
        )
        if cut:
            self.close_connection = True


@contextmanager
def hub(repositories: dict[str, Path]) -> Iterator[Hub]:
    """A running server; its address is the environment's HF_ENDPOINT for whoever shall use it."""
    server = Hub(repositories)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
