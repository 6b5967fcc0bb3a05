"""The walk and the whole codec against a source whose optimal model is known: independent Gaussians."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from sdf_format.coding.rcc import trellis
from sdf_format.container import parameters
from sdf_format.diffusion import fit, schedule, walk
from sdf_format.payloads import diffc

SHAPE = (1, 16, 48, 48)
LEVELS = tuple(float(x) for x in np.linspace(-5, 1, 49))


class Gaussian:
    """The exact posterior mean of independent normals with one standard deviation a channel."""

    def __init__(self, spread: torch.Tensor):
        self.variance = spread[None, :, None, None] ** 2

    def sample(self, seed: int) -> torch.Tensor:
        return self.variance.sqrt() * torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))

    def predict(self, y: torch.Tensor, sigma: float) -> torch.Tensor:
        return y * self.variance / (self.variance + sigma * sigma)

    def rate(self, level: float) -> float:
        """I(x; x + sigma n) [bit]: half of log2(1 + SNR) a value."""
        return float(0.5 * torch.log2(1 + self.variance * math.exp(level)).sum()) * SHAPE[2] * SHAPE[3]


MODELS = {"isotropic": torch.ones(16), "anisotropic": torch.logspace(-1, 0.5, 16)}


@pytest.fixture(params=MODELS)
def model(request) -> Gaussian:
    return Gaussian(MODELS[request.param])


@pytest.mark.clause("7.1")
def test_exact_sampling_costs_the_mutual_information_and_gives_the_right_noise(model):
    clean = model.sample(1)
    generator = torch.Generator().manual_seed(2)
    spent = []

    def exact(step, guess, gain):
        spent.append(walk.kl_bits(guess, clean, gain))
        return gain * (clean - guess) + torch.randn(SHAPE, generator=generator)

    y, sigma = walk.walk(SHAPE, LEVELS, model.predict, exact)
    assert sigma == pytest.approx(math.exp(-LEVELS[-1] / 2))
    noise = ((y - clean) / sigma).flatten().numpy()
    assert stats.kstest(noise, "norm").pvalue > 0.01
    # Predictions are stale for a step's length: the sum lies a little above the integral.
    assert 1.0 < sum(spent) / model.rate(LEVELS[-1]) < 1.12


@pytest.mark.clause("7.1", "6.2")
def test_the_whole_codec_meets_the_ideal_rate_of_a_gaussian_source(model):
    clean = model.sample(3)
    grid = [-6 + 0.5 * i for i in range(20)]
    errors = [float((model.variance / (1 + model.variance * math.exp(g))).sum()) * SHAPE[2] * SHAPE[3] for g in grid]
    curve = fit.MmseCurve(math.prod(SHAPE), float(model.variance.sum()) * SHAPE[2] * SHAPE[3], grid, errors)
    size = 900
    bits = schedule.law_bits(16, 8 * size)
    law = fit.fit(fit.ideal_levels(curve, bits, lambda bits, dimensions: trellis.capacity(bits, 12, dimensions)), bits)
    fields = parameters.Diffc(schedule.LAW, law)
    payload, account = diffc.encode(clean, fields, size, model, lambda *_: None)
    assert len(payload) == size
    needed, delivered = sum(s.kl for s in account), sum(s.delivered for s in account)
    assert 0.9 * needed < delivered < 1.1 * needed
    # Bits over the mutual information at the last level: the coder's overhead (1.09), and predictions that are stale
    # for a step.
    last = law["end"] / schedule.LAW_LEVEL
    assert 1.05 < 8 * size / model.rate(last) < 1.4
    latent = diffc.decode(payload, size, SHAPE, fields, (parameters.MEAN, 1), model, lambda *_: None)
    least = float((model.variance / (1 + model.variance * math.exp(last))).mean())  # distortion at the last level
    assert 0.9 * least < float((latent - clean).square().mean()) < 1.15 * least


@pytest.mark.clause("7.2")
def test_flow_of_a_gaussian_source_restores_its_spread():
    model = Gaussian(MODELS["isotropic"])
    clean, sigma = model.sample(4), 1.0
    y = clean + sigma * torch.randn(SHAPE, generator=torch.Generator().manual_seed(5))
    mean = walk.flow(y, sigma, 1, model.predict)
    assert torch.equal(mean, model.predict(y, sigma))
    errors = [abs(float(walk.flow(y, sigma, n, model.predict).std()) - 1) for n in (1, 3, 12)]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.02


@pytest.mark.clause("6.2")
def test_every_prefix_at_a_step_boundary_decodes_closer():
    model = Gaussian(MODELS["anisotropic"])
    clean = model.sample(6)
    fields = parameters.Diffc(schedule.LAW, dict(steps=6, end=0, slope=48, bend=0))
    payload, _ = diffc.encode(clean, fields, 600, model, lambda *_: None)
    ends = np.cumsum(schedule.law_bits(6, 4800))
    errors = []
    for end in ends:
        part = payload[: -(-int(end) // 8)]
        latent = diffc.decode(part, 600, SHAPE, fields, (parameters.MEAN, 1), model, lambda *_: None)
        errors.append(float((latent - clean).square().mean()))
    assert errors == sorted(errors, reverse=True)


def test_progress_counts_every_model_call():
    model = Gaussian(MODELS["isotropic"])
    fields = parameters.Diffc(schedule.LAW, dict(steps=4, end=0, slope=48, bend=0))
    payload, _ = diffc.encode(model.sample(7), fields, 100, model, lambda *_: None)
    calls, seen = [], []
    model_predict = model.predict
    model.predict = lambda y, s: calls.append(s) or model_predict(y, s)
    diffc.decode(
        payload, 100, SHAPE, fields, (parameters.FLOW, 3), model, lambda done, total: seen.append((done, total))
    )
    assert len(calls) == 3 + 3  # no call before the first step, none more than the file needs
    assert seen[-1][0] == seen[-1][1] and [d for d, _ in seen] == sorted(d for d, _ in seen)


@pytest.mark.clause("7.2")
def test_the_dial_runs_from_the_posterior_mean_to_the_flow():
    model = Gaussian(MODELS["isotropic"])
    clean, sigma = model.sample(8), 1.0
    y = clean + sigma * torch.randn(SHAPE, generator=torch.Generator().manual_seed(9))
    calls = []

    def counted(z, level):
        calls.append(level)
        return model.predict(z, level)

    ends = [walk.dial(y, sigma, 4, r, counted) for r in (0.0, 0.5, 1.0)]
    assert len(calls) == 1 + 4 + 4
    assert torch.equal(ends[0], model.predict(y, sigma)) and torch.equal(ends[2], walk.flow(y, sigma, 4, model.predict))
    assert torch.allclose(ends[1], (ends[0] + ends[2]) / 2, atol=1e-5)
    errors = [float((e - clean).square().mean()) for e in ends]
    spreads = [abs(float(e.std()) - 1) for e in ends]
    assert errors == sorted(errors) and spreads == sorted(spreads, reverse=True)


class Mixture:
    """Two normals of equal weight, their means `apart` on either side of nothing along one unit vector, their spread
    `spread`.
    """

    def __init__(self, apart: float, spread: float):
        generator = torch.Generator().manual_seed(10)
        direction = torch.randn(SHAPE, generator=generator)
        self.mean, self.variance = apart * direction / direction.norm(), spread**2

    def sample(self, seed: int, side: int) -> torch.Tensor:
        return side * self.mean + math.sqrt(self.variance) * torch.randn(
            SHAPE, generator=torch.Generator().manual_seed(seed)
        )

    def predict(self, y: torch.Tensor, sigma: float) -> torch.Tensor:
        total = self.variance + sigma * sigma
        side = math.tanh(float((y * self.mean).double().sum()) / total)  # P(side = 1) - P(side = -1)
        return side * self.mean + (y - side * self.mean) * (self.variance / total)

    def rate(self, level: float) -> float:
        """I(x; x + sigma n) [bit]: of one normal, and of the side, by numerical integration along the vector."""
        total = self.variance + math.exp(-level)
        apart = float(self.mean.norm()) / math.sqrt(total)
        u = np.linspace(-12, 12, 4001)
        side = float(
            np.sum(stats.norm.pdf(u) * (1 - np.logaddexp(0, -2 * apart * (u + apart)) / math.log(2))) * (u[1] - u[0])
        )
        return 0.5 * math.prod(SHAPE) * math.log2(1 + self.variance * math.exp(level)) + side


@pytest.mark.clause("7.1", "6.2")
@pytest.mark.parametrize("side", [-1, 1])
def test_the_whole_codec_meets_the_ideal_rate_of_a_mixture(side):
    model = Mixture(apart=60.0, spread=0.3)
    assert model.rate(-12.0) < 2 and model.rate(4.0) == pytest.approx(
        1 + 0.5 * math.prod(SHAPE) * math.log2(1 + 0.09 * math.exp(4)), rel=1e-3
    )
    clean = model.sample(11, side)
    # What stays unknown is the spread; while the side is unknown it counts as well.
    grid = [-9 + 0.5 * i for i in range(28)]
    errors = [
        float(
            (
                model.predict(
                    clean + math.exp(-g / 2) * torch.randn(SHAPE, generator=torch.Generator().manual_seed(12)),
                    math.exp(-g / 2),
                )
                - clean
            )
            .square()
            .sum()
        )
        for g in grid
    ]
    curve = fit.MmseCurve(math.prod(SHAPE), float(clean.square().sum()), grid, errors)
    size = 900
    bits = schedule.law_bits(16, 8 * size)
    law = fit.fit(fit.ideal_levels(curve, bits, lambda bits, dimensions: trellis.capacity(bits, 14, dimensions)), bits)
    fields = parameters.Diffc(schedule.LAW, law, coder=(parameters.TRELLIS, 14 - parameters.CODER_FIRST))
    payload, account = diffc.encode(clean, fields, size, model, lambda *_: None)
    assert 0.85 * sum(s.kl for s in account) < sum(s.delivered for s in account) < 1.1 * sum(s.kl for s in account)
    last = law["end"] / schedule.LAW_LEVEL
    assert 1.02 < 8 * size / model.rate(last) < 1.4
    latent = diffc.decode(payload, size, SHAPE, fields, (parameters.MEAN, 1), model, lambda *_: None)
    assert float((latent * model.mean).sum()) * side > 0  # the side has arrived
    least = model.variance / (1 + model.variance * math.exp(last))
    assert 0.9 * least < float((latent - clean).square().mean()) < 1.15 * least
