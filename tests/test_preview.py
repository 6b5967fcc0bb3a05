"""The preview chunk and what comes of it: thumbnails without a model."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from pictures import opened, picture, psnr, saved
from PIL import Image, ImageFile

from sdf_format.container import chunks
from sdf_format.errors import BadInput, Truncated

clause = pytest.mark.clause


@pytest.fixture(scope="module")
def source() -> Image.Image:
    return picture(300, 200)


@pytest.fixture(scope="module")
def data(source) -> bytes:
    return saved(source, target_bytes=3000, preview=128)


def with_preview(data: bytes, body: bytes) -> bytes:
    """The file with another preview."""
    stream = io.BytesIO(data)
    file = chunks.scan(stream)
    return chunks.build(file.header, chunks.read(stream, file.find(b"D")), [(b"p", body)])


def coded(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


@clause("3.6")
def test_a_thumbnail_comes_from_the_preview_and_loads_no_torch(data, source, tmp_path):
    (tmp_path / "x.sdf").write_bytes(data)
    code = (
        "import sys, pillow_plugin\nfrom PIL import Image\n"
        f"with Image.open({str(tmp_path / 'x.sdf')!r}) as im:\n    im.thumbnail((64, 64))\n    "
        f"im.save({str(tmp_path / 'x.png')!r})\n"
        "print({'torch', 'numpy'} & set(sys.modules))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "set()"
    )
    with Image.open(tmp_path / "x.png") as small:
        assert small.size == (64, 43) and psnr(small, source.resize((64, 43), reducing_gap=3.0)) > 28


@clause("3.6")
def test_a_preview_is_counted_in_the_bytes_and_comes_first(data):
    assert 0.97 * 3000 <= len(data) <= 3000
    file = chunks.scan(io.BytesIO(saved(picture(300, 200), quality=10, preview=True, text={"a": "b"})))
    assert [c.type for c in file.chunks] == [b"H", b"p", b"t", b"D"]
    assert opened(data).preview.size == (128, 85)


def test_what_is_larger_than_the_preview_comes_from_the_payload(data):
    image = opened(data)
    assert image.draft(None, (200, 190)) is None and image.size == (300, 200)
    assert image.draft(None, (140, 100))[1] == (0, 0, 150, 100)
    assert image.size == (150, 100) and image.load() and image.size == (150, 100)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_previews_have_the_mode_of_the_picture(mode):
    image = picture(160, 120).convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    small = opened(saved(image, quality=5, preview=40)).preview
    assert (small.mode, small.size) == (mode, (40, 30))
    if mode.endswith("A"):
        assert np.abs(np.asarray(small)[..., -1].astype(int) - np.asarray(image.resize((40, 30)))[..., -1]).max() < 12


@clause("3.6")
def test_a_preview_that_breaks_a_rule_is_passed_over(data, source):
    good = with_preview(data, coded(source.resize((60, 40)), "JPEG"))
    assert opened(good).preview.size == (60, 40)
    wrong = [
        b"",
        b"RIFFjunk",
        coded(source.resize((60, 40)), "PNG"),
        coded(source.resize((60, 48)), "JPEG"),
        coded(source, "JPEG"),
        coded(source.resize((60, 40)), "WEBP")[:-20],
        coded(source.resize((60, 40)), "JPEG").ljust((1 << 20) + 1, b"\0"),
    ]
    for body in wrong:
        image = opened(with_preview(data, body))
        assert image.preview is None
        image.draft(None, (60, 40))
        assert image.size == (75, 50)  # a quarter, from the payload
    flipped = bytearray(good)
    flipped[good.index(b"JFIF") + 40] ^= 1
    assert opened(bytes(flipped)).preview is None


@clause("3.6")
def test_a_truncated_file_without_a_whole_step_shows_its_preview_where_allowed(data, source, monkeypatch):
    file = chunks.scan(io.BytesIO(data))
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for length in (file.chunks[1].end, file.find(b"D").body):
        image = opened(data[:length])
        image.load()
        assert image.size == source.size and psnr(image, source) > 20
    with pytest.raises(Truncated):
        opened(data[: file.chunks[1].end - 1]).load()  # not even the preview is whole
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
    with pytest.raises(Truncated):
        opened(data[: file.chunks[1].end]).load()


@pytest.mark.parametrize("wanted", [-1, 1025, "big", 0.5])
def test_previews_that_cannot_be(wanted):
    with pytest.raises(BadInput, match="preview"):
        saved(picture(), preview=wanted)


@pytest.mark.parametrize("wanted", [False, None, 0])
def test_no_preview_where_none_is_wanted(wanted):
    image = opened(saved(picture(), quality=5, preview=wanted))
    assert image.preview is None and image.draft(None, (20, 20)) is not None
