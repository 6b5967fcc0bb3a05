"""Metadata that cost much or hide something: EXIF, bombs within limits, skippable frames, the mark; previews."""

from __future__ import annotations

import io
import struct

import hostile_files
import pytest
import zstandard
from pictures import opened, picture, saved
from PIL import ExifTags, Image

from sdf_format.container import alpha, chunks, compression, exif, mark, metadata
from sdf_format.errors import BadFile, BadInput
from sdf_format.inspect import validate

clause = pytest.mark.clause
MIB = 1 << 20


def scanned(data: bytes) -> tuple[io.BytesIO, chunks.File]:
    return io.BytesIO(data), chunks.scan(io.BytesIO(data))


# --- EXIF


def tags(**values) -> bytes:
    made = Image.Exif()
    for name, value in values.items():
        made[ExifTags.Base[name]] = value
    return made.tobytes()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (dict(XResolution=144, YResolution=72, ResolutionUnit=2), (144, 72)),
        (dict(XResolution=100), (100, 100)),
        (dict(XResolution=100, ResolutionUnit=3), (254, 254)),
        (dict(XResolution=100, ResolutionUnit=1), None),
        (dict(XResolution=0), None),
        (dict(Orientation=6), None),
    ],
)
def test_resolution_is_read_without_pillow(values, expected):
    for block in (tags(**values), tags(**values)[6:]):
        assert exif.resolution(block) == expected


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [(3, "HH", 300), (4, "I", 70000), (5, "II", 36.5), (9, "i", 5), (11, "f", 72.5), (12, "d", 72.25), (2, "4s", None)],
)
def test_resolution_of_any_type_of_number(order, kind, raw, expected):
    value = struct.pack(
        order + raw,
        *(
            {"HH": (300, 0), "I": (70000,), "II": (73, 2), "i": (5,), "f": (72.5,), "d": (72.25,), "4s": (b"72\0\0",)}[
                raw
            ]
        ),
    )
    far = len(value) > 4
    entry = struct.pack(f"{order}HHI", exif.X, kind, 4 if kind == 2 else 1) + (
        struct.pack(f"{order}I", 26) if far else value
    )
    block = (
        (b"II*\0" if order == "<" else b"MM\0*")
        + struct.pack(f"{order}IH", 8, 1)
        + entry
        + bytes(4)
        + (value if far else b"")
    )
    assert exif.resolution(block) == ((expected, expected) if expected else None)


def test_every_cut_of_exif_is_read_or_not_but_never_an_error():
    whole = tags(XResolution=144, YResolution=72, ResolutionUnit=2, Make="x" * 40)
    for length in range(len(whole)):
        assert exif.resolution(whole[:length]) in (None, (144, 72), (144, 144))
        assert exif.harmless(whole[:length])
    for offset in range(6, len(whole)):
        for value in (0, 255):
            changed = whole[:offset] + bytes([value]) + whole[offset + 1 :]
            exif.resolution(changed), exif.harmless(changed)


def test_what_cameras_write_is_harmless():
    made = Image.Exif()
    made[0x010E], made[0x0112], made[0x011A] = "description", 6, 300
    made.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    made.get_ifd(ExifTags.IFD.Exif)[0x927C] = bytes(60_000)  # a maker's note
    assert exif.harmless(made.tobytes()) and exif.harmless(made.tobytes()[6:])
    assert exif.harmless(b"") and exif.harmless(b"nonsense") and exif.harmless(b"Exif\0\0")


def test_what_only_costs_is_not():
    size = 4 * MIB
    assert not exif.harmless(b"Exif\0\0" * 700_000)
    assert not exif.harmless(hostile_files.tiff([(0xC000 + n, 1, size - 1, 0) for n in range(200)], size))
    overlaps = hostile_files.tiff([(0xC000 + n, 1, size - 1, 0) for n in range(200)], size)
    assert not exif.harmless(b"MM*\0" + overlaps[4:])  # which Pillow reads all the same
    assert not exif.harmless(hostile_files.tiff([(n, 3, 1, 0) for n in range(65535)], size))
    assert not exif.harmless(hostile_files.tiff([(0x011A, 5, 524_275, 26)], size))
    chain = b"".join(hostile_files.ifd([], 8 + 6 * (n + 1)) for n in range(1000))
    assert not exif.harmless(b"MM\0*\0\0\0\x08" + chain)


@pytest.mark.parametrize("name", ["exif-prefixes", "exif-200-overlaps", "exif-500k-rationals"])
def test_tags_of_harmful_exif_are_not_read_and_nothing_is_lost(name):
    image = opened(hostile_files.exif_files()[name])
    with pytest.warns(UserWarning, match="EXIF"):
        assert len(image.getexif()) == 0
    assert len(image.info["exif"]) == 4 * MIB and "dpi" not in image.info


# --- sizes


@clause("3.4")
def test_metadata_of_a_file_have_a_limit_together():
    texts = [(b"t", hostile_files.packed(4 * MIB, b"a", b"%d\0" % n)) for n in range(4)]
    within = hostile_files.file(*texts)
    stream, file = scanned(within)
    validate.check(stream, file)
    assert len(metadata.read(stream, file)["text"]) == 4
    stream, file = scanned(hostile_files.file(*texts, (b"t", b"\0k\0v")))
    for read in (lambda: validate.check(stream, file), lambda: metadata.read(stream, file)):
        with pytest.raises(BadFile, match="16777216") as caught:
            read()
        assert caught.value.offset == file.chunks[5].offset


@clause("3.4")
def test_no_file_is_written_that_breaks_the_limit():
    text = {str(n): "a" * (4 * MIB - 2) for n in range(4)}
    with pytest.raises(BadInput, match="16777216"):
        metadata.build(text=text, exif=b"II*\0")
    assert len(metadata.build(text=text)) == 4
    with pytest.raises(BadInput, match="16777216"):
        saved(picture(16, 16), text=text, comment="and this")


@clause("3.4", "3.5")
@pytest.mark.parametrize(
    "name", ["exif-skippable", "icc-skippable", "xmp-skippable", "text-skippable-first", "alpha-skippable"]
)
def test_skippable_frames_are_no_frames(name):
    stream, file = scanned(hostile_files.rule_files()[name])
    with pytest.raises(BadFile, match="exactly one zstandard frame"):
        validate.check(stream, file)


@clause("3.4")
def test_a_frame_is_exactly_one_whatever_its_size():
    for data in (b"", b"a", bytes(300_000), bytes(range(256)) * 5000):
        frame = compression.compress(data)
        assert compression.decompress(frame, len(data), "here") == data
        for wrong in (
            frame[:-1],
            frame + b"\0",
            frame + frame,
            hostile_files.SKIPPABLE + frame,
            frame + hostile_files.SKIPPABLE,
        ):
            with pytest.raises(BadFile):
                compression.decompress(wrong, 1 << 22, "here")
        if data:
            with pytest.raises(BadFile, match="more than"):
                compression.decompress(frame, len(data) - 1, "here")


@clause("3.5")
@pytest.mark.parametrize("number", range(4))
def test_alpha_by_strips_is_the_whole(number):
    """Larger than a strip, of a width that no piece fits."""
    import numpy as np

    plane = np.random.default_rng(0).integers(0, 256, (700, 4099), np.uint8)
    filtered = plane
    for axis in alpha.FILTERS[number]:
        filtered = np.diff(filtered, axis=axis, prepend=np.uint8(0))
    body = bytes([number]) + zstandard.ZstdCompressor(level=1, write_content_size=False).compress(filtered.tobytes())
    assert (alpha.decode(body, 700, 4099) == plane).all()
    alpha.check(body, 700, 4099)
    for height in (699, 701):
        for read in (alpha.decode, alpha.check):
            with pytest.raises(BadFile, match="bytes"):
                read(body, height, 4099)


# --- the mark

RDF = b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
TITLE = b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="x"/>'
IPTC = b'xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
STATED = [
    RDF
    + b"><rdf:Description "
    + IPTC
    + b' i:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"/></rdf:RDF>',
    RDF
    + b"><rdf:Description "
    + IPTC
    + b"><i:DigitalSourceType>\n http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture\n</i:DigitalSourceType></rdf:Description></rdf:RDF>",
    b"<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description "
    + IPTC
    + b"><i:DigitalSourceType rdf:resource='http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture'/></rdf:Description></rdf:RDF>",
]
UNSTATED = [
    RDF + b"><!-- DigitalSourceType -->" + TITLE + b"</rdf:RDF>",
    RDF + b'><!-- Iptc4xmpExt:DigitalSourceType="http://example.org/mine" -->' + TITLE + b"</rdf:RDF>",
    RDF
    + b"><rdf:Description xmlns:dc='http://purl.org/dc/elements/1.1/' dc:title='DigitalSourceType=\"http://x\"'/></rdf:RDF>",
    RDF + b"><rdf:Description xmlns:o='http://example.org/' o:DigitalSourceType='http://other.example'/></rdf:RDF>",
    RDF + b"/>",
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + RDF + b"/></x:xmpmeta>",
    b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description r:about=""/></r:RDF>',
    RDF + b">" + TITLE + b"</rdf:RDF  >",
    b"<x xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:RDF>" + TITLE + b"</rdf:RDF></x>",
    b"<x xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:RDF></rdf:RDF></x>",
    RDF + b" a='/>'></rdf:RDF>",
    b"<?xpacket begin='\xef\xbb\xbf' id='W5M0MpCehiHzreSzNTczkc9d'?>"
    + RDF
    + b">"
    + TITLE
    + b"</rdf:RDF>"
    + b" " * 2000
    + b"<?xpacket end='w'?>",
]
NO_RDF = [
    b"x",
    b"<x/>",
    RDF + b">",
    b"</rdf:RDF>",
    b"DigitalSourceType",
    b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>",
    b"\xff\xfe",
    b"\0" * 100,
    hostile_files.file()[:50],
    b"<!-- " + RDF + b"></rdf:RDF> -->",
]


def parsed(xmp: bytes) -> str | None:
    """The digital source type, by a parser that shares nothing with ours."""
    from defusedxml import ElementTree

    root = ElementTree.fromstring(xmp.strip())
    name = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
    for element in root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"):
        if name in element.attrib:
            return element.attrib[name]
        if (child := element.find(name)) is not None:
            return (child.text or "").strip() or child.attrib["{http://www.w3.org/1999/02/22-rdf-syntax-ns#}resource"]
    return None


@clause("3.7")
@pytest.mark.parametrize("packet", STATED)
def test_a_packet_that_states_a_source_stays(packet):
    assert mark.added(packet) == packet and mark.removed(packet) == packet
    assert mark.stated(packet) == "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture" == parsed(packet)


@clause("3.7")
@pytest.mark.parametrize("packet", UNSTATED)
def test_nothing_but_a_statement_keeps_the_mark_out(packet):
    marked = mark.added(packet)
    assert parsed(marked) == mark.stated(packet) == mark.TERM
    assert mark.added(marked) == marked
    again = mark.removed(marked)
    assert mark.added(again) == marked and mark.TERM.encode() not in again
    assert again == packet or packet.endswith(b"/>") or packet.endswith(b"/></x:xmpmeta>")


@clause("3.7")
@pytest.mark.parametrize("packet", NO_RDF)
def test_what_is_no_rdf_gives_way_to_the_mark(packet):
    assert mark.added(packet) == mark.PACKET and mark.stated(packet) == mark.TERM
    assert opened(hostile_files.file((b"x", b"\0" + packet))).info["xmp"] == mark.PACKET


# --- previews


def shown(preview: bytes, **fields) -> Image.Image | None:
    return opened(hostile_files.file((b"p", preview), **({"width": 2048, "height": 2048} | fields))).preview


@clause("3.6")
def test_previews_of_usual_making_are_shown():
    square, scene = Image.new("RGB", (512, 512), "teal"), picture(200, 100)
    for image, fields in ((square, {}), (scene, {"width": 400, "height": 200})):
        for form, options in (
            ("JPEG", {}),
            ("JPEG", {"progressive": True}),
            ("JPEG", {"exif": tags(Make="x"), "dpi": (72, 72), "comment": "c"}),
            ("WEBP", {}),
            ("WEBP", {"lossless": True}),
        ):
            assert shown(hostile_files.coded(image, form, **options), **fields).size == image.size
    thin = Image.new("RGB", (1024, 1), "teal")
    assert shown(hostile_files.coded(thin, "JPEG"), width=65535, height=20).size == (1024, 1)


@clause("3.6")
def test_previews_of_many_scans_other_sides_and_other_proportions_are_passed_over():
    assert shown(hostile_files.many_scans(20_000)) is None
    assert shown(hostile_files.claiming(6_000), width=12_000, height=12_000) is None
    assert shown(hostile_files.coded(Image.new("RGB", (1024, 1)), "JPEG")) is None
    assert shown(hostile_files.coded(Image.new("RGB", (1, 1024)), "JPEG"), width=3000, height=2000) is None
    ten = hostile_files.coded(picture(512, 512), "JPEG", progressive=True)
    assert 3 < ten.count(b"\xff\xda") <= 10 and shown(ten) is not None


@clause("3.6")
def test_a_preview_in_cmyk_keeps_its_colours():
    """Adobe's segment says that its values are inverted, and stays."""
    image = Image.new("RGB", (512, 512), (200, 30, 60))
    small = shown(hostile_files.coded(image.convert("CMYK"), "JPEG", quality=95))
    assert all(abs(a - b) < 12 for a, b in zip(small.getpixel((9, 9)), (200, 30, 60), strict=True))
