"""docs/pillow.md says what the plugin does; parts of files and parts of downloads."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path

import numpy as np
import PIL
import pytest
from pictures import opened, picture, psnr, saved
from PIL import Image, ImageFile, ImageMode

from pillow_plugin.save import to_native
from sdf_format.container import chunks, parameters
from sdf_format.diffusion import schedule
from sdf_format.errors import BadInput, Truncated

clause = pytest.mark.clause
DOCUMENT = (Path(__file__).parent.parent / "docs" / "pillow.md").read_text()
PROJECT = (Path(__file__).parent.parent / "pyproject.toml").read_text()


def modes() -> list[tuple[str, str, bool]]:
    """(mode, what it is stored as or "refused", with a transparent value) of the document's table."""
    table = DOCUMENT.split("| mode | is stored as |")[1].split("\n\n")[0]
    found = []
    for names, what in re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", table, re.M):
        if names.startswith("---"):
            continue
        listed = names.split(" with ")[0].split(", ")
        kept = what.startswith("itself")
        stored = (
            listed
            if kept
            else [w for w in what.split(":")[0].split(" ")[0:1]] * len(listed)
            if ", " not in what
            else what.split(", ")
        )
        found += [
            (mode, "refused" if what.startswith("refused") else one, " with " in names)
            for mode, one in zip(listed, stored, strict=True)
        ]
    return found


@pytest.mark.parametrize(("mode", "stored", "transparent"), modes())
def test_modes_are_stored_as_documented(mode, stored, transparent):
    image = Image.new(mode, (8, 8))
    if transparent:
        image.info["transparency"] = (0, 0, 0) if mode == "RGB" else 0
    if stored == "refused":
        with pytest.raises(OSError, match=f"cannot write mode {mode} as SDF"):
            saved(image)
    else:
        native = to_native(image)
        assert native.mode == stored
        if transparent:
            assert native.getchannel("A").getextrema() == (0, 0)


def test_every_mode_of_pillow_is_documented():
    known = {
        "1",
        "L",
        "P",
        "RGB",
        "RGBA",
        "CMYK",
        "YCbCr",
        "LAB",
        "HSV",
        "I",
        "F",
        "LA",
        "PA",
        "RGBX",
        "RGBa",
        "La",
        "I;16",
        "I;16L",
        "I;16B",
        "I;16N",
    }
    assert {mode for mode, *_ in modes()} == known and all(ImageMode.getmode(m) for m in known)


def test_every_keyword_is_documented_and_no_other():
    said = set(
        re.findall(
            r"`(\w+)`",
            " ".join(
                row.split("|")[1] for row in DOCUMENT.split("## Opening")[0].splitlines() if row.startswith("| `")
            ),
        )
    )
    from sdf_format import codec

    options = {f for kind in codec.KINDS.values() for f in kind.options.__dataclass_fields__}
    plugin = {
        "bpp",
        "target_bytes",
        "exif",
        "icc_profile",
        "xmp",
        "comment",
        "dpi",
        "text",
        "save_all",
        "append_images",
        "preview",
        "model",
        "kind",
        "prompt",
        "guidance",
        "device",
        "progress",
    }
    assert said - plugin <= options | {"denoiser"} and plugin <= said


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_a_transparent_value_becomes_alpha_without_loss(mode):
    values = np.random.default_rng(0).integers(0, 3, (24, 24), dtype=np.uint8)
    image = Image.fromarray(values if mode == "LA" else np.dstack([values] * 3))
    image.info["transparency"] = 1 if mode == "LA" else (1, 1, 1)
    again = opened(saved(image, quality=5))
    assert again.mode == mode and ((np.asarray(again.getchannel("A")) == 0) == (values == 1)).all()


# --- parts


@pytest.fixture(scope="module")
def source() -> Image.Image:
    return picture(160, 128)


@pytest.fixture(scope="module")
def data(source) -> bytes:
    return saved(source, target_bytes=1200, steps=5)


@clause("6.2")
def test_every_whole_step_of_a_partial_download_decodes_and_no_half_one_does(data, source, monkeypatch):
    file = chunks.scan(io.BytesIO(data))
    fields, chunk = parameters.parse(file.header), file.find(b"D")
    bits = schedule.expand(fields.form, fields.schedule, 8 * chunk.length, 20 * 16).bits
    ends = [chunk.body + -(-int(end) // 8) for end in np.cumsum(bits)]
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(Truncated, match="first step"):
        opened(data[: ends[0] - 1]).load()
    shown, before = [], b""
    for end in ends:
        image = opened(data[:end])
        assert image.tobytes() != before and opened(data[: end + 1]).size == source.size
        before = image.tobytes()
        shown.append(psnr(image, source))
    assert len(shown) == 5 and shown[-1] == max(shown) and shown[-1] > shown[0] + 3
    assert opened(data).tobytes() == before  # the last step's bytes are all there is, but for the CRC


@pytest.mark.parametrize("piece", [1, 50, 10_000])
def test_a_parser_knows_the_size_from_the_header_and_the_picture_from_all(data, piece):
    parser = ImageFile.Parser()
    known = None
    for start in range(0, len(data), piece):
        parser.feed(data[start : start + piece])
        if parser.image and known is None:
            known = start + piece
            assert (parser.image.size, parser.image.mode) == ((160, 128), "RGB")
    assert known is not None and known <= max(piece, 200)
    assert parser.close().tobytes() == opened(data).tobytes()


def test_a_parser_of_a_partial_download_follows_the_same_rule(data, monkeypatch):
    def fed() -> ImageFile.Parser:
        parser = ImageFile.Parser()
        parser.feed(data[:700])
        return parser

    with pytest.raises(Truncated):
        fed().close()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert fed().close().tobytes() == opened(data[:700]).tobytes()


# --- Pillow


def test_the_installed_pillow_is_in_the_documented_range():
    least, newest = re.search(r"Tested with Pillow ([\d.]+) and ([\d.]+)", DOCUMENT).groups()
    assert f'"pillow>={".".join(least.split(".")[:2])}"' in PROJECT

    def number(version: str) -> tuple[int, ...]:
        return tuple(int(n) for n in version.split(".")[:2])

    assert number(PIL.__version__) >= number(least)
    if number(PIL.__version__)[0] > number(newest)[0]:
        warnings.warn(
            f"Pillow {PIL.__version__} is newer than the newest that the document names, {newest}", stacklevel=1
        )


def test_unknown_keywords_are_ignored_and_wrong_values_are_not():
    assert saved(picture(16, 16), quality=1, optimize=True, progressive=True) == saved(picture(16, 16), quality=1)
    with pytest.raises(BadInput):
        saved(picture(16, 16), quality="best")
