"""Keywords: numbers of every library are numbers, everything else is refused as `BadInput`; previews; orientation."""

from __future__ import annotations

import fractions
import io
import itertools

import numpy as np
import pytest
from pictures import opened, picture, psnr, saved
from PIL import Image, ImageOps

import pillow_plugin
from sdf_format.errors import BadInput

NAN, INF = float("nan"), float("inf")
HUGE = 10**30
WRONG = [
    "8",
    b"8",
    [8],
    (8,),
    {8: 8},
    object(),
    8j,
    NAN,
    INF,
    -INF,
    -1,
    HUGE,
    True,
    False,
    np.array([8, 8]),
    np.bool_(True),
    1e300,
]


def refused(**options: object) -> None:
    with pytest.raises(BadInput) as caught:
        saved(picture(16, 16), **options)
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, OSError)


@pytest.mark.parametrize("name", ["quality", "bpp", "target_bytes", "seed", "steps", "table", "coder_bits", "effort"])
def test_numbers_of_the_wrong_type_or_size(name):
    for value in WRONG:
        if name != "target_bytes" or value is not HUGE:  # of that many bytes none will be too many
            refused(**{name: value})
    refused(**{name: fractions.Fraction(1, 3)} if name not in ("quality", "bpp") else {name: "x"})
    if name not in ("quality", "bpp"):
        refused(**{name: 1.5})
        refused(**{name: np.float32(1)})


@pytest.mark.parametrize(
    "options",
    [
        dict(model=5),
        dict(model=b"sdf-tiny-1"),
        dict(model=["sdf-tiny-1"]),
        dict(model=True),
        dict(model="no/such/folder"),
        dict(model="a\0b"),
        dict(model=""),
        dict(kind=5),
        dict(kind=["diffc"]),
        dict(coder=5),
        dict(coder=["tree"]),
        dict(coder=b"tree"),
        dict(device=5.5),
        dict(device=["cpu"]),
        dict(device=b"cpu"),
        dict(device=True),
        dict(device="cpu\0"),
        dict(progress=5),
        dict(progress="show"),
        dict(progress=True),
        dict(denoiser=5),
        dict(denoiser=("flow", "3")),
        dict(denoiser=("flow", 3, 3)),
        dict(denoiser=("flow", True)),
        dict(denoiser=("flow", 2.0)),
        dict(denoiser=(3, "flow")),
        dict(denoiser={}),
        dict(denoiser=b"flow"),
        dict(guidance="2"),
        dict(guidance=INF),
        dict(guidance=NAN),
        dict(guidance=-1),
        dict(guidance=(1,)),
        dict(guidance=(1, 2, 3)),
        dict(guidance=(1, "2")),
        dict(guidance=True),
        dict(guidance=1e300),
        dict(guidance=[1, NAN]),
        dict(guidance={1: 2, 3: 4}),
        dict(prompt=5),
        dict(prompt=b"a harbour"),
        dict(prompt=["a"]),
        dict(prompt="\ud800"),
        dict(preview="yes"),
        dict(preview=-1),
        dict(preview=1.5),
        dict(preview=(8, 8)),
        dict(preview=[8]),
        dict(preview=1025),
        dict(preview=NAN),
        dict(preview=b"\1"),
        dict(preview=np.float32(8)),
        dict(save_all=True, append_images=5),
        dict(save_all=True, append_images=[5]),
    ],
    ids=str,
)
def test_values_of_the_wrong_type(options):
    refused(**options)


@pytest.mark.parametrize(
    "options",
    [dict(kind="palette", colours=v) for v in ("8", 1.5, True, 0, NAN)]
    + [dict(kind="palette", groups=v) for v in ("8", 1.5, True, 0)]
    + [dict(kind="palette", dithering=v) for v in ("1", NAN, True, [1])]
    + [dict(kind=k, cleanup=v) for k in ("palette", "lowbit") for v in ("1", 1.5, True, NAN, [1])]
    + [dict(kind="lowbit", bits=v) for v in ("4", 1.5, True, [4])]
    + [dict(kind="lowbit", levels=v) for v in ("4", 4.5, True)]
    + [dict(colours=4), dict(kind="lowbit", colours=4), dict(kind="palette", bits=4)],
    ids=str,
)
def test_values_of_other_kinds(options):
    refused(**options)


def test_numbers_of_other_libraries_are_numbers():
    plain = saved(picture(16, 16), quality=2, seed=3, steps=4, effort=1, coder_bits=9, preview=8, denoiser=("flow", 2))
    assert plain == saved(
        picture(16, 16),
        quality=np.float32(2),
        seed=np.uint32(3),
        steps=np.int64(4),
        effort=np.int8(1),
        coder_bits=np.uint8(9),
        preview=np.int16(8),
        denoiser=("flow", np.int32(2)),
    )
    assert plain == saved(
        picture(16, 16),
        quality=np.array(2),
        seed=np.array(3),
        steps=np.int64(4),
        effort=np.int8(1),
        coder_bits=np.uint8(9),
        preview=np.int16(8),
        denoiser=("flow", np.int32(2)),
    )
    assert saved(picture(16, 16), quality=fractions.Fraction(2)) == saved(picture(16, 16), quality=2)
    assert saved(picture(16, 16), target_bytes=np.int64(60)) == saved(picture(16, 16), target_bytes=60)
    assert saved(picture(16, 16), bpp=np.float64(2)) == saved(picture(16, 16), bpp=2)


@pytest.mark.parametrize(
    "options",
    [
        dict(realism="1"),
        dict(realism=NAN),
        dict(realism=True),
        dict(realism=2),
        dict(denoiser="magic"),
        dict(denoiser=5),
        dict(most_work="5"),
        dict(most_work=-1),
        dict(most_work=True),
        dict(most_work=NAN),
        dict(progress=5),
        dict(device=5.5),
        dict(mark="no"),
    ],
    ids=str,
)
def test_options_of_the_opener_are_checked_when_they_are_set(options):
    with pytest.raises(BadInput):
        pillow_plugin.register_sdf_opener(**options)
    assert Image.open(io.BytesIO(saved(picture(16, 16), quality=1))).load()  # as it was


def test_an_opener_takes_numbers_of_other_libraries():
    data = saved(picture(16, 16), quality=1)
    try:
        pillow_plugin.register_sdf_opener(
            realism=np.float32(0.5), most_work=np.int64(10**9), denoiser=("flow", np.int8(2))
        )
        opened(data).load()
        pillow_plugin.register_sdf_opener(most_work=1e9)
        opened(data).load()
    finally:
        pillow_plugin.register_sdf_opener()


# --- previews


@pytest.mark.parametrize("size", [(256, 256), (256, 100), (200, 256), (64, 48), (3, 2), (2, 2)])
@pytest.mark.parametrize("wanted", [True, 256, 1024])
def test_a_preview_of_a_small_picture_is_smaller_still(size, wanted):
    image = picture(64, 48).resize(size)
    small = opened(saved(image, quality=1, preview=wanted)).preview
    assert small is not None and max(small.size) == max(size) // 2 and small.mode == "RGB"
    if min(size) >= 48:
        assert psnr(small, image.resize(small.size)) > 20


def test_a_preview_keeps_the_size_that_was_asked_for_where_the_picture_is_larger():
    for longest, wanted in ((40, 40), (95, 95), (96, 48), (97, 48)):
        assert max(opened(saved(picture(), quality=1, preview=longest)).preview.size) == wanted
    assert opened(saved(picture(1, 1), quality=1, preview=True)).preview is None  # nothing is smaller


# --- orientation


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(picture(96, 64), quality=5, exif=exif, preview=48)


def test_getexif_of_old_is_there():
    """What easy-thumbnails, sorl-thumbnail and pilkit turn pictures by, as with JPEG, PNG and WebP."""
    found = opened(turned(6))._getexif()
    assert found == {0x0112: 6}
    assert opened(saved(picture(16, 16), quality=1))._getexif() is None
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    exif.get_ifd(0x8769)[0x9003] = "2026:01:01 00:00:00"
    picture(16, 16).save(buffer, "WEBP", exif=exif)
    assert opened(saved(picture(16, 16), quality=1, exif=exif))._getexif() == Image.open(buffer)._getexif()
    loaded = opened(turned(6))
    loaded.load()
    assert loaded._getexif() == {0x0112: 6}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_transpose_of_a_thumbnail_and_of_a_picture(orientation):
    data = turned(orientation)
    size = (96, 64) if orientation < 5 else (64, 96)
    assert ImageOps.exif_transpose(opened(data)).size == size
    small = opened(data)
    small.thumbnail((24, 24))
    small = ImageOps.exif_transpose(small)
    assert small.size == ((24, 16) if orientation < 5 else (16, 24)) and small.getexif().get(0x0112, 1) == 1
    in_place = opened(data)
    ImageOps.exif_transpose(in_place, in_place=True)
    again = opened(saved(in_place, quality=5))
    assert again.size == size and again.getexif().get(0x0112, 1) == 1


def test_keywords_in_every_order(tmp_path):
    """Two rates exclude each other, of whatever values."""
    for one, other in itertools.permutations({"quality": 5, "bpp": 1.0, "target_bytes": 90}.items(), 2):
        refused(**dict((one, other)))
