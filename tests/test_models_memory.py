"""Large pictures hold one tile's activations at a time (§4.4): geometry, blending, and bytes counted at the true
shapes.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from command import cells
from diffusers.configuration_utils import FrozenDict
from pictures import opened, picture, saved
from pipelines import save

from sdf_format.bench import memory, models
from sdf_format.models import autoencoder

clause = pytest.mark.clause


class Local(torch.nn.Module):
    """An autoencoder without context: a cell's mean, and that mean again at every pixel of the cell."""

    def __init__(self):
        super().__init__()
        self.config = FrozenDict(
            scaling_factor=0.5, shift_factor=0.25, latent_channels=3, block_out_channels=(1, 1, 1), sample_size=32
        )
        self.device, self.dtype, self.seen = torch.device("cpu"), torch.float32, []

    def encode(self, planes: torch.Tensor):
        self.seen.append(tuple(planes.shape[2:]))
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: torch.nn.functional.avg_pool2d(planes, 4)))

    def decode(self, latent: torch.Tensor):
        self.seen.append(tuple(4 * n for n in latent.shape[2:]))
        return SimpleNamespace(sample=torch.nn.functional.interpolate(latent, scale_factor=4))


@clause("4.4")
def test_the_autoencoder_works_by_equal_tiles(monkeypatch):
    """All of one size, none thin: what diffusers' own tiling leaves over at the edges is a strip."""
    monkeypatch.setattr(autoencoder, "SMALLEST", 64)
    net = Local()
    images = autoencoder.Images(net)
    pixels = np.repeat(
        np.repeat(np.random.default_rng(0).integers(0, 256, (50, 33, 3), np.uint8), 4, axis=0), 4, axis=1
    )
    latent = images.encode(pixels)
    assert latent.shape == (1, 3, 50, 33)
    planes = torch.tensor(pixels[::4, ::4]).permute(2, 0, 1)[None] / 127.5 - 1
    assert torch.allclose(latent, (planes - 0.25) * 0.5, atol=1e-5)
    assert (images.decode(latent) == pixels).all()
    assert set(net.seen) == {(64, 64)} and len(net.seen) == 2 * 4 * 3
    net.seen.clear()
    images.encode(pixels[:96, :64])
    assert net.seen == [(96, 64)]  # one and a half areas are not cut


@clause("4.4")
def test_a_large_picture_goes_through_a_file_by_tiles(tmp_path, monkeypatch):
    monkeypatch.setattr(autoencoder, "SMALLEST", 32)
    folder = str(save("epsilon", tmp_path / "tiny"))
    data = saved(picture(72, 40), model=folder, target_bytes=200, steps=3, denoiser=("flow", 1), device="cpu")
    first = np.asarray(opened(data))
    assert first.shape == (40, 72, 3) and (first == np.asarray(opened(data))).all()


def test_counting_forgets_what_is_gone():
    def work() -> torch.Tensor:
        total = torch.zeros(1000)
        for _ in range(5):
            total = total + torch.ones(1000)  # the sum before, the ones, and the sum after are alive together
        return total[:10].sum()

    assert memory.counted(work) == 3 * 4000


@clause("4.4")
def test_memory_grows_by_latents_and_pixels_only():
    """SD 1.5's true shapes: three times the side, 16 tiles instead of one."""
    (_, one, small), (size, many, large) = (memory.shape("sd15", side, models.whole) for side in (512, 1536))
    assert (one, many) == (1, 16) and large[0] == 9 * small[0]
    plane = 4 * size[0] * size[1]
    _, predict, encode, decode = (b - a for a, b in zip(small, large))
    assert predict <= 8 * large[0]  # y, the tiles' answers, their blend and its weights
    assert encode <= 8 * large[0] + 3 * plane / 4  # the same, and the picture's bytes
    assert decode <= 8 * plane  # the picture as float32, its weights, a tile's own
    assert predict < 0.02 * small[1] and decode < 0.1 * small[3]


def test_measuring(capsys):
    memory.main(["--names", "sd15", "--sizes", "64", "--thin", "16"])
    counted, measured = cells(capsys.readouterr().out)
    assert len(counted) == len(measured) == 10 and measured[0] == "sd15, 1/16 of the channels"
    assert counted[7:] == ["", "", ""] and float(counted[4]) > float(measured[4]) > 0
