"""What a file may ask for: pixels, model calls, memory (§8)."""

from __future__ import annotations

import math
import resource
import subprocess
import sys
import tracemalloc

import pytest
from pictures import opened

import pillow_plugin
from sdf_format import codec
from sdf_format.coding.entropy import Receiver
from sdf_format.container import chunks, parameters
from sdf_format.container.header import Header
from sdf_format.diffusion import schedule
from sdf_format.errors import BadFile, TooMuch
from sdf_format.models.loading import MODELS
from sdf_format.payloads import lowbit

clause = pytest.mark.clause

WEIGHTS = bytes.fromhex(MODELS[1].sha256)[:4]


def demanding(side: int, steps: int, payload: int = 900) -> bytes:
    """A file of about 1 kB that asks for many pixels and model calls."""
    fields = parameters.Diffc(schedule.LAW, dict(steps=steps, end=64, slope=20, bend=0))
    return chunks.build(Header(side, side, "RGB", 0, 1, WEIGHTS, parameters.build(fields)), bytes(payload))


@clause("8")
def test_a_small_file_cannot_ask_for_hours():
    data = demanding(8192, 255)
    assert len(data) < 1000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TooMuch, match="258 model calls for 67108864 pixels"):
        codec.decode_bytes(data, most_memory=math.inf)
    # kB: the weights, and no latents
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


@clause("8")
def test_a_small_file_cannot_ask_for_many_pixels():
    with pytest.raises(TooMuch, match="16384x16384 pixels"):
        codec.decode_bytes(demanding(16384, 1))
    with pytest.raises(TooMuch, match="64x64 pixels"):
        codec.decode_bytes(demanding(64, 1), most_pixels=4095)


@clause("8")
def test_the_work_limit_is_the_callers():
    data = demanding(96, 20, 100)
    calls = 20 + MODELS[1].denoiser[1]
    codec.decode_bytes(data, most_work=calls * 96 * 96)
    with pytest.raises(TooMuch, match="most_work"):
        codec.decode_bytes(data, most_work=calls * 96 * 96 - 1)
    try:
        pillow_plugin.register_sdf_opener(most_work=1000)
        with pytest.raises(OSError, match="more than the 1000 that are allowed"):
            opened(data).load()
    finally:
        pillow_plugin.register_sdf_opener()
    opened(data).load()


@clause("8")
def test_a_demanding_file_is_opened_and_verified_in_little_memory(tmp_path):
    path = tmp_path / "x.sdf"
    path.write_bytes(demanding(9000, 255))
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))\n"
        "import pillow_plugin; from PIL import Image\n"
        f"im = Image.open({str(path)!r}); assert im.size == (9000, 9000); im.verify()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@clause("8")
def test_a_short_payload_of_levels_cannot_ask_for_memory():
    """Of 2^28 values that the header asks for, only the rows that the payload reaches are made."""
    tracemalloc.start()
    with pytest.raises(BadFile):
        lowbit.code_values(Receiver(b"\x55" * 900), (1 << 20, 64, 4), 4, parameters.NEIGHBOURS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000
