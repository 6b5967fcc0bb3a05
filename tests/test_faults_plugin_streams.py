"""From a file object only what Pillow's documentation demands: read, seek and tell, whatever they answer."""

from __future__ import annotations

import io
import mmap
import sqlite3

import numpy as np
import pytest
from pictures import opened, picture, saved
from PIL import Image, ImageFile

from sdf_format.errors import BadFile, Truncated


@pytest.fixture(scope="module")
def data() -> bytes:
    alpha = picture(48, 32).convert("RGBA")
    alpha.putalpha(Image.fromarray(np.random.default_rng(1).integers(0, 256, (32, 48), dtype=np.uint8)))
    return saved(alpha, quality=5, preview=24, comment="abc " * 20, icc_profile=np.random.default_rng(0).bytes(3000))


class Minimal:
    """What Pillow asks for and no more.  seek answers None, as mmap's before Python 3.13 and that of SQLite's blobs"""

    def __init__(self, data: bytes):
        self._inner = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(size)

    def seek(self, offset: int, whence: int = 0) -> None:
        self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()


class Short(Minimal):
    """Reads fewer bytes than it was asked for, as unbuffered files and sockets may."""

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(min(size, 16) if size >= 0 else 16)


class Arrays(Minimal):
    def read(self, size: int = -1):
        return bytearray(self._inner.read(size))


class Views(Minimal):
    def read(self, size: int = -1):
        return memoryview(self._inner.read(size))


def everything(stream, data: bytes) -> None:
    whole = opened(data)
    image = Image.open(stream, formats=["SDF"])
    assert (image.size, image.mode, image.info) == (whole.size, whole.mode, whole.info)
    assert image.preview.tobytes() == whole.preview.tobytes()
    assert saved(image) == data
    assert image.tobytes() == whole.tobytes()


@pytest.mark.parametrize("kind", [Minimal, Short, Arrays, Views])
def test_minimal_file_objects(data, kind):
    everything(kind(data), data)
    stream = kind(data)
    Image.open(stream, formats=["SDF"]).verify()
    thumbnail = Image.open(kind(data), formats=["SDF"])
    thumbnail.thumbnail((12, 12))
    assert thumbnail.size == (12, 8)
    with pytest.raises(Truncated):
        Image.open(kind(data[:-10]), formats=["SDF"]).verify()
    with pytest.raises(BadFile):
        Image.open(kind(data[:-10] + b"x" + data[-9:]), formats=["SDF"]).load()


@pytest.mark.parametrize("kind", [Minimal, Arrays])
def test_minimal_file_objects_are_identified(data, kind, monkeypatch):
    # The formats that Pillow tries first. Some of the others call more of a file object than Pillow demands of it.
    monkeypatch.setattr(Image, "ID", ["BMP", "DIB", "GIF", "JPEG", "PNG", "SDF"])
    assert Image.open(kind(data)).format == "SDF"


def test_mapped_files_and_blobs(data, tmp_path):
    path = tmp_path / "x.sdf"
    path.write_bytes(data)
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        everything(mapped, data)
    with path.open("rb", buffering=0) as unbuffered:
        everything(unbuffered, data)
    base = sqlite3.connect(":memory:")
    base.execute("create table t (b blob)")
    base.execute("insert into t values (?)", (data,))
    if not hasattr(base, "blobopen"):  # Python 3.10
        return
    with base.blobopen("t", "b", 1, readonly=True) as blob:
        everything(blob, data)


# --- bytes behind a file


@pytest.mark.parametrize(
    "behind",
    [b"\n", b"\0", b"\r\n", bytes(4096), b"<html>", b"\x89SDF"],
    ids=["newline", "zero", "CRLF", "padding", "other", "another"],
)
def test_what_follows_a_file_is_refused_unless_truncated_images_are_wanted(data, behind, monkeypatch):
    with pytest.raises(BadFile, match="follow"):
        opened(data + behind).load()
    with pytest.raises(BadFile, match="follow"):
        opened(data + behind).verify()
    assert opened(data + behind).info == opened(data).info
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    image = opened(data + behind)
    assert image.tobytes() == opened(data).tobytes()
    assert saved(image) == saved(opened(data + behind)) == data  # without what followed
    damaged = data[:-10] + bytes([data[-10] ^ 1]) + data[-9:]
    with pytest.raises(BadFile, match="CRC"):
        opened(damaged + behind).load()
