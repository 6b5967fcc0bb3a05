"""Noise laws, tiles and adapters against theory (§4.4): analytic models, and the published configurations."""

from __future__ import annotations

import itertools
import json
import math

import diffusers
import numpy as np
import pytest
import torch
from conftest import SPEC
from hypothesis import given
from hypothesis import strategies as st
from pipelines import CHANNELS
from test_spec import table

from sdf_format.coding.rcc import trellis
from sdf_format.container import parameters
from sdf_format.diffusion import fit, schedule, walk
from sdf_format.models import checkpoint, laws, loading, tiles
from sdf_format.models.checkpoint import Settings
from sdf_format.models.stable import Stable
from sdf_format.payloads import diffc

clause = pytest.mark.clause
abars = st.floats(1e-4, 1 - 1e-4)
values = st.floats(-5, 5)
PUBLISHED = {spec.name: spec for spec in loading.MODELS.values() if spec.published}
BETAS = ("scaled_linear", 0.00085, 0.012, 1000)


@clause("4.4")
@given(abars, values)
def test_ddpm_to_flow_and_back(abar, z):
    w, s = laws.ddpm_to_flow(z, abar)
    again, same = laws.flow_to_ddpm(w, s)
    assert 0 < s < 1 and again == pytest.approx(z, abs=1e-9) and same == pytest.approx(abar, rel=1e-9)


@clause("4.4")
@given(abars, values, values)
def test_equal_snr_and_equal_samples(abar, clean, normal):
    sigma = laws.sigma_of_abar(abar)
    w, s = laws.ddpm_to_flow(math.sqrt(abar) * clean + math.sqrt(1 - abar) * normal, abar)
    assert laws.sigma_of_flow(s) == pytest.approx(sigma, rel=1e-9)
    assert laws.flow_of_sigma(sigma) == pytest.approx(s, rel=1e-9) and laws.abar_of_sigma(sigma) == pytest.approx(
        abar, rel=1e-9
    )
    assert w == pytest.approx((1 - s) * clean + s * normal, abs=1e-9)


@clause("4.4")
@given(abars, values, st.floats(0.1, 10))
def test_one_gaussian_model_in_every_parametrisation(abar, y, variance):
    """Source N(0, variance): its posterior mean from the noise, from v, and from the velocity that an ideal network
    would give.
    """
    sigma = laws.sigma_of_abar(abar)
    clean = y * variance / (variance + sigma**2)
    normal = (y - clean) / sigma
    z = math.sqrt(abar) * y
    w, s = laws.ddpm_to_flow(z, abar)
    assert laws.clean_of_epsilon(z, normal, abar) == pytest.approx(clean, abs=1e-6)
    assert laws.clean_of_v(z, math.sqrt(abar) * normal - math.sqrt(1 - abar) * clean, abar) == pytest.approx(
        clean, abs=1e-6
    )
    assert laws.clean_of_velocity(w, normal - clean, s) == pytest.approx(clean, abs=1e-6)


@clause("4.4")
def test_timesteps_are_those_of_diffusers_and_continuous_between():
    law = laws.Timesteps(*BETAS)
    abar = diffusers.DDPMScheduler(1000, 0.00085, 0.012, "scaled_linear").alphas_cumprod
    for t in (0, 1, 17, 500, 998, 999):
        assert law.sigma(t) == pytest.approx(laws.sigma_of_abar(float(abar[t])), rel=1e-4)
        assert law.time(law.sigma(t)) == pytest.approx(t, abs=1e-9)
    assert law.time(law.sigma(3.25)) == pytest.approx(3.25) and law.time(1e-9) == 0 and law.time(1e9) == 999


@clause("4.4")
@pytest.mark.parametrize(
    ("length", "side", "grid"), [(64, 64, 8), (65, 64, 1), (96, 64, 8), (512, 128, 4), (130, 64, 2)]
)
def test_tiles_overlap_and_cover(length, side, grid):
    places = tiles.starts(length, side, grid)
    assert places[0] == 0 and places[-1] + side == max(length, side) and all(p % grid == 0 for p in places)
    assert all(0 < b - a <= 0.75 * side + grid for a, b in itertools.pairwise(places))


@clause("4.4")
def test_blending_is_exact_for_a_local_model():
    y = torch.randn(1, 2, 80, 200, generator=torch.Generator().manual_seed(0))
    tiling = tiles.Tiling(80, 200, 32, 8)
    parts = tiling.cut(y)
    assert {part.shape[2:] for part in parts} == {(32, 32)}
    assert torch.allclose(tiling.blended([part / 2 for part in parts]), y / 2, atol=1e-6)
    seams = tiling.blended([torch.full_like(part, torch.rand(()).item()) for part in parts])
    assert float(seams.diff(dim=3).abs().max()) < 0.3  # no jump, even between tiles that disagree


class Ideal(torch.nn.Module):
    """What a perfectly trained network would answer for a source of independent normals of one variance."""

    def __init__(self, variance: float, prediction: str, law: laws.Timesteps | None):
        super().__init__()
        self.variance, self.prediction, self.law = variance, prediction, law
        self.config, self.dtype, self.seen = type("Config", (), {})(), torch.float32, []

    def answer(self, z: torch.Tensor, time: float) -> torch.Tensor:
        self.seen.append(time)
        if self.prediction == "flow":
            sigma = laws.sigma_of_flow(time)
            y = z * (1 + sigma)
        else:
            sigma = self.law.sigma(time)
            y = z * (1 + sigma * sigma) ** 0.5
        clean = y * self.variance / (self.variance + sigma * sigma)
        normal = (y - clean) / sigma
        abar = laws.abar_of_sigma(sigma)
        return {
            "epsilon": normal,
            "v_prediction": abar**0.5 * normal - (1 - abar) ** 0.5 * clean,
            "flow": normal - clean,
            "sample": clean,
        }[self.prediction]


def ideal(prediction: str, variance: float = 1.0) -> Stable:
    """The adapter of a family around an ideal network."""
    flow = prediction == "flow"
    settings = Settings(
        "StableDiffusion3Pipeline" if flow else "StableDiffusionPipeline",
        prediction,
        None if flow else BETAS,
        1.0,
        0.0,
        CHANNELS,
        8,
        16,
        1024,
    )
    law = None if flow else laws.Timesteps(*BETAS)
    made = Stable(None, settings, Ideal(variance, prediction, law), None, None, torch.device("cpu"))
    made.forward = lambda net, z, time, condition, guidance: net.answer(z, float(time))
    made._conditioned["", False] = {}
    return made


@clause("4.4")
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample", "flow"])
@pytest.mark.parametrize("sigma", [0.04, 0.3, 1.0, 7.0])
def test_adapters_give_the_posterior_mean(prediction, sigma):
    y = torch.randn(1, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(0)) * (1 + sigma)
    assert torch.allclose(ideal(prediction, 2.0).predict(y, sigma), y * 2 / (2 + sigma * sigma), atol=2e-5, rtol=1e-4)


@clause("7.1", "4.4")
@pytest.mark.parametrize("prediction", ["v_prediction", "flow"])
def test_rate_and_distortion_of_an_ideal_model(prediction):
    """900 bytes of a Gaussian source through the adapter: the rate of theory but for the coder's overhead, and its
    distortion.
    """
    shape = (1, CHANNELS, 96, 96)
    clean = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    grid = [-6 + 0.5 * i for i in range(20)]
    numel = math.prod(shape)
    curve = fit.MmseCurve(numel, float(numel), grid, [numel / (1 + math.exp(g)) for g in grid])
    bits = schedule.law_bits(16, 7200)
    law = fit.fit(fit.ideal_levels(curve, bits, lambda b, d: trellis.capacity(b, 12, d)), bits)
    fields = parameters.Diffc(schedule.LAW, law)
    made = ideal(prediction)
    payload, _ = diffc.encode(clean, fields, 900, made, lambda *_: None)
    latent = diffc.decode(payload, 900, shape, fields, (parameters.MEAN, 1), made, lambda *_: None)
    snr = math.exp(law["end"] / schedule.LAW_LEVEL)
    assert 1.0 < 7200 / (0.5 * numel * math.log2(1 + snr)) < 1.4
    assert float((latent - clean).square().mean()) == pytest.approx(1 / (1 + snr), rel=0.12)


@clause("7.2")
def test_flow_is_diffusers_dpm_solver(monkeypatch):
    """The same ladder of levels through diffusers' DPMSolverMultistepScheduler, on a model that is not linear."""
    sigma, steps = 3.0, 5
    y = sigma * torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(1))

    def predict(y: torch.Tensor, s: float) -> torch.Tensor:
        return torch.tanh(y / (1 + s * s))

    ours = walk.flow(y, sigma, steps, predict)
    solver = diffusers.DPMSolverMultistepScheduler(
        algorithm_type="dpmsolver++",
        solver_order=2,
        prediction_type="sample",
        lower_order_final=True,
        final_sigmas_type="zero",
    )
    solver.set_timesteps(steps)
    ladder = [sigma * ((steps - i) / steps) ** 2 for i in range(steps + 1)]
    solver.sigmas = torch.tensor(ladder)
    monkeypatch.setattr(solver, "_sigma_to_alpha_sigma_t", lambda s: (torch.ones_like(s), s))
    z = y
    for i, t in enumerate(solver.timesteps):
        z = solver.step(predict(z, ladder[i]), t, z).prev_sample
    assert torch.allclose(ours, z, atol=1e-3)


# The lines of published configuration files that settings are made of, copied from there, not from our table:
# model_index.json, the network's, the autoencoder's (SD 1.5 and 2.1 leave the scaling to diffusers' default) and the
# scheduler's.
FOUR = dict(block_out_channels=[128, 256, 512, 512])
SD_SCHEDULER = dict(
    beta_end=0.012, beta_schedule="scaled_linear", beta_start=0.00085, num_train_timesteps=1000, trained_betas=None
)
SIXTEEN = dict(FOUR, latent_channels=16, scaling_factor=0.3611, shift_factor=0.1159, force_upcast=True)
CONFIGURATIONS = {
    "sd15": (
        "StableDiffusionPipeline",
        dict(block_out_channels=[320, 640, 1280, 1280], sample_size=64),
        dict(FOUR, latent_channels=4),
        SD_SCHEDULER,
    ),
    "sd21": (
        "StableDiffusionPipeline",
        dict(block_out_channels=[320, 640, 1280, 1280], sample_size=96),
        dict(FOUR, latent_channels=4),
        dict(SD_SCHEDULER, prediction_type="v_prediction"),
    ),
    "sdxl": (
        "StableDiffusionXLPipeline",
        dict(block_out_channels=[320, 640, 1280], sample_size=128),
        dict(FOUR, latent_channels=4, scaling_factor=0.13025, force_upcast=True),
        dict(SD_SCHEDULER, prediction_type="epsilon"),
    ),
    "flux1-dev": ("FluxPipeline", dict(in_channels=64, patch_size=1, guidance_embeds=True), SIXTEEN, {}),
    "sd35-medium": (
        "StableDiffusion3Pipeline",
        dict(in_channels=16, patch_size=2, sample_size=128),
        dict(FOUR, latent_channels=16, scaling_factor=1.5305, shift_factor=0.0609),
        {},
    ),
    "z-image-turbo": ("ZImagePipeline", dict(in_channels=16), SIXTEEN, {}),
    "flux2-klein-base": (
        "Flux2KleinPipeline",
        dict(in_channels=128, patch_size=1, joint_attention_dim=7680),
        dict(FOUR, _class_name="AutoencoderKLFlux2", latent_channels=32, patch_size=[2, 2], batch_norm_eps=0.0001),
        {},
    ),
}


@clause("4.4")
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_folder_with_the_published_configuration_is_the_registered_model(name, tmp_path):
    pipeline, network, vae, schedules = CONFIGURATIONS[name]
    for part, content in (
        (checkpoint.NETWORKS[pipeline] + "/config", network),
        ("vae/config", vae),
        ("scheduler/scheduler_config", schedules),
        ("model_index", {"_class_name": pipeline}),
    ):
        file = tmp_path / f"{part}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content))
    assert checkpoint.differences(checkpoint.settings_of(tmp_path), PUBLISHED[name].published.settings) == []


@clause("4.4")
def test_table_4_4_is_that_of_the_code():
    rows = {}
    for name, pipeline, prediction, betas, *numbers in table(SPEC.read_text(), "4.4"):
        rows[name] = (pipeline, prediction, betas, *map(float, numbers))
    ours = {}
    for name, spec in PUBLISHED.items():
        s = spec.published.settings
        ours[name] = (
            s.pipeline,
            s.prediction,
            " ".join(map(str, s.betas or ())),
            s.scaling,
            s.shift,
            s.multiple,
            s.native,
        )
        assert s.cell == (16 if name == "flux2-klein-base" else 8) and spec.least == max(s.multiple, s.native // 4)
    assert rows == ours


@clause("4.2.2")
def test_published_schedules_are_timesteps_of_the_noise_law():
    law = laws.Timesteps(*BETAS)
    steps = {2: 161, 3: 161, 4: 161, 5: 152}
    for number, count in steps.items():
        levels = np.array(schedule.registry()[number]["levels"]) / schedule.REGISTERED_LEVEL
        times = [law.time(math.exp(-level / 2)) for level in levels]
        assert len(levels) == count and times[0] == pytest.approx(972, abs=0.2)
        assert max(abs(t - round(t)) for t in times) < 0.2
