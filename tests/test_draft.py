"""`draft` and `thumbnail`: fewer steps and fewer pixels of the payload.  Speed is measured by `sdf bench plugin`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pictures import opened, picture, psnr, saved
from PIL import Image

import pillow_plugin
from sdf_format import codec
from sdf_format.models import dct

clause = pytest.mark.clause


@pytest.fixture(scope="module")
def source() -> Image.Image:
    return picture(333, 215)


@pytest.fixture(scope="module")
def data(source) -> bytes:
    return saved(source, target_bytes=5000)


def calls(data: bytes, act) -> int:
    """Model calls that `act` makes of the opened file."""
    totals: list[int] = []
    pillow_plugin.register_sdf_opener(progress=lambda done, total: totals.append(total))
    try:
        act(opened(data))
    finally:
        pillow_plugin.register_sdf_opener()
    return max(totals) - 1  # the first step needs none


@pytest.mark.parametrize(
    ("box", "reduce"), [((41, 26), 8), ((42, 26), 4), ((80, 50), 4), ((83, 54), 2), ((166, 107), 2), ((5, 5), 8)]
)
def test_a_draft_is_at_least_the_box_and_has_the_format_of_its_reduction(data, box, reduce):
    image = opened(data)
    assert image.draft(None, box) == ("RGB", (0, 0, 333 / reduce, 215 / reduce))
    assert image.size == (-(-333 // reduce), -(-215 // reduce))
    assert image.draft(None, (1, 1)) is None  # the first call counts


@pytest.mark.parametrize("box", [(167, 100), (100, 108), (333, 215), None, (0, 5)])
def test_no_draft_where_nothing_is_gained(data, box):
    image = opened(data)
    assert image.draft("L", box) is None and (image.size, image.mode) == ((333, 215), "RGB")


@pytest.mark.parametrize("reduce", [2, 4, 8])
def test_a_draft_looks_like_the_picture_with_a_third_of_the_model_calls(data, source, reduce):
    image = opened(data)
    image.draft(None, (333 // reduce, 215 // reduce))
    image.load()
    assert psnr(image, source.resize(image.size, box=(0, 0, 333, 215), reducing_gap=3.0)) > 17
    assert 3 * calls(data, lambda im: (im.draft(None, (333 // reduce, 215 // reduce)), im.load())) <= calls(
        data, lambda im: im.load()
    )


def test_thumbnails_of_every_mode():
    for mode in ("L", "LA", "RGBA"):
        image = picture(200, 160).convert(mode)
        if mode.endswith("A"):
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        small = opened(saved(image, quality=5))
        small.thumbnail((25, 20))
        assert (small.mode, small.size) == (mode, (25, 20))
        if mode.endswith("A"):
            assert (
                np.abs(
                    np.asarray(small)[..., -1].astype(int)
                    - np.asarray(image.resize((25, 20), reducing_gap=3.0))[..., -1]
                ).max()
                <= 8
            )


def test_after_the_load_and_in_copies_there_is_no_draft(data):
    image = opened(data)
    image.draft(None, (80, 50))
    image.load()
    assert image.draft(None, (40, 25)) is None and image.copy().size == image.size
    image.thumbnail((20, 20))
    assert image.size == (20, 13)


@clause("4.3")
def test_low_frequencies_alone_make_the_smaller_picture():
    y, x = np.mgrid[:64, :96]
    pixels = torch.from_numpy(np.stack([np.sin(x / 20), np.cos(y / 17), np.sin((x + y) / 23)])).float()[None]
    coefficients = dct.forward(pixels)
    for reduce in (1, 2, 4, 8):
        expected = torch.nn.functional.avg_pool2d(pixels, reduce)
        assert (dct.inverse(coefficients, reduce) - expected).abs().max() < (1e-5 if reduce == 1 else 0.05)


def test_reduced_is_the_mean_of_squares_with_borders_repeated():
    samples = np.array([[0, 4, 9], [2, 6, 9], [1, 1, 5]], np.uint8)
    assert codec.reduced(samples, 2).tolist() == [[3, 9], [1, 5]]
    assert codec.reduced(np.dstack([samples] * 3), 4).shape == (1, 1, 3)
