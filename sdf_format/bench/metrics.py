"""How far a decoded picture is from its original.

PIL images in, numbers out; every metric but PSNR by a package of its own.

LPIPS and DISTS need weights that piq downloads; `available()` leaves them out where that fails.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

MS_SSIM_LEAST = 161  # pixels of the shorter side: five scales of an 11-pixel window


def psnr(a: Image.Image, b: Image.Image) -> float:
    """RGB PSNR [dB]; infinite for equal pictures."""
    error = np.mean((np.asarray(a.convert("RGB"), float) - np.asarray(b.convert("RGB"), float)) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def ms_ssim(a: Image.Image, b: Image.Image) -> float | None:
    """MS-SSIM of RGB (Wang, Simoncelli, Bovik 2003), by the package pytorch-msssim; None for pictures too small for
    five scales.
    """
    import torch
    from pytorch_msssim import ms_ssim as measure

    if min(a.size) < MS_SSIM_LEAST:
        return None
    planes = [torch.from_numpy(np.array(i.convert("RGB"))).permute(2, 0, 1)[None].float() for i in (a, b)]
    return float(measure(*planes, data_range=255))


def ssimulacra2(a: Image.Image, b: Image.Image) -> float:
    """SSIMULACRA 2, 100 for equal pictures, by the package ssimulacra2."""
    from ssimulacra2 import compute_ssimulacra2

    files = [io.BytesIO(), io.BytesIO()]
    for image, file in zip((a, b), files):
        image.convert("RGB").save(file, "PNG", compress_level=0)
    return float(compute_ssimulacra2(*files))


@lru_cache(maxsize=1)
def _piq() -> dict[str, Callable]:
    """LPIPS and DISTS, where their weights can be had."""
    try:
        import piq

        return {"lpips": piq.LPIPS(), "dists": piq.DISTS()}
    except (ImportError, OSError):  # URLError is an OSError
        return {}


def learned(a: Image.Image, b: Image.Image) -> dict[str, float]:
    """LPIPS and DISTS by name, or nothing."""
    import torch

    planes = [torch.from_numpy(np.array(i.convert("RGB"))).permute(2, 0, 1)[None].float() / 255 for i in (a, b)]
    with torch.inference_mode():
        return {name: float(measure(*planes)) for name, measure in _piq().items()}


class LatentDistance:
    """Mean squared distance in the latents of a small convolutional autoencoder, and Frechet distance of 64x64 patches
    there.

    weights  of an encoder in the layout of TAESD; nothing that SDF itself uses
    """

    PATCH = 8  # latent positions a side: 64 pixels

    def __init__(self, weights: Path):
        from sdf_format.bench.taesd import encoder

        self.encoder = encoder(weights)

    def latent(self, image: Image.Image) -> np.ndarray:
        """(channels, h, w) float64."""
        import torch

        planes = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            return self.encoder(planes)[0].double().numpy()

    def patches(self, latent: np.ndarray) -> np.ndarray:
        """(n, 2 channels) mean and standard deviation of every channel over patches that overlap by half."""
        step = self.PATCH // 2
        windows = np.lib.stride_tricks.sliding_window_view(latent, (self.PATCH, self.PATCH), axis=(1, 2))[
            :, ::step, ::step
        ]
        flat = windows.reshape(len(latent), -1, self.PATCH**2)
        return np.concatenate([flat.mean(axis=2), flat.std(axis=2)]).T


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance of two sets of features (n, d), each taken as normal (Dowson and Landau 1982)."""
    from scipy.linalg import sqrtm

    ca, cb = np.cov(a.T), np.cov(b.T)
    return float(np.square(a.mean(axis=0) - b.mean(axis=0)).sum() + np.trace(ca + cb - 2 * sqrtm(ca @ cb).real))
