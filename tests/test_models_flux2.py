"""FLUX.2's latent space (§4.4): 2x2 positions together, normalised by the autoencoder's own statistics, as diffusers'
pipeline has it.
"""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
import torch
from pictures import picture
from pipelines import save

from sdf_format.models import loading, stable


@pytest.mark.clause("4.4")
def test_latents_are_those_of_diffusers_own_pipeline(tmp_path):
    folder = save("flux2", tmp_path / "flux2")
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder, text_encoder=None, tokenizer=None)
    ours = stable.load(loading.find(folder).checkpoint, "cpu")
    pixels = np.asarray(picture(48, 32))
    planes = torch.tensor(pixels).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.inference_mode():
        theirs = pipe._encode_vae_image(planes, None)
        latent = ours.encode(pixels)
        assert latent.shape == (1, 4, 4, 6) and torch.allclose(latent, theirs, atol=1e-5)
        spread = torch.sqrt(pipe.vae.bn.running_var.view(1, -1, 1, 1) + pipe.vae.config.batch_norm_eps)
        mean = pipe._unpatchify_latents(theirs * spread + pipe.vae.bn.running_mean.view(1, -1, 1, 1))
        wanted = ((pipe.vae.decode(mean).sample[0] + 1) * 127.5).clamp(0, 255).permute(1, 2, 0)
    assert float((torch.tensor(ours.decode(latent)) - wanted).abs().max()) <= 0.51
    assert (ours.settings.channels, ours.settings.cell, ours.settings.multiple) == (4, 8, 8)


@pytest.mark.clause("4.5")
def test_its_autoencoder_alone(tmp_path):
    save("flux2", tmp_path / "flux2")
    lone = loading.load_autoencoder(tmp_path / "flux2" / "vae", "cpu")
    found = loading.find(tmp_path / "flux2" / "vae")
    assert (found.spec.channels, found.spec.cell) == (lone.channels, lone.cell) == (4, 8)
