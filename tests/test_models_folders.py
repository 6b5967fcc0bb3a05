"""What folders of diffusers say of themselves (§4.4): kinds of pipelines that count as others, schedules, and what has
no adapter.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import diffusers
import numpy as np
import pytest
from pictures import opened, picture, saved
from pipelines import save

from sdf_format.errors import MissingModel
from sdf_format.models import checkpoint, laws, loading

clause = pytest.mark.clause


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setattr(loading, "_folders", [])


def change(file: Path, **values) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@clause("4.4")
def test_an_image_to_image_pipeline_is_its_text_to_image_one(tmp_path):
    one, two = save("sd3", tmp_path / "one"), save("sd3", tmp_path / "two")
    change(two / "model_index.json", _class_name="StableDiffusion3Img2ImgPipeline")
    assert loading.find(two).sha256 == loading.find(one).sha256
    assert all(hasattr(diffusers, name) for name in (*checkpoint.ALIASES, *checkpoint.NETWORKS))
    assert set(checkpoint.ALIASES.values()) <= set(checkpoint.NETWORKS)


@clause("4.4")
@pytest.mark.parametrize("schedule", checkpoint.SCHEDULES)
def test_zero_terminal_snr_is_that_of_diffusers(schedule):
    theirs = (
        diffusers.DDIMScheduler(1000, 0.00085, 0.012, schedule, rescale_betas_zero_snr=True)
        .alphas_cumprod.double()
        .numpy()
    )
    law = laws.Timesteps(schedule + checkpoint.ZERO_SNR, 0.00085, 0.012, 1000)
    assert np.allclose(law.abar, theirs, atol=1e-5) and law.abar[-1] == 0
    assert law.sigma(999) == math.inf and law.time(law.sigma(500)) == pytest.approx(500)
    assert law.time(1e6) == 998  # beyond the last level with a signal


@clause("4.4")
def test_a_model_of_zero_terminal_snr_goes_through_a_file(tmp_path):
    folder, plain = save("v_prediction", tmp_path / "zero"), save("v_prediction", tmp_path / "plain")
    change(folder / "scheduler" / "scheduler_config.json", rescale_betas_zero_snr=True)
    assert loading.find(folder).checkpoint.settings().betas[0] == "scaled_linear_zero_snr"
    assert loading.find(folder).sha256 != loading.find(plain).sha256
    data = saved(picture(40, 24), model=str(folder), target_bytes=140, steps=3, denoiser=("flow", 1), device="cpu")
    assert opened(data).load()


@clause("4.4")
@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        (
            "model_index.json",
            dict(_class_name="StableDiffusionInpaintPipeline"),
            "'StableDiffusionInpaintPipeline' has no adapter here; known: StableDiffusionPipe",
        ),
        ("unet/config.json", dict(in_channels=9), "takes 9 channels and the autoencoder gives 4"),
        ("unet/config.json", dict(time_cond_proj_dim=256), "U-Nets with time_cond_proj_dim"),
        (
            "scheduler/scheduler_config.json",
            dict(beta_schedule="squaredcos_cap_v2"),
            "betas squaredcos_cap_v2 have no adapter here; known: scaled_linear",
        ),
        ("scheduler/scheduler_config.json", dict(trained_betas=[0.1, 0.2]), "trained betas have no adapter"),
    ],
)
def test_what_has_no_adapter_says_why(file, values, message, tmp_path):
    folder = save("epsilon", tmp_path / "odd")
    change(folder / file, **values)
    with pytest.raises(MissingModel, match=message):
        loading.find(folder)
