"""Clean-up of quantised latents (§5.5), against sources whose optimal model is known."""

from __future__ import annotations

import math

import pytest
import torch

from sdf_format.container import parameters
from sdf_format.container.parameters import Cleanup, CleanupFields
from sdf_format.errors import BadFile, BadInput, Unsupported
from sdf_format.payloads import cleanup, lowbit

clause = pytest.mark.clause
SHAPE = (1, 4, 96, 96)


def quiet(done: int, total: int) -> None:
    """No progress wanted."""


class Gaussian:
    """Independent normals of variance 1."""

    def __init__(self):
        self.calls = []

    def predict(self, y: torch.Tensor, sigma: float) -> torch.Tensor:
        self.calls.append(sigma)
        return y / (1 + sigma * sigma)


class Spikes:
    """Values -1 and 1, equally likely."""

    def predict(self, y: torch.Tensor, sigma: float) -> torch.Tensor:
        return torch.tanh(y / sigma**2)


def signs(x: torch.Tensor) -> torch.Tensor:
    """The best quantiser of one bit for normals: squared error 1 - 2 / pi."""
    return x.sign() * math.sqrt(2 / math.pi)


@pytest.fixture
def normal() -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


@clause("5.5")
def test_gain_and_level_are_what_theory_says_of_a_one_bit_quantiser(normal):
    found = cleanup.measured(normal, signs(normal), 1)
    gain = math.pi / 2  # 1 / (1 - error)
    noise = gain - 1  # error / (1 - error)
    assert found == Cleanup((parameters.MEAN, 1), round(-8 * math.log(noise)), round(64 * gain))


@clause("5.5")
def test_a_model_that_knows_no_more_than_the_quantiser_does_no_harm(normal):
    """The posterior mean for a Gaussian source gives back what the best quantiser put out; without the gain it would
    shrink it.
    """
    quantised = signs(normal)
    wanted = cleanup.measured(normal, quantised, 1)
    cleaned = cleanup.apply(quantised, wanted, Gaussian(), quiet)
    torch.testing.assert_close(cleaned, quantised, rtol=0.05, atol=0)


@clause("5.5")
def test_a_model_that_knows_more_brings_the_latent_nearer(normal):
    latent = normal.sign()
    noisy = (
        (latent + 0.5 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(2)))
        .clamp(-1.6, 1.6)
        .mul(3)
        .round()
        .div(3)
    )
    wanted = cleanup.choose(latent, noisy, Spikes(), None, quiet)
    assert wanted.denoiser == (parameters.MEAN, 1)
    errors = [float((x - latent).square().mean()) for x in (noisy, cleanup.apply(noisy, wanted, Spikes(), quiet))]
    assert errors[1] < 0.7 * errors[0]


def test_clean_up_is_left_out_where_it_does_not_help(normal):
    assert cleanup.choose(normal, normal.mul(50).round().div(50), Spikes(), None, quiet) is None
    assert cleanup.choose(normal, signs(normal), Gaussian(), 0, quiet) is None
    assert cleanup.choose(normal, signs(normal), Gaussian(), 4, quiet).denoiser == (parameters.FLOW, 4)


def test_an_autoencoder_alone_cannot_clean_up(normal):
    assert cleanup.choose(normal, normal, object(), None, quiet) is None
    with pytest.raises(BadInput, match="diffusion model"):
        cleanup.choose(normal, normal, object(), 1, quiet)
    for steps in (-1, 32, 1.5, "many"):
        with pytest.raises(BadInput, match="0..31"):
            lowbit.EncodeOptions(cleanup=steps)


@clause("5.5", "7.2")
def test_the_decoders_user_may_ask_for_another_denoiser(normal):
    wanted = Cleanup((parameters.FLOW, 4), 8, 80)
    model, seen = Gaussian(), []
    cleanup.apply(normal, wanted, model, lambda done, total: seen.append((done, total)))
    assert (
        len(model.calls) == 4 and model.calls[0] == pytest.approx(math.exp(-0.5)) and seen == [(i, 4) for i in range(5)]
    )
    for options, calls in (
        (dict(denoiser=(parameters.MEAN, 1)), 1),
        (dict(denoiser=(parameters.BALANCED, 3)), 3),
        (dict(realism=0.0), 1),
        (dict(realism=0.3), 4),
        (dict(denoiser=(parameters.ANCESTRAL, 3)), 4),
    ):
        model = Gaussian()
        cleanup.apply(normal, wanted, model, quiet, **options)
        assert len(model.calls) == calls, options
    assert cleanup.apply(normal, None, object(), quiet) is normal


@clause("5.5")
def test_fields_of_clean_up():
    for fields, data in (
        (Cleanup((parameters.MEAN, 1), -3, 64), "01 fd 40"),
        (Cleanup((parameters.FLOW, 4), 20, 100), "24 14 64"),
        (Cleanup((parameters.BALANCED, 31), 127, 255), "7f 7f ff"),
    ):
        assert CleanupFields.build(parameters.build_cleanup(fields)) == bytes.fromhex(data)
        assert parameters.parse_cleanup(CleanupFields.parse(bytes.fromhex(data))) == fields
    assert parameters.parse_cleanup(None) is None and parameters.build_cleanup(None) is None
    for data, error, said in (
        ("41 00 40", Unsupported, "denoiser 2"),
        ("e1 00 40", Unsupported, "denoiser 7"),
        ("20 00 40", BadFile, "0 steps"),
        ("02 00 40", BadFile, "2 steps of mean"),
        ("24 00 00", BadFile, "gain of 0"),
    ):
        with pytest.raises(error, match=said):
            parameters.parse_cleanup(CleanupFields.parse(bytes.fromhex(data)))
