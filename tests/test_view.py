"""`sdf view`: what its server gives away, and what not."""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import pytest

from sdf_format.cli.viewer import HEADERS, Server, roots
from sdf_format.errors import BadInput

ROOT = Path(__file__).parent.parent


@pytest.fixture
def runtime(tmp_path) -> Path:
    """A folder in the place of ONNX Runtime Web: the server looks for one file in it."""
    folder = tmp_path / "dist"
    folder.mkdir()
    (folder / "ort.wasm.min.mjs").write_text("export {};")
    return folder


@pytest.fixture
def server(tmp_path, runtime):
    picture = tmp_path / "a picture.sdf"
    picture.write_bytes(b"bytes")
    with Server([picture], roots(runtime)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def get(server: Server, path: str, host: str | None = None, method: str = "GET"):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def test_the_page_and_what_it_needs(server):
    for path, kind in (
        ("/web/index.html", "text/html"),
        ("/web/src/decode.js", "text/javascript"),
        ("/spec/tables/models.json", "application/json"),
        ("/web/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs", "text/javascript"),
        ("/sdf_format/weights/sdf-tiny-1.onnx", "application/octet-stream"),
    ):
        response, body = get(server, path)
        assert response.status == 200 and response.getheader("Content-Type", "").startswith(kind), path
        assert int(response.getheader("Content-Length", "0")) == len(body)
        for name, value in HEADERS.items():
            assert response.getheader(name) == value
    response, body = get(server, "/web/index.html", method="HEAD")
    assert response.status == 200 and not body


def test_a_file_has_an_address_that_nobody_can_guess(server):
    (address,) = server.addresses()
    link = urllib.parse.unquote(urllib.parse.urlsplit(address).query.removeprefix("src="))
    response, body = get(server, link)
    assert response.status == 200 and body == b"bytes"
    assert get(server, "/file/a%20picture.sdf")[0].status == 404
    assert len(link.split("/")[2]) >= 16


def test_nothing_else_is_served(server):
    for path in (
        "/",
        "/pyproject.toml",
        "/web",
        "/web/",
        "/web/../pyproject.toml",
        "/web/%2e%2e/pyproject.toml",
        "/web/src/..%2f..%2fsetup.py",
        "/web//etc/passwd",
        "/sdf_format/errors.py",
        "/web/package-lock.json/x",
        "/spec/tables/nothing.json",
    ):
        assert get(server, path)[0].status == 404, path
    assert get(server, "/web/index.html", host="picture.example")[0].status == 403
    assert get(server, "/web/index.html", method="POST")[0].status == 501


def test_without_onnx_runtime_web(tmp_path):
    with pytest.raises(BadInput, match=r"npm install onnxruntime-web@\d"):
        roots(tmp_path)


def test_the_command(tmp_path, runtime):
    (tmp_path / "x.sdf").write_bytes(b"")
    words = [sys.executable, "-m", "sdf_format.cli.main", "view", "--no-browser", "--runtime", str(runtime)]
    with subprocess.Popen([*words, str(tmp_path / "x.sdf")], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.terminate()
    done = subprocess.run([*words, "nothing.sdf"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1 and "nothing.sdf" in done.stderr
