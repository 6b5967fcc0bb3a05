"""Pipelines of diffusers through whole files, their hashes, and the errors where weights are missing or are others
(§4.4).
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import opened, picture, saved
from pipelines import KINDS, autoencoder, save

from sdf_format.container import chunks
from sdf_format.errors import BadInput, MissingModel
from sdf_format.models import checkpoint, loading

clause = pytest.mark.clause


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("pipelines")
    return {kind: save(kind, base / kind) for kind in KINDS}


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setattr(loading, "_folders", [])
    monkeypatch.delenv("SDF_MODEL_DIR", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@clause("4.4", "3.3")
@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_goes_through_a_file(kind, folders, monkeypatch):
    image = picture(40, 24)
    data = saved(image, model=str(folders[kind]), target_bytes=160, denoiser=("flow", 2), device="cpu")
    assert len(data) <= 160
    header = chunks.scan(io.BytesIO(data)).header
    assert (
        header.model == 0 and header.channels == 4 and header.cell == (8 if kind in ("flux", "z_image", "flux2") else 2)
    )
    assert header.weights == loading.find(folders[kind]).sha256
    first = opened(data)
    assert first.size == image.size and np.asarray(first).std() > 0
    monkeypatch.setattr(loading, "_folders", [])  # as in another process, which is told where models are
    monkeypatch.setenv("SDF_MODEL_DIR", str(folders[kind].parent))
    assert (np.asarray(opened(data)) == np.asarray(first)).all()
    assert saved(image, model=str(folders[kind]), target_bytes=160, denoiser=("flow", 2), device="cpu") == data


@clause("4.4")
def test_a_registered_model_by_name(folders, monkeypatch, tmp_path):
    """A folder under the registered name, with the row's settings: 4 bytes of hash in the header."""
    import dataclasses

    spec = loading.MODELS[2]
    (tmp_path / "sd15").symlink_to(folders["epsilon"])
    settings = checkpoint.settings_of(folders["epsilon"])
    row = dataclasses.replace(
        loading.spec_from("sd15", settings), published=dataclasses.replace(spec.published, settings=settings)
    )
    monkeypatch.setenv("SDF_MODEL_DIR", str(tmp_path))
    with pytest.raises(MissingModel, match="is not sd15: .*cell 2 instead of 8"):
        loading.find("sd15")
    monkeypatch.setitem(loading.MODELS, 2, row)
    data = saved(picture(40, 24), model="sd15", target_bytes=120, device="cpu")
    header = chunks.scan(io.BytesIO(data)).header
    assert header.model == 2 and header.weights == loading.find("sd15").sha256[:4]
    assert opened(data).load()
    (tmp_path / "sd15").unlink()
    (tmp_path / "sd15").symlink_to(save("epsilon", tmp_path / "another"))
    vae = tmp_path / "another" / "vae" / "diffusion_pytorch_model.safetensors"
    vae.write_bytes(vae.read_bytes()[:-1] + b"\x3f")
    with pytest.raises(MissingModel, match=f"made with sd15 weights {header.weights.hex()}; here are [0-9a-f]{{8}}"):
        opened(data).load()


@clause("4.4")
def test_missing_weights_say_what_where_how_and_how_large(monkeypatch, tmp_path):
    monkeypatch.setenv("SDF_MODEL_DIR", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for spec in loading.MODELS.values():
        if spec.published:
            with pytest.raises(MissingModel) as caught:
                loading.find(spec.name)
            for words in (
                spec.name,
                str(tmp_path),
                spec.published.repository,
                f"{spec.published.gigabytes:g} GB",
                "SDF_DOWNLOAD",
            ):
                assert words in str(caught.value)
    with pytest.raises(BadInput, match="unknown here"):
        loading.find("sd99")


@clause("4.4")
def test_the_hash_is_over_files_and_settings(folders, tmp_path):
    import hashlib

    found = loading.find(folders["sdxl"])
    names = ["refiner/unet", "unet", "vae"]

    def line(name: str, file: str) -> str:
        return f"{name} {hashlib.sha256((folders['sdxl'] / file).read_bytes()).hexdigest()}\n"

    weights = [line(n, f"{n}/diffusion_pytorch_model.safetensors") for n in names]
    lines = sorted([*weights, *(line(f"{n}/config.json", f"{n}/config.json") for n in names)])
    settings = (
        '{"betas":["scaled_linear",0.00085,0.012,1000],"cell":2,"channels":4,"multiple":4,"native":32,"pipeline":'
        '"StableDiffusionXLPipeline","prediction":"epsilon","scaling":0.13025,"shift":0.0}\n'
    )
    assert hashlib.sha256("".join([*lines, settings]).encode()).digest() == found.sha256
    assert hashlib.sha256("".join([*weights, settings]).encode()).digest() == found.checkpoint.sha256(whole=False)
    one, two = save("epsilon", tmp_path / "a"), save("epsilon", tmp_path / "b")
    assert loading.find(one).sha256 == loading.find(two).sha256  # names and dates do not count
    config = two / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace('"epsilon"', '"v_prediction"'))
    assert loading.find(one).sha256 != loading.find(two).sha256  # what the weights mean does


@clause("3.3", "4.4")
def test_of_several_precisions_the_one_that_the_file_names_is_loaded(tmp_path, monkeypatch):
    import diffusers
    import torch

    folder = save("v_prediction", tmp_path / "both")
    for part, kind in (("unet", diffusers.UNet2DConditionModel), ("vae", diffusers.AutoencoderKL)):
        kind.from_pretrained(folder / part).to(torch.float16).save_pretrained(folder / part, variant="fp16")
    plain, half = checkpoint.variants(folder, None)
    assert loading.find(folder).checkpoint == plain and plain.sha256() != half.sha256()
    monkeypatch.setattr(checkpoint, "variants", lambda *_: [half])
    data = saved(picture(40, 24), model=str(folder), target_bytes=160, device="cpu")
    monkeypatch.setattr(checkpoint, "variants", lambda *_: [plain, half])
    header = chunks.scan(io.BytesIO(data)).header
    assert loading.find_for(header).checkpoint == half and opened(data).load()
    monkeypatch.setattr(checkpoint, "variants", lambda *_: [plain])
    with pytest.raises(
        MissingModel,
        match=f"unregistered weights with SHA-256 {header.weights.hex()}; here are {plain.sha256().hex()} ",
    ):
        loading.find_for(header)  # both are named


@clause("4.4")
def test_pickles_are_refused(tmp_path):
    folder = save("epsilon", tmp_path / "pickled")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(MissingModel, match="never loaded"):
        loading.find(folder)


def test_damaged_weights_are_a_missing_model(tmp_path):
    folder = save("epsilon", tmp_path / "damaged")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(MissingModel, match="does not load"):
        saved(picture(40, 24), model=str(folder), target_bytes=160, device="cpu")


def test_an_autoencoder_alone(tmp_path):
    net = autoencoder(scaling_factor=0.5, shift_factor=0.1)
    net.save_pretrained(tmp_path / "kl")
    coder = loading.load_autoencoder(tmp_path / "kl", "cpu")
    latent = coder.encode(np.asarray(picture(32, 16)))
    assert (coder.channels, coder.cell) == (4, 2) and latent.shape == (1, 4, 8, 16)
    assert coder.decode(latent).shape == (16, 32, 3) and (coder.encode(np.asarray(picture(32, 16))) == latent).all()


def test_an_autoencoder_of_sound(tmp_path):
    import diffusers

    net = diffusers.AutoencoderOobleck(
        encoder_hidden_size=6,
        downsampling_ratios=[2, 4],
        channel_multiples=[1, 2],
        decoder_channels=4,
        decoder_input_channels=3,
        audio_channels=2,
        sampling_rate=8000,
    )
    net.save_pretrained(tmp_path / "sound")
    coder = loading.load_autoencoder(tmp_path / "sound", "cpu")
    assert (coder.channels, coder.cell, coder.sample_rate, coder.audio_channels) == (3, 8, 8000, 2)
    latent = coder.encode(np.sin(np.arange(2 * 64, dtype=np.float32)).reshape(2, 64))
    assert latent.shape == (1, 3, 8) and coder.decode(latent).shape[0] == 2


def test_the_model_table_needs_neither_torch_nor_diffusers():
    code = (
        "import sys, sdf_format.models.loading, sdf_format.inspect.report; "
        "assert not {'torch', 'diffusers', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
