"""Metadata: nothing lost, nothing kept that was deleted, nothing of any content that keeps a picture from opening."""

from __future__ import annotations

import copy
import functools
import io
import struct
import warnings

import numpy as np
import pytest
from chunk_pieces import bodies, with_metadata
from pictures import opened, picture, saved
from PIL import ExifTags, Image, ImageCms, ImageOps

from sdf_format.errors import BadInput, SdfError

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" '
    b'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:Headline="Harbour"/></rdf:RDF></x:xmpmeta>'
)


@pytest.fixture(scope="module")
def plain() -> bytes:
    return saved(picture(32, 32), quality=1)


def camera() -> bytes:
    """EXIF as cameras write it: a maker's note, GPS and a thumbnail, offsets from one to the other."""
    small = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(small, "JPEG")
    thumbnail = small.getvalue()

    def entry(tag: int, kind: int, count: int, value: int | bytes) -> bytes:
        return struct.pack("<HHI", tag, kind, count) + (value if isinstance(value, bytes) else struct.pack("<I", value))

    maker, note, resolution = 200, 300, 250
    gps, second, jpeg = 400, 500, 600
    data = bytearray(jpeg + len(thumbnail))
    data[:8] = b"II*\0" + struct.pack("<I", 8)
    first = [
        entry(0x010F, 2, 6, maker),
        entry(0x0112, 3, 1, struct.pack("<HH", 6, 0)),
        entry(0x011A, 5, 1, resolution),
        entry(0x011B, 5, 1, resolution),
        entry(0x0128, 3, 1, struct.pack("<HH", 2, 0)),
        entry(0x8769, 4, 1, note),
        entry(0x8825, 4, 1, gps),
    ]
    table = struct.pack("<H", len(first)) + b"".join(first) + struct.pack("<I", second)
    data[8 : 8 + len(table)] = table
    data[maker : maker + 6] = b"Canon\0"
    data[resolution : resolution + 8] = struct.pack("<II", 72, 1)  # one value for both directions
    data[note : note + 18] = struct.pack("<H", 1) + entry(0x927C, 7, 4, b"note") + bytes(4)
    data[gps : gps + 18] = struct.pack("<H", 1) + entry(0x0001, 2, 2, b"N\0\0\0") + bytes(4)
    ifd1 = struct.pack("<H", 2) + entry(0x0201, 4, 1, jpeg) + entry(0x0202, 4, 1, len(thumbnail)) + bytes(4)
    data[second : second + len(ifd1)] = ifd1
    data[jpeg:] = thumbnail
    return b"Exif\0\0" + bytes(data)


def thumbnail_in(exif: bytes) -> bytes:
    tags = Image.Exif()
    tags.load(exif)
    first = tags.get_ifd(ExifTags.IFD.IFD1)
    tags.fp.seek(first[0x0201])
    return tags.fp.read(first[0x0202])


# --- dpi


def test_dpi_changes_its_three_tags_alone(plain):
    exif = camera()
    for number in (240, 300, 72):  # again and again
        again = opened(saved(opened(plain), exif=exif, dpi=(number, number / 2)))
        assert again.info["dpi"] == (number, number / 2)
        exif = again.info["exif"]
        tags = again.getexif()
        assert (tags[0x010F], tags[0x0112], tags[0x0128]) == ("Canon", 6, 2) and len(tags) == 7
        assert tags.get_ifd(ExifTags.IFD.Exif)[0x927C] == b"note" and tags.get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"
        assert thumbnail_in(exif) == thumbnail_in(camera())
        assert Image.open(io.BytesIO(thumbnail_in(exif))).size == (8, 8)
        assert len(exif) < len(camera()) + 150


def test_dpi_without_exif_and_with_one_that_says_nothing_of_it(plain):
    for exif in (None, b"", Image.Exif(), b"MM\0*\0\0\0\x08\0\0\0\0\0\0", b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"):
        assert opened(saved(opened(plain), exif=exif, dpi=(299.5, 1200))).info["dpi"] == (299.5, 1200)


@pytest.mark.parametrize(
    "dpi",
    [
        (0, 1),
        (-1, 1),
        (float("inf"), 1),
        (float("nan"), 1),
        (1e300, 1),
        300,
        (300,),
        (1, 2, 3),
        "72",
        ("72", "72"),
        (True, True),
        {1: 2},
    ],
    ids=str,
)
def test_senseless_dpi_is_refused(plain, dpi):
    with pytest.raises(BadInput, match="dpi"):
        saved(opened(plain), dpi=dpi)


def test_dpi_of_numpy_and_of_fractions_are_numbers(plain):
    assert opened(saved(opened(plain), dpi=(np.float32(72.5), np.int64(300)))).info["dpi"] == (72.5, 300)
    assert opened(saved(opened(plain), dpi=np.array([96, 96]))).info["dpi"] == (96, 96)
    with Image.open(io.BytesIO(jpeg_with_dpi())) as jpeg:
        assert opened(saved(opened(plain), dpi=jpeg.info["dpi"])).info["dpi"] == (144, 144)


def jpeg_with_dpi() -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x011A], exif[0x011B], exif[0x0128] = 144, 144, 2
    picture(16, 16).save(buffer, "JPEG", exif=exif, dpi=(144, 144))
    return buffer.getvalue()


# --- what counts as empty


def test_exif_that_holds_gps_alone_is_not_empty(plain):
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    assert len(exif) == 0
    assert opened(saved(opened(plain), exif=exif)).getexif().get_ifd(ExifTags.IFD.GPSInfo) == {1: "N"}
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[0x9003] = "2026:01:01 00:00:00"
    assert opened(saved(opened(plain), exif=exif)).getexif().get_ifd(ExifTags.IFD.Exif) == {
        0x9003: "2026:01:01 00:00:00"
    }
    assert "exif" not in opened(saved(opened(plain), exif=Image.Exif())).info
    assert "exif" not in opened(saved(opened(with_metadata(plain, (b"e", camera()))), exif=Image.Exif())).info


# --- large metadata after the file is closed


@pytest.fixture
def large(plain, tmp_path):
    path = tmp_path / "large.sdf"
    path.write_bytes(saved(opened(plain), comment=np.random.default_rng(0).bytes(3000).hex(), exif=camera(), xmp=XMP))
    return path


@pytest.mark.parametrize("end", ["with", "close", "verify", "with verify", "caller closes"])
def test_large_metadata_are_there_after_the_file_was_closed(large, end):
    if end == "caller closes":
        with open(large, "rb") as stream:
            image = Image.open(stream)
        with pytest.raises(OSError, match="closed"):
            _ = image.info
        return
    image = Image.open(large)
    if "verify" in end:
        image.verify()
    if end == "close":
        image.close()
    if "with" in end:
        with image:
            pass
    assert len(image.info["comment"]) == 6000 and image.info["exif"] == camera() and b"Harbour" in image.info["xmp"]
    assert (
        image.text["Comment"] == image.info["comment"].decode()
        and image.getexif()[0x010F] == "Canon"
        and image.info["dpi"] == (72, 72)
    )


def test_what_was_put_into_info_is_not_undone_by_closing(large):
    with Image.open(large) as image:
        image.info = {"mine": 1}
    assert image.info == {"mine": 1}


# --- the saved file follows info


@pytest.fixture
def rich(plain) -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    return saved(opened(plain), exif=camera(), icc_profile=profile, xmp=XMP, text={"Title": "Hafen", "Comment": "grün"})


@functools.lru_cache
def loaded(data: bytes) -> Image.Image:
    image = opened(data)
    image.load()
    return image


def states(data: bytes):
    """The image of a file, untouched, loaded, changed."""
    yield opened(data)
    yield copy.deepcopy(loaded(data))
    image = copy.deepcopy(loaded(data))
    image.putpixel((0, 0), (9, 9, 9))
    yield image


def written(image: Image.Image) -> bytes:
    """Saved; of a picture that has to be coded again, with little of it left."""
    changed = not image.tile and image.getpixel((0, 0)) == (9, 9, 9)
    return saved(image, **({"quality": 1} if changed else {}))


def test_what_is_deleted_from_info_is_not_in_the_saved_file(rich):
    for key, kind in (("exif", "e"), ("icc_profile", "i"), ("xmp", "x")):
        for image in states(rich):
            del image.info[key]
            assert kind not in bodies(written(image)) and len(bodies(written(image))) > 3
    for image in states(rich):
        del image.info["comment"]
        assert opened(written(image)).text == {"Title": "Hafen"}
    for image in states(rich):
        del image.info["text"]["Title"]
        assert opened(written(image)).text == {"Comment": "grün"}
    for image in states(rich):
        image.info.pop("text")
        assert opened(written(image)).text == {"Comment": "grün"}  # which info has still
    for image in states(rich):
        image.info.pop("dpi")
        reopened = opened(written(image))
        assert (
            "dpi" not in reopened.info
            and reopened.getexif()[0x010F] == "Canon"
            and thumbnail_in(reopened.info["exif"]) == thumbnail_in(camera())
        )
    for image in states(rich):
        image.info.pop("exif")
        assert "dpi" not in opened(written(image)).info  # which the EXIF had said
    for clear in (lambda i: i.info.clear(), lambda i: setattr(i, "info", {})):
        for image in states(rich):
            clear(image)
            assert set(bodies(written(image))) == {"H", "D"}
            assert set(opened(written(image)).info) == {"xmp"}  # the mark


def test_what_is_put_into_info_is_in_the_saved_file(rich, plain):
    other = b"MM\0*\0\0\0\x08\0\0\0\0\0\0"
    for image in [*states(rich), *states(plain)]:
        image.info |= {
            "exif": other,
            "comment": "new",
            "dpi": (300, 300),
            "icc_profile": bytes(200),
            "xmp": XMP.replace(b"Harbour", b"Lighthouse"),
        }
        image.info.setdefault("text", {})["Author"] = "me"
        reopened = opened(written(image))
        assert reopened.info["dpi"] == (300, 300) and set(reopened.getexif()) == {0x011A, 0x011B, 0x0128}
        assert (
            reopened.text["Author"] == "me"
            and reopened.info["comment"] == b"new"
            and reopened.info["icc_profile"] == bytes(200)
        )
        assert b"Lighthouse" in reopened.info["xmp"] and b"Harbour" not in reopened.info["xmp"]


def test_keywords_stand_above_info(rich):
    for image in list(states(rich))[:2]:
        image.info["comment"] = b"of info"
        assert opened(saved(image, comment="keyword")).info["comment"] == b"keyword"
        assert "comment" not in opened(saved(image, comment=None)).info
        assert opened(saved(image, text={"a": "b"})).text == {"a": "b"}


def test_untouched_metadata_are_copied_to_the_byte(plain):
    odd = with_metadata(
        plain, (b"x", b"not XML at all"), (b"e", b"nonsense"), (b"i", b"no profile"), (b"t", b"a\0b"), (b"t", b"a\0c")
    )
    for image in (opened(odd), *list(states(odd))[:2]):
        _ = image.info
        assert saved(image) == odd
    image = copy.deepcopy(loaded(odd))
    image.putpixel((0, 0), (9, 9, 9))
    assert bodies(written(image))["x"] == bodies(odd)["x"]  # a packet that cannot take the mark is kept as well


# --- any content


def exercise(data: bytes, number: int) -> None:
    """What opening and showing do with metadata, and for every eighth file saving and verifying too."""
    image = opened(data)
    assert image.size == (32, 32)
    info = dict(image.info)
    assert image.getexif() is not None and (image._getexif() is None) == ("exif" not in info)
    if number % 8 == 0:
        assert saved(image) == data
        assert opened(saved(image, comment="new")).info == {
            **info,
            "comment": b"new",
            "text": {**image.text, "Comment": "new"},
        }
        if "exif" not in info:
            assert opened(saved(image, dpi=(72, 72))).info["dpi"] == (72, 72)
        image.verify()


@pytest.mark.filterwarnings("ignore")
def test_every_truncation_of_metadata_opens(plain):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    exif = Image.Exif()
    exif[0x010E], exif[0x0112], exif[0x011A] = "description of some length", 6, 300
    exif.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    for kind, whole in (
        (b"e", camera()),
        (b"e", exif.tobytes()),
        (b"e", exif.tobytes()[6:]),
        (b"i", profile),
        (b"x", XMP),
    ):
        for length in range(len(whole) + 1):
            exercise(with_metadata(plain, (kind, whole[:length])), length)
    for key in ("k", "ключ"):
        for length in range(20):
            exercise(with_metadata(plain, (b"t", key.encode() + b"\0" + b"some text of a file"[:length])), length)


@pytest.mark.filterwarnings("ignore")
def test_thousands_of_corruptions_of_metadata_open(plain):
    rng = np.random.default_rng(0)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    whole = [(b"e", camera()), (b"e", camera()[6:]), (b"i", profile), (b"x", XMP)]
    for number in range(3000):
        kind, good = whole[number % len(whole)]
        bad = bytearray(good)
        for _ in range(rng.integers(1, 8)):
            place = rng.integers(
                len(bad) if kind != b"e" or rng.integers(2) else 120
            )  # of an EXIF rather its first directory
            bad[place] = rng.choice([0, 255, rng.integers(256)])
        if rng.integers(4) == 0:
            del bad[rng.integers(len(bad)) :]
        exercise(with_metadata(plain, (kind, bytes(bad))), number // len(whole))


def test_texts_of_any_bytes_open_and_what_is_no_text_is_said(plain):
    rng = np.random.default_rng(1)
    whole = "Ключ\0Hafen, grün".encode()
    for number in range(len(whole) + 1000):
        bad = bytearray(whole[:number] if number <= len(whole) else whole)
        if number > len(whole):
            for _ in range(rng.integers(1, 5)):
                bad[rng.integers(len(bad))] = rng.integers(256)
        data = with_metadata(plain, (b"t", bytes(bad)))
        image = opened(data)
        assert image.size == (32, 32)
        key, separator, value = bytes(bad).partition(b"\0")
        try:
            expected = {key.decode(): value.decode()} if key and separator else None
        except UnicodeDecodeError:
            expected = None
        if expected is None:
            with pytest.raises(SdfError):
                _ = image.info
        else:
            assert image.text == expected and saved(image) == data


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0MM\0*\0\0",
        b"Exif\0\0",
        b"MM",
        b"II*\0",
        b"II+\0\x08\0\0\0" + bytes(8),
        b"MM\0*\xff\xff\xff\xff",
        b"nonsense",
        b"II*\0\x08\0\0\0\xff\xff" + bytes(100),
        b"II*\0\x08\0\0\0\1\0\x1a\1\5\0\1\0\0\0\xff\xff\xff\xff",
    ],
    ids=repr,
)
def test_odd_exif_opens_loads_and_is_turned(plain, exif):
    image = opened(with_metadata(plain, (b"e", exif)))
    assert image.info["exif"] == exif and "dpi" not in image.info
    assert len(image.getexif()) == 0 or exif.startswith(b"II*\0")
    assert ImageOps.exif_transpose(image).tobytes() == opened(plain).tobytes()


def test_what_getexif_cannot_read_is_said_by_a_warning(plain):
    image = opened(with_metadata(plain, (b"e", b"nonsense")))
    with pytest.warns(UserWarning, match="EXIF"):
        assert len(image.getexif()) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert opened(with_metadata(plain, (b"e", b"nonsense"))).info["exif"] == b"nonsense"  # nobody asked for tags


# --- what is given by keyword


@pytest.mark.parametrize(
    "options",
    [
        dict(exif=b"invalid"),
        dict(exif=b"Exif\0\0"),
        dict(exif=b"Exif\0\0MM\0*\0\0"),
        dict(exif="text"),
        dict(exif=5),
        dict(exif={1: 2}),
        dict(icc_profile="text"),
        dict(icc_profile=5),
        dict(xmp=5),
        dict(xmp={}),
        dict(xmp=[1]),
        dict(text={"a": 5}),
        dict(text={5: "a"}),
        dict(text="abc"),
        dict(text=["a"]),
        dict(text={"a": b"\xff"}),
        dict(text={"": "a"}),
        dict(comment=5),
        dict(comment=b"\xff\xfe"),
        dict(comment=["a"]),
        dict(comment="\ud800"),
        dict(text={"\ud800": "a"}),
    ],
    ids=str,
)
def test_metadata_of_the_wrong_type_are_bad_input(plain, options):
    for image in (opened(plain), picture(16, 16)):
        with pytest.raises(BadInput):
            saved(image, **options)


def test_buffers_are_bytes(plain):
    for kind in (bytes, bytearray, memoryview):
        again = opened(
            saved(opened(plain), exif=kind(camera()), icc_profile=kind(bytes(200)), xmp=kind(XMP), comment=kind(b"abc"))
        )
        assert (again.info["exif"], again.info["icc_profile"], again.info["comment"]) == (
            camera(),
            bytes(200),
            b"abc",
        ) and b"Harbour" in again.info["xmp"]


def test_wrong_types_in_info_are_bad_input_too(plain):
    for key, value in (("exif", 5), ("icc_profile", "text"), ("xmp", 5), ("text", 5), ("comment", 5), ("dpi", "72")):
        image = opened(plain)
        image.info[key] = value
        with pytest.raises(BadInput, match=key.split("_")[0]):
            saved(image)


def test_a_file_of_broken_metadata_says_so_and_is_still_a_picture(plain):
    """Of known size and mode; what breaks a rule of the specification is an error where it is asked for."""
    image = opened(with_metadata(plain, (b"t", b"no separator")))
    assert image.size == (32, 32)
    for ask in (lambda: image.info, lambda: image.verify()):
        with pytest.raises(SdfError, match="no key"):
            ask()
