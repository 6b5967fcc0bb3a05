"""Metadata both ways, the mark of a generative model, and files that are edited without being decoded."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from pictures import opened, picture, saved
from PIL import Image, ImageCms

import pillow_plugin
from sdf_format.cli import main as cli
from sdf_format.container import chunks, mark
from sdf_format.errors import BadInput, SdfError

clause = pytest.mark.clause
RDF = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">%b</rdf:RDF></x:xmpmeta>'
TITLE = (
    b'<rdf:Description rdf:about="" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:Headline="Harbour"/>'
)
ALL = dict(icc_profile=b"profile" * 9, xmp=RDF % TITLE, text={"Title": "Hafen", "Comment": "grün"}, dpi=(300, 150))


def chunks_of(data: bytes) -> dict[str, bytes]:
    stream = io.BytesIO(data)
    return {c.type.decode(): chunks.read(stream, c) for c in chunks.scan(stream).chunks[1:]}


@pytest.fixture(scope="module")
def rich() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(picture(), quality=10, exif=exif, preview=32, **ALL)


@clause("3.4")
def test_text_comment_and_resolution_have_pillows_names(rich):
    image = opened(rich)
    assert image.info["dpi"] == (300, 150) and image.getexif()[0x0112] == 6
    assert image.info["comment"] == "grün".encode() and image.text == ALL["text"]
    assert opened(saved(picture(), quality=5, comment=b"abc")).text == {"Comment": "abc"}
    assert opened(saved(picture(), quality=5, comment="abc", text={"a": "b"})).text == {"a": "b", "Comment": "abc"}


@pytest.mark.parametrize(
    ("tags", "dpi"),
    [
        ({0x011A: 72, 0x0128: 2}, (72, 72)),
        ({0x011A: 100, 0x011B: 50, 0x0128: 3}, (254, 127)),
        ({0x011A: 72, 0x0128: 1}, None),
        ({0x011A: 0}, None),
        ({}, None),
    ],
)
def test_resolution_follows_exif(tags, dpi):
    exif = Image.Exif()
    exif.update(tags)
    assert opened(saved(picture(16, 16), quality=1, exif=exif.tobytes())).info.get("dpi") == dpi


@clause("3.4")
def test_bodies_are_compressed_where_that_is_smaller():
    found = chunks_of(saved(picture(), quality=5, xmp=b"<x/>" * 500, text={"k": "v"}))
    assert found["x"][0] == 1 and len(found["x"]) < 100
    assert found["t"] == b"\0k\0v"


def test_everything_of_an_sdf_file_is_kept_when_it_is_saved_again_unless_dropped(rich):
    image = opened(rich)
    image.load()
    again = opened(saved(image, quality=5))
    assert {k: again.info[k] for k in again.info} == image.info
    dropped = opened(saved(image, quality=5, exif=None, icc_profile=None, xmp=b"", text=None))
    assert [*dropped.info] == ["xmp"] and dropped.info["xmp"] == mark.PACKET
    # other images follow Pillow's convention
    assert set(opened(saved(image.copy(), quality=5)).info) == {"icc_profile", "xmp"}


def test_a_profile_for_other_colours_is_not_inherited():
    cmyk = picture(32, 32).convert("CMYK")
    cmyk.info["icc_profile"] = bytes(16) + b"CMYK" + bytes(200)
    assert "icc_profile" not in opened(saved(cmyk, quality=5)).info
    grey = picture(32, 32).convert("L")
    grey.info["icc_profile"] = bytes(16) + b"GRAY" + bytes(200)
    assert "icc_profile" in opened(saved(grey, quality=5)).info
    lab = picture(32, 32)
    lab.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert "icc_profile" not in opened(saved(lab, quality=5)).info


# --- the mark


@clause("3.7")
def test_every_picture_is_marked_and_no_byte_of_the_file_is():
    data = saved(picture(), quality=10)
    assert set(chunks_of(data)) == {"D"}
    image = opened(data)
    assert image.getxmp()["xmpmeta"]["RDF"]["Description"]["DigitalSourceType"] == mark.TERM
    assert set(chunks_of(saved(picture(), quality=10, xmp=image.info["xmp"]))) == {"D"}


@clause("3.7")
def test_the_mark_joins_a_packet_and_leaves_it(rich):
    image = opened(rich)
    described = image.getxmp()["xmpmeta"]["RDF"]["Description"]
    assert {k: v for d in described for k, v in d.items()} == {
        "about": "",
        "Headline": "Harbour",
        "DigitalSourceType": mark.TERM,
    }
    assert mark.removed(image.info["xmp"]) == ALL["xmp"] and b"DigitalSource" not in rich


@clause("3.7")
def test_a_packet_that_states_its_source_stays():
    namespace = b'xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" i:DigitalSourceType'
    packet = RDF % TITLE.replace(b"photoshop:Headline", namespace)
    assert opened(saved(picture(16, 16), quality=1, xmp=packet)).info["xmp"] == packet


@clause("3.7")
@pytest.mark.parametrize("packet", [b"<x:xmpmeta/>", "<rdf/>".encode("utf-16")])
def test_what_is_no_rdf_is_stored_and_gives_way_to_the_mark(packet):
    data = saved(picture(16, 16), quality=1, xmp=packet)
    assert packet in data and opened(data).info["xmp"] == mark.PACKET


def test_the_mark_can_be_turned_off(rich):
    pillow_plugin.register_sdf_opener(mark=False)
    try:
        assert opened(rich).info["xmp"] == ALL["xmp"] and "xmp" not in opened(saved(picture(16, 16), quality=1)).info
    finally:
        pillow_plugin.register_sdf_opener()


def test_the_command_line_shows_the_mark_and_writes_it(rich, tmp_path, capsys):
    file, png = tmp_path / "x.sdf", tmp_path / "x.png"
    file.write_bytes(rich)
    assert cli.main(["info", "--json", str(file)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["digital_source_type"] == mark.TERM
    assert cli.main(["decode", str(file), str(png)]) == 0
    with Image.open(png) as image:
        assert (
            mark.TERM.encode() in image.info["xmp"] and image.getexif()[0x0112] == 6 and image.text["Title"] == "Hafen"
        )


# --- files that are not decoded


def test_an_untouched_file_is_copied_to_the_byte(rich, tmp_path):
    assert saved(opened(rich)) == rich
    path = tmp_path / "x.sdf"
    path.write_bytes(rich)
    with Image.open(path) as image:
        image.save(path)  # over itself
        assert image.size == (96, 64)
    assert path.read_bytes() == rich
    with Image.open(path) as image:
        image.save(tmp_path / "y.SDF")
    assert (tmp_path / "y.SDF").read_bytes() == rich


@clause("3.2")
def test_metadata_is_edited_without_coding_the_picture_again(rich):
    others = [(k.encode(), body) for k, body in chunks_of(rich).items() if k not in "Dt"]
    unknown = chunks.build(
        chunks.scan(io.BytesIO(rich)).header,
        chunks_of(rich)["D"],
        [*others, (b"t", b"\0Title\0Hafen"), (b"q", b"of tomorrow")],
    )
    edited = saved(opened(unknown), exif=None, comment="new")
    before, after = chunks_of(unknown), chunks_of(edited)
    assert {k: after[k] for k in "pqDix"} == {k: before[k] for k in "pqDix"} and "e" not in after
    assert opened(edited).text == {"Title": "Hafen", "Comment": "new"}
    assert (np.asarray(opened(edited)) == np.asarray(opened(rich))).all()


def test_changed_pixels_and_other_keywords_are_coded_again(rich):
    assert saved(opened(rich), quality=30) != rich
    image = opened(rich)
    image.putpixel((0, 0), (1, 2, 3))
    assert chunks_of(saved(image, quality=5))["D"] != chunks_of(rich)["D"]


def test_a_damaged_file_is_not_copied(rich):
    for damaged in (rich[:-9], rich[:-9] + bytes([rich[-9] ^ 1]) + rich[-8:]):
        with pytest.raises(SdfError):
            saved(opened(damaged))


# --- several frames


def test_one_frame_may_be_saved_with_save_all_and_several_are_refused():
    assert saved(picture(), quality=5, save_all=True) == saved(picture(), quality=5)
    with pytest.raises(BadInput, match="one picture, not 3"):
        saved(picture(), save_all=True, append_images=[picture(), picture()])
    image = opened(saved(picture(), quality=5))
    assert (getattr(image, "n_frames", 1), getattr(image, "is_animated", False)) == (1, False)
    with pytest.raises(EOFError):
        image.seek(1)
