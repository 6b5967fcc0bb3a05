"""`sdf bench latents` and the autoencoders that it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from command import cells
from pictures import picture, psnr
from PIL import Image
from pipelines import autoencoder
from safetensors.torch import save_file
from torch import nn

from sdf_format.bench import latents, taesd
from sdf_format.cli import main as cli

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture
def layout(tmp_path) -> Path:
    """An encoder and a decoder in the layout of TAESD, random, three octaves, one block with a pooled branch."""
    torch.manual_seed(0)
    encoder = [nn.Conv2d(3, 8, 3, padding=1), taesd.Block(8, 0)]
    decoder = [taesd.Clamp(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), taesd.Block(8, 4)]
    for pooled in (0, 4, 0):
        encoder += [nn.Conv2d(8, 8, 3, padding=1, stride=2, bias=False), taesd.Block(8, pooled)]
        decoder += [nn.Upsample(scale_factor=2), nn.Conv2d(8, 8, 3, padding=1, bias=False), taesd.Block(8, 0)]
    nets = {
        "encoder": nn.Sequential(*encoder, nn.Conv2d(8, 6, 3, padding=1)),
        "decoder": nn.Sequential(*decoder, nn.Conv2d(8, 3, 3, padding=1)),
    }
    for name, net in nets.items():
        save_file(net.state_dict(), tmp_path / f"some_{name}.safetensors")
    torch.save(nets, tmp_path / "nets")
    return tmp_path


def test_the_layout_says_which_layer_is_which(layout):
    nets = torch.load(layout / "nets", weights_only=False)
    (layout / "nets").unlink()
    pixels = np.asarray(picture(64, 48))
    loaded = taesd.Autoencoder(layout)
    with torch.inference_mode():
        latent = nets["encoder"](torch.tensor(pixels).permute(2, 0, 1)[None] / 255)
        shown = (nets["decoder"](latent)[0].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
    torch.testing.assert_close(loaded.encode(pixels), latent)
    assert loaded.channels == 6 and latent.shape == (1, 6, 6, 8) and (loaded.decode(latent) == shown).all()


def test_a_line_for_every_row_that_the_channels_allow(layout, tmp_path, capsys):
    (layout / "nets").unlink()
    picture(200, 190).save(tmp_path / "photo.png")
    assert (
        cli.main(
            ["bench", "latents", str(tmp_path / "photo.png"), "--autoencoder", str(layout), "--rows", "64 colours"]
        )
        == 0
    )
    lines = cells(capsys.readouterr().out)
    assert [line[0] for line in lines] == [
        "autoencoder alone",
        "palette, 64 colours",
        "palette, 64 colours, 2 groups",
        "palette, 64 colours, 4 groups",
    ]
    assert 100 < int(lines[1][1]) < int(lines[2][1]) < int(lines[3][1]) and all(len(line) == 7 for line in lines)


def test_autoencoders_of_diffusers_do_too(tmp_path, capsys):
    autoencoder(6, 4).save_pretrained(tmp_path / "vae")
    picture(176, 168).save(tmp_path / "photo.png")
    assert (
        cli.main(
            ["bench", "latents", str(tmp_path / "photo.png"), "--autoencoder", str(tmp_path / "vae"), "--rows", "16"]
        )
        == 0
    )
    assert [line[0] for line in cells(capsys.readouterr().out)] == ["autoencoder alone", "palette, 16 colours"]


def test_what_the_neighbours_let_expect_saves_bytes_and_changes_nothing():
    latent = torch.randn(1, 4, 40, 40, generator=torch.Generator().manual_seed(0)).cumsum(2).cumsum(3)
    plain, modelled = (
        row.code(latent)
        for row in latents.ROWS
        if row.name in ("palette, nearest vectors", "palette, nearest vectors, zlib")
    )
    assert torch.equal(plain[1], modelled[1]) and plain[0] < 0.9 * modelled[0]


@pytest.mark.skipif(
    not (SHARED / "weights" / "taef2").is_dir(), reason="needs real weights; test_palette.py has random ones"
)
def test_a_real_autoencoders_latent_survives():
    real = taesd.Autoencoder(SHARED / "weights" / "taef2")
    path = next((SHARED / "data" / "kodak").glob("*23.png"))
    image = Image.open(path).convert("RGB").resize((192, 128))
    latent = real.encode(np.asarray(image))
    row = next(r for r in latents.ROWS if r.name == "palette, 1024 colours")
    whole, arrived = (Image.fromarray(real.decode(z)) for z in (latent, row.code(latent)[1]))
    assert psnr(image, whole) > 25 and psnr(image, arrived) > psnr(image, whole) - 1  # 384 cells: a vector each
