"""Autoencoders alone as models (§4.5): found by folder, hashed, loaded, and refused where something has to predict."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from pictures import picture, saved
from pipelines import autoencoder

from sdf_format.container.header import Header
from sdf_format.errors import BadInput, MissingModel, Unsupported
from sdf_format.models import loading
from sdf_format.models.autoencoder_config import Lone, SoundSettings

clause = pytest.mark.clause


def oobleck(folder: Path, planes: int = 2, **settings) -> Path:
    """A tiny one with random weights, cells of 8 samples at 8 kHz."""
    torch.manual_seed(planes)
    diffusers.AutoencoderOobleck(
        **dict(
            encoder_hidden_size=6,
            downsampling_ratios=[2, 4],
            channel_multiples=[1, 2],
            decoder_channels=4,
            decoder_input_channels=3,
            audio_channels=planes,
            sampling_rate=8000,
        )
        | settings
    ).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setattr(loading, "_folders", [])
    monkeypatch.delenv("SDF_MODEL_DIR", raising=False)


def header_of(found: loading.ResolvedModel) -> Header:
    return Header(8, 8, "RGB", 1, 0, found.weights, b"", channels=found.spec.channels, cell=found.spec.cell)


def hash_by_hand(folder: Path, settings: str) -> bytes:
    """§4.4.4, of an autoencoder alone."""
    tensors, config = (
        hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("diffusion_pytorch_model.safetensors", "config.json")
    )
    return hashlib.sha256(f"vae {tensors}\nvae/config.json {config}\n{settings}\n".encode()).digest()


@clause("4.5")
def test_an_autoencoder_is_found_by_its_folder_and_by_its_hash(tmp_path, monkeypatch):
    place = tmp_path / "pipe" / "vae"
    oobleck(place)
    found = loading.find(place)
    assert found.key == 0 and found.spec.sound == SoundSettings(3, 8, 8000, 2) and found.checkpoint == Lone(place)
    assert found.weights == hash_by_hand(place, '{"cell":8,"channels":3,"planes":2,"rate":8000}')
    (tmp_path / "pipe" / "model_index.json").write_text(json.dumps({"_class_name": "StableAudioPipeline"}))
    assert loading.find(tmp_path / "pipe").sha256 == found.sha256  # of such a pipeline nothing else is used
    monkeypatch.setattr(loading, "_folders", [])
    with pytest.raises(MissingModel, match="here are none"):
        loading.find_for(header_of(found))
    for base in (tmp_path, tmp_path / "pipe", place):
        monkeypatch.setenv("SDF_MODEL_DIR", str(base))
        assert loading.find_for(header_of(found)).sha256 == found.sha256
    net = loading.load(found, "cpu")
    latent = net.encode(np.sin(np.arange(2 * 64, dtype=np.float32)).reshape(2, 64))
    assert latent.shape == (1, 3, 8) and net.decode(latent).shape == (2, 64)


@clause("4.5")
def test_an_autoencoder_of_pictures_cannot_do_diffc(tmp_path):
    autoencoder(scaling_factor=0.5, shift_factor=0.25).save_pretrained(tmp_path / "kl")
    found = loading.find(tmp_path / "kl")
    assert found.weights == hash_by_hand(
        tmp_path / "kl", '{"cell":2,"channels":4,"native":32,"scaling":0.5,"shift":0.25}'
    )
    with pytest.raises(Unsupported, match="an autoencoder alone"):
        saved(picture(40, 24), model=str(tmp_path / "kl"), device="cpu")


def test_models_of_sound_take_no_pictures(tmp_path):
    with pytest.raises(BadInput, match="a model of sound"):
        saved(picture(40, 24), model=str(oobleck(tmp_path / "sound")), device="cpu")


@clause("4.5")
def test_what_has_no_adapter_or_no_safe_weights_is_refused(tmp_path):
    with pytest.raises(MissingModel, match=r"ratios \[3, 4\]"):
        loading.find(oobleck(tmp_path / "odd", downsampling_ratios=[3, 4]))
    weights = oobleck(tmp_path / "pickled") / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(MissingModel, match="never loaded"):
        loading.find(tmp_path / "pickled")


def test_long_sounds_go_through_in_pieces_that_fit_together(tmp_path):
    """Random weights hear everything within their reach: what the pieces give is what the whole gives."""
    net = loading.load(loading.find(oobleck(tmp_path / "sound")), "cpu")
    if not hasattr(net.net, "tile_latent_min_length"):
        pytest.skip("this diffusers has no pieces")
    wave = torch.randn(2, 8 * 700, generator=torch.Generator().manual_seed(3)).mul(0.3).numpy()
    pieces = net.encode(wave)
    back = net.decode(pieces)
    net.net.disable_tiling()
    torch.testing.assert_close(pieces, net.encode(wave), rtol=0, atol=1e-4)
    np.testing.assert_allclose(back, net.decode(pieces), rtol=0, atol=1e-4)
