"""Flat pictures, drawings and text: what a quality promises holds for them as it does for photographs.

Small pictures: what is wrong with large ones of the kind is wrong with these.
"""

from __future__ import annotations

import io
import itertools
import math

import numpy as np
import pytest
import torch
from pictures import opened, picture, psnr, saved
from PIL import Image, ImageDraw, ImageFont
from test_diffusion import MODELS, SHAPE, Gaussian

from sdf_format import codec
from sdf_format.coding.rcc import tree
from sdf_format.container import chunks, parameters
from sdf_format.diffusion import fit, schedule
from sdf_format.payloads import diffc, diffc_encoder, stepwise

clause = pytest.mark.clause
QUALITIES = (1, *range(10, 101, 10))


def flat(colour: tuple[int, int, int], width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def dotted() -> Image.Image:
    image = flat((0, 0, 0), 64, 64)
    image.paste((255, 255, 255), (30, 30, 34, 34))
    return image


def stripes() -> Image.Image:
    x = np.arange(48)[None, :, None]
    row = np.where(x % 8 < 4, [[0, 0, 255]], [[255, 0, 0]]).astype(np.uint8)
    return Image.fromarray(np.repeat(row, 48, axis=0))


def text() -> Image.Image:
    image = flat((255, 255, 255), 64, 48)
    draw = ImageDraw.Draw(image)
    for line, words in enumerate(("Sphinx of", "black qua", "rtz judge")):
        draw.text((1, 15 * line), words, "black", font=ImageFont.load_default(size=14))
    return image


def drawing() -> Image.Image:
    image = flat((255, 230, 120), 80, 64)
    draw = ImageDraw.Draw(image)
    draw.ellipse((15, 12, 55, 45), fill=(20, 60, 160))
    draw.line((0, 63, 79, 0), fill=(20, 60, 160), width=3)
    return image


def gradient() -> Image.Image:
    y, x = np.mgrid[:64, :64]
    return Image.fromarray(np.stack([x * 4, y * 4, np.full_like(x, 96)], axis=2).astype(np.uint8))


def noisy() -> Image.Image:
    """Nearly flat."""
    noise = np.random.default_rng(0).integers(-2, 3, (48, 48, 3))
    return Image.fromarray((np.array([200, 30, 60]) + noise).clip(0, 255).astype(np.uint8))


PICTURES = {
    "white": flat((255, 255, 255), 64, 64),
    "black": flat((0, 0, 0), 16, 16),
    "red pixel": flat((255, 0, 0), 1, 1),
    "blue sliver": flat((0, 0, 255), 33, 7),
    "green": flat((0, 255, 0), 80, 48),
    "dot": dotted(),
    "text": text(),
    "drawing": drawing(),
    "gradient": gradient(),
    "nearly flat": noisy(),
}


def mean_error(a: Image.Image, b: Image.Image) -> float:
    """Of the samples, 0..255."""
    return float(np.abs(np.asarray(a, float) - np.asarray(b, float)).mean())


@pytest.mark.parametrize("quality", [10, 50, 100])
@pytest.mark.parametrize("name", PICTURES)
def test_a_quality_means_on_any_picture_what_it_means_on_photographs(name, quality):
    """An average photograph of Kodak has a mean error of about 16.6, 9.1 and 3.9 at these qualities."""
    image = PICTURES[name]
    data = saved(image, quality=quality)
    assert mean_error(opened(data), image) <= 1.5 * {10: 16.6, 50: 9.1, 100: 3.9}[quality]
    assert len(data) <= 100 + 3 * -(-image.width // 16) * -(-image.height // 16) * 256  # no more than the samples have


@pytest.mark.parametrize(
    "image", [PICTURES["white"], stripes(), text(), picture(64, 48)], ids=["white", "stripes", "text", "scene"]
)
def test_more_quality_is_never_further_off(image):
    found = [psnr(opened(saved(image, quality=quality)), image) for quality in QUALITIES]
    assert all(b >= a for a, b in itertools.pairwise(found)), found


def test_stripes_take_more_bits_than_values():
    """One bit a latent value once ended them at 8 dB, at any quality."""
    image = stripes()
    data = saved(image, quality=80)
    assert psnr(opened(data), image) > 20
    payload = chunks.scan(io.BytesIO(data)).find(b"D")
    assert 8 * payload.length > 3 * image.width * image.height


@pytest.mark.parametrize("budget", [60, 1000])
def test_a_budget_does_not_leave_a_flat_picture_to_luck(budget):
    image = PICTURES["black"]
    data = saved(image, target_bytes=budget)
    assert len(data) <= budget and psnr(opened(data), image) > 30


@clause("4.2.3")
def test_steps_planned_one_by_one_come_near_the_ideal_rate():
    """Against independent Gaussians, whose rate is a closed form."""
    model = Gaussian(MODELS["anisotropic"])
    latent, dimensions = model.sample(1), math.prod(SHAPE)
    fields = diffc_encoder.EncodeOptions().smallest()
    goal = stepwise.Goal(1.05, math.inf, 8 * dimensions, lambda fields, length: True)

    def capacity(bits: int, dimensions: int) -> float:
        return tree.capacity(bits, 12, dimensions)

    made, payload, account = stepwise.encode(latent, fields, model, capacity, goal, lambda *_: None)
    plan = schedule.expand(made.form, made.schedule, 8 * len(payload), SHAPE[2] * SHAPE[3])
    assert plan.levels[-1] == 67 / 64 and len(plan.bits) == len(account)
    assert 1.0 < sum(plan.bits) / model.rate(plan.levels[-1]) < 1.35
    received = diffc.decode(payload, len(payload), SHAPE, made, (parameters.MEAN, 1), model, lambda *_: None)
    ideal = (model.variance / (1 + model.variance * math.exp(plan.levels[-1]))).mean()
    # A displacement of fixed length has less noise than was planned for, where a step has many bits for its values.
    assert 0.85 < float((received - latent).square().mean()) / float(ideal) < 1.03


def test_what_is_sent_after_the_nearest_prediction_is_not_kept():
    """A model that is right at one level and lost above it."""
    latent = torch.ones(1, 16, 8, 8)

    class Lost:
        def predict(self, y: torch.Tensor, sigma: float) -> torch.Tensor:
            return latent * (0.999 if sigma > math.exp(0.5) else 0.5)

    goal = stepwise.Goal(3.0, math.inf, 10**6, lambda fields, length: True)
    fields = diffc_encoder.EncodeOptions().smallest()
    made, payload, account = stepwise.encode(
        latent, fields, Lost(), lambda bits, d: tree.capacity(bits, 12, d), goal, lambda *_: None
    )
    levels = schedule.expand(made.form, made.schedule, 8 * len(payload), 64).levels
    assert levels[-1] < -1 and len(levels) == len(account) == made.schedule["steps"]


def test_no_step_has_more_bits_than_values():
    dimensions = 100
    for here, error in itertools.product((None, -64, 0, 300), (1e-6, 1.0, 1e4, 1e9)):
        off = torch.full((1, 1, 1, 1), math.sqrt(error))
        kl = stepwise.kl_of_steps(off, torch.zeros_like(off), here, None)
        level, bits = stepwise.next_step(here, kl, lambda b, d: tree.capacity(b, 12, d), dimensions)
        assert 1 <= bits <= dimensions and -16 * 64 <= level <= 16 * 64 and (here is None or level > here)


def test_channels_that_the_path_leaves_alone_cost_nothing():
    path = torch.tensor([0.0, math.exp(2.0)]).view(1, 2, 1, 1)
    off = torch.ones(1, 2, 1, 1)
    kl = stepwise.kl_of_steps(off, torch.zeros_like(off), 64, path)
    assert kl(128) == pytest.approx((math.exp(2) - math.e) / (2 * math.log(2)))
    assert kl(192) == pytest.approx((2 * math.exp(3) - math.exp(2) - math.e) / (2 * math.log(2)))


def test_errors_hide_in_busy_pictures_alone():
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert diffc_encoder.busy(noise)
    assert not any(
        diffc_encoder.busy(np.asarray(image)) for image in [*PICTURES.values(), stripes()] if image.width > 1
    )


def test_a_law_that_cannot_follow_its_levels_is_known():
    curve = fit.MmseCurve(10_000, 1e4, [-7.0, -4.5], [5e3, 10.0])
    bits = schedule.law_bits(8, 400)

    def capacity(bits: int, dimensions: int) -> float:
        return tree.capacity(bits, 12, dimensions)

    ideal = fit.ideal_levels(curve, bits, capacity)
    assert fit.overgrant(curve, tuple(ideal), bits, capacity) <= 1
    assert fit.overgrant(curve, tuple(level + 3 for level in ideal), bits, capacity) > 10


def test_where_the_mean_error_comes_down_to_what_was_promised():
    curve = fit.MmseCurve(10, 1.0, [-7.0, -4.5, -2.0], [1.0, 0.5, 0.1], sample_errors=[40.0, 20.0, 10.0])
    assert curve.level_of(50) == -7 and curve.level_of(20) == -4.5 and math.isinf(curve.level_of(5))
    assert curve.level_of(math.sqrt(200)) == pytest.approx(-3.25)
    assert fit.MmseCurve(10, 1.0, [-7.0], [1.0]).level_of(1) == -math.inf


@pytest.mark.parametrize("wish", [dict(quality=50), dict(target_bytes=400)], ids=str)
def test_photographs_keep_the_law(wish):
    """Four bytes of header, and the schedule that was measured to be as good as any; no walk is walked twice."""
    calls = []

    class Counted:
        def __init__(self, model):
            self.model = model

        def __getattr__(self, name):
            return getattr(self.model, name)

        def predict(self, y, sigma):
            calls.append(sigma)
            return self.model.predict(y, sigma)

    encoded = codec.encode(np.asarray(picture(96, 64)), wrap_model=Counted, **wish)
    assert encoded.fields.form == schedule.LAW
    assert len(calls) <= len(encoded.steps) + 6  # the curve's measurements, and no more
