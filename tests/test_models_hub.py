"""Weights from the hub (§4.4): nothing unasked, a download announced, taken up where it was cut off, and the reasons
why one fails.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import standins
from hub_server import Hub, hub

pytest.importorskip("huggingface_hub")
clause = pytest.mark.clause
REPOSITORY = "stable-diffusion-v1-5/stable-diffusion-v1-5"
NETWORK = "unet/diffusion_pytorch_model.safetensors"
CODE = """
from sdf_format.models import loading
try:
    print(loading.find("sd15").sha256.hex())
except loading.MissingModel as error:
    print("MissingModel", error)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return standins.save("sd15", tmp_path_factory.mktemp("hub"))


@pytest.fixture
def server(folder):
    with hub({REPOSITORY: folder}) as running:
        yield running


def found(server: Hub, home: Path, **environment: str) -> tuple[str, str]:
    """What another process says of sd15, on stdout and stderr: the hub's client reads the environment when it is
    imported.
    """
    given = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "SDF_"))}
    given |= {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
    } | environment
    run = subprocess.run([sys.executable, "-c", CODE], env=given, capture_output=True, text=True, check=True)
    return run.stdout.strip(), run.stderr


@clause("4.4")
def test_weights_are_downloaded_by_those_who_ask_once_and_on_from_where_it_stopped(server, tmp_path):
    out, _ = found(server, tmp_path)
    assert out.startswith("MissingModel §4.4 the weights of sd15 are not here") and server.sent == []
    for words in (str(tmp_path / "hub"), REPOSITORY, "4.3 GB", "SDF_DOWNLOAD=1", "SDF_MODEL_DIR"):
        assert words in out

    server.broken.add(NETWORK)
    out, err = found(server, tmp_path, SDF_DOWNLOAD="1")
    assert re.search(rf"downloading {REPOSITORY}: 6 files, 0\.000\d+ GB, to {tmp_path / 'hub'}\n", err)
    assert "MissingModel" in out and "could not be downloaded" in out
    out, _ = found(server, tmp_path)
    assert "is not whole: it lacks unet" in out

    server.broken.clear()
    server.sent.clear()
    out, err = found(server, tmp_path, SDF_DOWNLOAD="1")
    assert len(out) == 64 and server.sent == [NETWORK] and "Fetching 6 files" in err
    server.sent.clear()
    again, err = found(server, tmp_path, HF_HUB_OFFLINE="1")
    assert again == out and server.sent == [] and "downloading" not in err


@clause("4.4")
def test_why_a_download_fails(server, tmp_path):
    def why(status: int = 200, **environment: str) -> str:
        server.status = status
        return found(server, tmp_path, SDF_DOWNLOAD="1", **environment)[0]

    assert f"licence has to be accepted at https://huggingface.co/{REPOSITORY}" in why(403)
    assert "500" in why(500)
    assert "offline" in why(HF_HUB_OFFLINE="1")
    server.sizes[NETWORK] = 10**15
    assert "takes 1e+06 GB and" in why() and server.sent == []
