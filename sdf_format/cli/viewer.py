"""The server of `sdf view`: the page of web/, the embedded models, and the files that are to be shown, on 127.0.0.1."""

from __future__ import annotations

import json
import secrets
import shutil
import urllib.parse
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

from sdf_format.errors import BadInput

PACKAGE = Path(__file__).parents[1]
RUNTIME = "web/node_modules/onnxruntime-web/dist"  # where the page looks for ONNX Runtime Web
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
HEADERS = {
    # Isolated from other origins, a page may use threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    # The page can speak to nobody but this server.
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self' 'wasm-unsafe-eval' blob:",
            "worker-src 'self' blob:",
            "connect-src 'self' blob:",
            "img-src 'self' blob: data:",
            "style-src 'self' 'unsafe-inline'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def roots(runtime: Path | None = None) -> dict[str, Path]:
    """Folders by the path that the page finds them at: what they are called in the repository.

    runtime  the folder `dist` of onnxruntime-web, if it is not the package's own

    BadInput if there is none.
    """
    sources = PACKAGE.parent
    web = PACKAGE / "web_sources" if (PACKAGE / "web_sources").is_dir() else sources / "web"
    tables = PACKAGE / "spec_tables" if (PACKAGE / "spec_tables").is_dir() else sources / "spec" / "tables"
    own = web / Path(RUNTIME).relative_to("web")
    dist = runtime or own
    if not (dist / "ort.wasm.min.mjs").is_file():
        version = runtime_version(web)
        raise BadInput(
            f"no ONNX Runtime Web in {dist}: `npm install onnxruntime-web@{version}` in any folder, then "
            "--runtime that folder's node_modules/onnxruntime-web/dist"
        )
    return {RUNTIME: dist, "web": web, "spec/tables": tables, "sdf_format/weights": PACKAGE / "weights"}


def runtime_version(web: Path) -> str:
    """The version of ONNX Runtime Web that the page was tried with."""
    return str(json.loads((web / "package.json").read_text(encoding="utf-8"))["dependencies"]["onnxruntime-web"])


class Server(ThreadingHTTPServer):
    """The page on 127.0.0.1.

    files  that it shows; each has an address that nobody can guess, so that no other page or user can ask for it
    roots  folders by the beginning of their path
    """

    daemon_threads = True

    def __init__(self, files: Sequence[Path], roots: dict[str, Path], port: int = 0):
        super().__init__(("127.0.0.1", port), Handler)
        self.roots = roots
        self.files = {f"file/{secrets.token_urlsafe(16)}/{urllib.parse.quote(path.name)}": path for path in files}

    def addresses(self) -> list[str]:
        """A page for every file, or one without."""
        page = f"http://127.0.0.1:{self.server_port}/web/index.html"
        return [f"{page}?src=/{urllib.parse.quote(place, safe='/')}" for place in self.files] or [page]

    def find(self, place: str) -> Path | None:
        """The file behind a path without its first slash."""
        if place in self.files:
            return self.files[place]
        for prefix, folder in self.roots.items():
            if place.startswith(f"{prefix}/"):
                path = (folder / urllib.parse.unquote(place[len(prefix) + 1 :])).resolve()
                inside = path.is_relative_to(folder.resolve()) and path.suffix in (*TYPES, ".safetensors", ".onnx")
                return path if inside and path.is_file() else None
        return None


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if (stream := self._begin()) is not None:
            with stream:
                shutil.copyfileobj(stream, self.wfile)

    def do_HEAD(self) -> None:
        if (stream := self._begin()) is not None:
            stream.close()

    def _begin(self) -> BinaryIO | None:
        # A name that leads here from elsewhere would let a foreign page read this one.
        if self.headers.get("Host") != f"127.0.0.1:{self.server.server_port}":
            self.send_error(HTTPStatus.FORBIDDEN)
            return None
        path = self.server.find(urllib.parse.urlsplit(self.path).path[1:])
        try:
            stream = path.open("rb") if path else None
        except OSError:
            stream = None
        if path is None or stream is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", TYPES.get(path.suffix, "application/octet-stream"))
        self.send_header("Content-Length", str(path.stat().st_size))
        self.end_headers()
        return stream

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass
