"""`sdf encode` and `sdf decode` and what a picture brings along: kept, or a line says what was not."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from command import sdf
from pictures import opened, picture, saved
from PIL import Image

from sdf_format.container import chunks, compression, mark
from sdf_format.inspect import conformance

CPU = ("--device", "cpu")
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:title="Hafen"/>'
    b"</rdf:RDF></x:xmpmeta>"
)
ORIENTATION, ARTIST, DESCRIPTION = 0x0112, 0x013B, 0x010E


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def exif(**more) -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION], tags[ARTIST] = 6, "me"
    return tags.tobytes()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def late_png(image: Image.Image) -> bytes:
    """A PNG whose EXIF, XMP, and text stand behind its pixels, as ImageMagick and exiftool write it."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", dpi=(300, 300))
    data = buffer.getvalue()
    late = chunk(b"eXIf", exif()[6:]) + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    late += chunk(b"tEXt", b"Title\0Hafen") + chunk(b"tEXt", b"Comment\0am Abend")
    return data[:-12] + late + data[-12:]


def encoded(name: str, *options: str) -> Image.Image:
    done = sdf("encode", name, "out.sdf", "--quality", "5", "--force", *options, *CPU)
    assert done.status == 0, done.said
    return opened(Path("out.sdf").read_bytes())


def test_what_stands_behind_the_pixels_of_a_png_is_kept(here):
    Path("x.png").write_bytes(late_png(picture(32, 24)))
    image = encoded("x.png")
    tags = image.getexif()
    assert (tags[ORIENTATION], tags[ARTIST]) == (6, "me")
    assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    assert b"Hafen" in image.info["xmp"]
    assert image.text == {"Title": "Hafen", "Comment": "am Abend"} and image.info["comment"] == b"am Abend"


@pytest.mark.parametrize("words", [b"caf\xc3\xa9", b"caf\xe9"])
def test_comment_and_resolution_of_a_jpeg_are_kept(here, words):
    picture(32, 24).save("x.jpg", comment=words, dpi=(240, 240))
    image = encoded("x.jpg")
    assert image.info["comment"].decode() == "café" and image.info["dpi"] == pytest.approx((240, 240))


def test_a_gif_keeps_its_comment_and_a_tiff_its_tags(here):
    picture(32, 24).convert("P").save("x.gif", comment=b"a gif")
    assert encoded("x.gif").info["comment"] == b"a gif"
    tags = Image.Exif()
    tags[ARTIST], tags[DESCRIPTION], tags[700] = "me", "a harbour", XMP
    tags.get_ifd(0x8769)[0x9003] = "2026:11:26 12:00:00"
    tags.get_ifd(0x8825)[1] = "N"
    whole = Image.Exif()
    whole.load(tags.tobytes())  # Pillow writes directories that are loaded, and not those that were only added to
    picture(32, 24).save("x.tif", exif=whole, dpi=(150, 150))
    image = encoded("x.tif")
    found = image.getexif()
    assert (found[ARTIST], found[DESCRIPTION]) == ("me", "a harbour") and found.get_ifd(0x8769)[
        0x9003
    ] == "2026:11:26 12:00:00"
    assert (
        found.get_ifd(0x8825)[1] == "N" and 273 not in found and 256 not in found
    )  # where a TIFF's strips lie is no metadata
    assert b"Hafen" in image.info["xmp"] and image.info["dpi"] == pytest.approx((150, 150))


def test_iptc_that_is_not_kept_is_said(here):
    block = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x09\x1c\x02\x78\0\x04abcd\0"
    buffer = io.BytesIO()
    picture(32, 24).save(buffer, "JPEG")
    data = buffer.getvalue()
    Path("x.jpg").write_bytes(data[:2] + b"\xff\xed" + struct.pack(">H", len(block) + 2) + block + data[2:])
    done = sdf("encode", "x.jpg", "x.sdf", "--quality", "5", *CPU)
    assert done.status == 0 and "IPTC" in done.said


def test_a_profile_for_other_colours_is_said(here):
    """A picture in CMYK becomes one in RGB, which its profile knows nothing of."""
    profile = b"\0" * 16 + b"CMYK" + b"\0" * 108
    picture(32, 24).convert("CMYK").save("x.jpg", icc_profile=profile)
    done = sdf("encode", "x.jpg", "x.sdf", "--quality", "5", *CPU)
    assert done.status == 0 and "colour profile, which is for CMYK" in done.said
    assert "icc_profile" not in opened(Path("x.sdf").read_bytes()).info


def test_strip_leaves_nothing_but_the_picture(here):
    Path("x.png").write_bytes(late_png(picture(48, 32)))
    assert [k for k in encoded("x.png", "--strip").info if k != "xmp"] == []
    rich = saved(
        picture(48, 32),
        quality=5,
        device="cpu",
        exif=exif(),
        xmp=XMP,
        text={"Author": "me"},
        comment="secret",
        preview=16,
        icc_profile=b"p" * 200,
    )
    Path("x.sdf").write_bytes(rich)
    assert (
        sdf("encode", "x.sdf", "y.sdf", "--strip", "--device", "nosuch").status == 0
    )  # and the picture is not coded again
    plain = opened(Path("y.sdf").read_bytes())
    assert plain.info == {"xmp": mark.PACKET} and plain.preview is None
    assert (np.asarray(plain) == np.asarray(opened(rich))).all()
    assert sdf("encode", "x.sdf", "z.sdf", "--strip", "--quality", "1", *CPU).status == 0
    assert opened(Path("z.sdf").read_bytes()).info == {"xmp": mark.PACKET}


def damaged_gif() -> bytes:
    """The second picture's head is cut; Pillow's reader raises an IndexError there."""
    buffer = io.BytesIO()
    pages = [picture(16, 16, seed).quantize() for seed in range(2)]
    pages[0].save(buffer, "GIF", save_all=True, append_images=pages[1:])
    return buffer.getvalue()[: buffer.getvalue().rindex(b"\x2c") + 8]


@pytest.mark.parametrize(("name", "data"), [("x.gif", damaged_gif())])
def test_what_pillow_raises_of_a_damaged_picture_is_said_in_a_line(here, name, data):
    Path(name).write_bytes(data)
    done = sdf("encode", name, "x.sdf", *CPU)
    assert done.status == 1 and done.said.startswith(f"sdf encode: {name}: ") and done.said.count("\n") == 1
    assert not Path("x.sdf").exists()


@pytest.mark.parametrize("name", ["palette-16-1", "lowbit-4-neighbours", "sound-mono-44100", "prompt"])
def test_every_kind_is_stripped_without_its_model(here, name):
    original = (conformance.SUITE / "files" / f"{name}.sdf").read_bytes()
    Path("x.sdf").write_bytes(original)
    done = sdf("encode", "x.sdf", "y.sdf", "--strip")
    assert done.status == 0 and ("prompt stays" in done.said) == (name == "prompt")
    streams = [io.BytesIO(data) for data in (original, Path("y.sdf").read_bytes())]
    payloads = [chunks.read(s, chunks.scan(s).find(chunks.DATA_CHUNK)) for s in streams]
    assert payloads[0] == payloads[1]


@pytest.mark.parametrize(
    ("name", "options"), [("x.gif", {}), ("x.tif", {}), ("x.png", {}), ("x.webp", {"lossless": True})]
)
def test_animations_and_documents_are_said(here, name, options):
    pages = [picture(32, 24, seed) for seed in range(3)]
    pages[0].save(name, save_all=True, append_images=pages[1:], **options)
    done = sdf("encode", name, "x.sdf", "--quality", "5", *CPU)
    assert done.status == 0 and "3" in done.said and "first" in done.said and done.data == b""
    pages[0].save("one.png")
    assert "first" not in sdf("encode", "one.png", "one.sdf", "--quality", "5", *CPU).said


# --- decode


def rich(**more) -> bytes:
    given = {"exif": exif(), "xmp": XMP, "text": {"Title": "Hafen"}, "comment": "am Abend", "dpi": (300, 300), **more}
    return saved(picture(32, 24), quality=5, device="cpu", **given)


@pytest.mark.clause("3.7")
@pytest.mark.parametrize("target", ["x.png", "x.tif", "x.webp"])
def test_xmp_that_gives_way_to_the_mark_is_said(here, target):
    with_packet = saved(picture(32, 24), quality=5, device="cpu", xmp="<rdf/>".encode("utf-16"))
    for data, said in ((with_packet, True), (saved(picture(32, 24), quality=5, device="cpu"), False), (rich(), False)):
        Path("x.sdf").write_bytes(data)
        done = sdf("decode", "x.sdf", target, "--force", *CPU)
        assert done.status == 0 and ("cannot take the mark" in done.said) == said


def test_a_tiff_has_xmp_and_the_mark_and_everything_else(here):
    Path("x.sdf").write_bytes(rich())
    assert sdf("decode", "x.sdf", "x.tif", *CPU).status == 0
    with Image.open("x.tif") as image:
        assert mark.TERM.encode() in image.info["xmp"] and b"Hafen" in image.info["xmp"]
        tags = image.getexif()
        assert tags[ARTIST] == "me" and image.info["dpi"] == pytest.approx((300, 300))
    Path("plain.sdf").write_bytes(saved(picture(32, 24), quality=5, device="cpu"))
    assert sdf("decode", "plain.sdf", "plain.tif", *CPU).status == 0
    with Image.open("plain.tif") as image:
        assert mark.TERM.encode() in image.info["xmp"]


@pytest.mark.parametrize(
    ("target", "left"),
    [
        ("x.jpg", ["text"]),
        ("x.webp", ["text", "comment"]),
        ("x.bmp", ["EXIF", "XMP", "text", "comment"]),
        ("x.png", []),
    ],
)
def test_a_line_says_what_a_format_does_not_take(here, target, left):
    Path("x.sdf").write_bytes(rich())
    done = sdf("decode", "x.sdf", target, *CPU)
    assert done.status == 0 and all(word in done.said for word in left) and (bool(left) == bool(done.said))


def long_exif() -> bytes:
    tags = Image.Exif()
    tags[ARTIST] = "m" * 70_000
    return tags.tobytes()


def test_metadata_too_long_for_jpeg_is_a_warning(here):
    Path("x.sdf").write_bytes(rich(exif=long_exif(), xmp=XMP.replace(b"Hafen", b"H" * 70_000), dpi=None))
    Path("y.sdf").write_bytes(rich())
    done = sdf("decode", "x.sdf", "x.jpg", *CPU)
    assert done.status == 0 and "EXIF" in done.said and "XMP" in done.said and "JPEG" in done.said
    with Image.open("x.jpg") as image:
        assert image.size == (32, 24) and image.info["comment"] == b"am Abend" and not image.getexif()
    assert sdf("decode", "--to", "out", "--type", "jpg", "x.sdf", "y.sdf", *CPU).status == 0


def test_decode_can_leave_metadata_out(here):
    Path("x.sdf").write_bytes(rich(exif=long_exif(), icc_profile=b"p" * 200, dpi=None))
    done = sdf("decode", "x.sdf", "x.jpg", "--strip", *CPU)
    assert (done.status, done.said) == (0, "")
    with Image.open("x.jpg") as image:
        assert not {"exif", "comment", "icc_profile", "xmp", "dpi"} & image.info.keys()


@pytest.mark.parametrize("target", ["x.png", "x.jpg", "x.tif", "x.avif", "x.webp", "x.gif", "x.jp2"])
def test_no_metadata_keeps_a_picture_from_being_written(here, target):
    """EXIF that is no TIFF, and a resolution that no format can say."""
    from PIL import features

    if target == "x.avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    tags = Image.Exif()
    tags[0x011A], tags[0x011B], tags[0x0128] = 1e300, 1e300, 2
    data = tags.tobytes()
    for body in (b"nothing of the kind", data):
        Path("x.sdf").write_bytes(
            saved(picture(32, 24), quality=5, device="cpu", exif=body)
            if body != b"nothing of the kind"
            else with_exif(body)
        )
        done = sdf("decode", "x.sdf", target, "--force", *CPU)
        assert done.status == 0, done.said
        with Image.open(target) as image:
            assert image.size == (32, 24)


def with_exif(body: bytes) -> bytes:
    """A file with EXIF that Pillow's own save might refuse."""
    stream = io.BytesIO(saved(picture(32, 24), quality=5, device="cpu"))
    file = chunks.scan(stream)
    payload = chunks.read(stream, file.find(b"D"))
    return chunks.build(file.header, payload, [(b"e", compression.pack_metadata(body, "exif"))])


def test_a_thumbnail_stands_upright(here):
    tags = Image.Exif()
    tags[ORIENTATION] = 6
    for preview in (None, 40):
        Path("x.sdf").write_bytes(saved(picture(96, 64), quality=5, device="cpu", exif=tags, preview=preview))
        assert sdf("thumbnail", "x.sdf", "t.png", "--size", "24", "--force").status == 0
        with Image.open("t.png") as small, Image.open("x.sdf") as whole:
            assert small.size == (16, 24) and ORIENTATION not in small.getexif()
            turned = whole.transpose(Image.Transpose.ROTATE_270).resize(small.size)
            assert np.abs(np.asarray(small, float) - np.asarray(turned, float)).mean() < 25
