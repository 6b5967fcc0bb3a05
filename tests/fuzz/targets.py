"""What fuzzing calls: each target takes any bytes, and an exception out of it is a finding.

Without atheris, so that tests can replay.
"""

from __future__ import annotations

import contextlib
import io
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
from independent import REFUSALS, facts, same
from PIL import Image

import pillow_plugin
from sdf_format.container import chunks, parameters
from sdf_format.container.header import Header, build_header, parse_header
from sdf_format.errors import SdfError
from sdf_format.inspect import dump, report, validate

WORK = 300 * 64 * 64  # pixels times model calls that an input may ask for: about half a second


def mended(data: bytes) -> bytes:
    """The same chunks with the CRCs that their bytes call for, as far as there are chunks: what keeps a fuzzer from
    running into every CRC.
    """
    made, offset, prefix = data[:10], 10, data[8:10]
    while offset < len(data):
        try:
            kind, length, head = chunks.head(io.BytesIO(data), offset)
        except SdfError:
            break
        end = offset + head + length
        if end + 4 > len(data):
            break
        made += data[offset:end] + struct.pack(">I", zlib.crc32((prefix if kind == b"H" else b"") + data[offset:end]))
        offset = end + 4
    return made + data[offset:]


def accepted(data: bytes) -> bool:
    """Whether all that needs no model finds nothing wrong."""
    stream = io.BytesIO(data)
    try:
        validate.check(stream, chunks.scan(stream))
    except SdfError:
        return False
    return True


def container_target(data: bytes) -> None:
    """Reading, `sdf info` and `sdf dump` never fail otherwise than they say; headers are written back as they were; a
    second parser agrees.
    """
    good = accepted(data)
    try:
        said = report.describe(io.BytesIO(data), len(data))
    except SdfError:
        said = None
    assert good == bool(said and said["valid"])
    shown = list(dump.rows(io.BytesIO(data), len(data)))
    assert b"".join(row.data for row in shown) == data
    if not good:
        return
    file = chunks.scan(io.BytesIO(data))
    body = chunks.read(io.BytesIO(data), file.chunks[0], data[8:10])
    assert build_header(file.header) == body
    fields = parameters.parse(file.header)
    assert (
        parameters.parse(
            parse_header(build_header(Header(**{**vars(file.header), "parameters": parameters.build(fields)})))
        )
        == fields
    )
    if file.header.kind == parameters.DIFFC:
        with contextlib.suppress(KeyError):
            try:
                theirs = facts(data)
            except REFUSALS as error:
                raise AssertionError(f"the second parser refuses it: {error!r}") from error
            assert not same(said, theirs), same(said, theirs)


class Gaussian:
    """The posterior mean for latents that are standard normal: a model that costs nothing."""

    def __init__(self, channels: int, cell: int):
        self.channels, self.cell = channels, cell

    def encode(self, pixels: np.ndarray):
        import torch

        height, width = (n // self.cell for n in pixels.shape[:2])
        mean = (
            torch.from_numpy(pixels).float().reshape(height, self.cell, width, self.cell * 3).mean(dim=(1, 3)) / 64 - 2
        )
        return mean.expand(1, self.channels, height, width).contiguous()

    def decode(self, latent) -> np.ndarray:
        grey = ((latent[0].mean(dim=0) + 2) * 64).clamp(0, 255).byte().numpy()
        return np.repeat(np.repeat(np.dstack([grey] * 3), self.cell, axis=0), self.cell, axis=1)

    def predict(self, y, sigma: float):
        return y / (1 + sigma**2)


@contextlib.contextmanager
def gaussian_models() -> Iterator[None]:
    """Every model that can be found is a `Gaussian`; files may ask for little work."""
    with mock.patch(
        "sdf_format.models.loading.load", lambda found, device: Gaussian(found.spec.channels, found.spec.cell)
    ):
        pillow_plugin.register_sdf_opener(device="cpu", most_work=WORK)
        try:
            yield
        finally:
            pillow_plugin.register_sdf_opener()


def image_target(data: bytes) -> None:
    """`Image.open().load()` gives a picture or an OSError; what it gives a picture for is sound, also to `verify`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(io.BytesIO(data), formats=["SDF"])
            image.load()
        except (OSError, Image.DecompressionBombError):
            return
        assert len(image.tobytes()) == image.width * image.height * len(image.getbands())
        assert accepted(data)
        with Image.open(io.BytesIO(data), formats=["SDF"]) as again:
            again.verify()
        with Image.open(io.BytesIO(data), formats=["SDF"]) as again:
            again.thumbnail((8, 8))
            again.load()


TARGETS = {"container": container_target, "image": image_target}
