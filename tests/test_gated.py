"""The gated network behind the model interface, and the path that leaves weak channels alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pictures import picture

from sdf_format.diffusion import fit, walk
from sdf_format.models.gated import Gated
from sdf_format.models.gated_net import GatedNet


@pytest.fixture(scope="module")
def model() -> Gated:
    """Random weights that do something."""
    torch.manual_seed(4)
    net = GatedNet()
    net.variance.copy_(torch.logspace(1.5, -3.5, 192))
    torch.nn.init.normal_(net.leave.weight, std=0.05)
    return Gated({k: v.clone() for k, v in net.state_dict().items()}, "cpu", torch.float32)


def test_one_prediction_is_the_networks_own(model):
    net = GatedNet()
    net.load_state_dict(model.net.state_dict())
    y, sigma = torch.randn(1, 192, 6, 10), 0.4
    total = (y * (sigma**-2 - model.path).clamp(min=0)).permute(0, 2, 3, 1)
    level = torch.full((2,), math.log(sigma**-2 + model.onset))
    with torch.no_grad():
        wanted = net.eval()(total.expand(2, -1, -1, -1), level)[:1].permute(0, 3, 1, 2)
    assert torch.allclose(model.predict(y, sigma), wanted, atol=2e-5)


def test_tiles_are_the_whole(model, monkeypatch):
    y = torch.randn(1, 192, 30, 150)
    whole = model.predict(y, 0.5)
    monkeypatch.setattr(Gated, "whole", 0)
    monkeypatch.setattr(Gated, "tile", 40)
    assert torch.allclose(model.predict(y, 0.5), whole, atol=1e-5)
    monkeypatch.setattr(Gated, "margin", 4)
    assert not torch.allclose(model.predict(y, 0.5), whole, atol=1e-5)


def test_pixels_come_back(model):
    pixels = np.asarray(picture(64, 48, 3))
    assert np.abs(model.decode(model.encode(pixels)).astype(int) - pixels).max() <= 1


def test_a_walk_with_a_path_leaves_weak_channels_alone():
    path = torch.tensor([0.0, 2.0, 100.0]).view(1, 3, 1, 1)
    target = torch.randn(1, 3, 40, 40)
    gains, seen = [], []

    def channel(step, clean, gain):
        gains.append(gain.flatten().tolist())
        return gain * (target - clean) + torch.randn(target.shape, generator=torch.Generator().manual_seed(step))

    def predict(y, sigma):
        seen.append(y)
        return torch.zeros_like(y)

    y, sigma = walk.walk(target.shape, [0.0, 1.0, 2.0], predict, channel, path=path)
    assert sigma == math.exp(-1)
    e = math.e
    wanted = [[1, 0, 0], [(e - 1) ** 0.5, (e - 2) ** 0.5, 0], [(e * e - e) ** 0.5, (e * e - e) ** 0.5, 0]]
    assert np.allclose(gains, wanted, atol=1e-5)
    assert seen[0][:, 1:].abs().max() == 0 and y[:, 2].abs().max() == 0
    # What is seen is the target and noise of the channel's own precision.
    for number, precision in enumerate((e * e, e * e - 2)):
        noise = (y - target)[:, number].std().item() * precision**0.5
        assert 0.93 < noise < 1.07


def test_a_walk_without_a_path_is_one_with_a_path_of_zeros():
    target = torch.randn(1, 3, 4, 4)

    def channel(step, clean, gain):
        return gain * (target - clean)

    def predict(y, sigma):
        return y / (1 + sigma**2)

    one = walk.walk(target.shape, [-1.0, 0.5, 3.0], predict, channel)
    two = walk.walk(target.shape, [-1.0, 0.5, 3.0], predict, channel, path=torch.zeros(1, 3, 1, 1))
    assert torch.allclose(one[0], two[0], atol=1e-6) and one[1] == two[1]


def test_the_curve_counts_the_channels_that_a_step_goes_on_with(model):
    """The KL of a step from one level to another, from the curve, is the sum over its channels."""
    latent = torch.randn(1, 192, 16, 16) * model.net.variance.sqrt().view(1, -1, 1, 1)
    curve = fit.measure_mmse(latent, model, lambda c: len(c.levels) >= 5)
    for level in (-3.0, 0.0, 2.0):
        here, there = math.exp(level), math.exp(level + fit.AHEAD)
        sigma = here**-0.5
        t, after = ((p - model.path).clamp(min=0) for p in (here, there))
        noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(1))
        y = torch.where(t > 0, latent + noise * t.clamp(min=1e-30).rsqrt(), 0.0)
        error = (model.predict(y, sigma) - latent).square()
        assert curve.error(level) == pytest.approx(float(((after - t) * error).sum()) / (there - here), rel=0.25)
