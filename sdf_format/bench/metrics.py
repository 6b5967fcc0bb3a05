"""How far a decoded picture is from its original.  PIL images in, numbers out."""

from __future__ import annotations

import numpy as np
from PIL import Image

MS_SSIM_LEAST = 161     # pixels of the shorter side: five scales of an 11-pixel window


def psnr(a: Image.Image, b: Image.Image) -> float:
    """RGB PSNR [dB]; infinite for equal pictures."""
    error = np.mean((np.asarray(a.convert("RGB"), float) - np.asarray(b.convert("RGB"), float)) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def ms_ssim(a: Image.Image, b: Image.Image) -> float | None:
    """MS-SSIM of RGB (Wang, Simoncelli, Bovik 2003), by the package pytorch-msssim; None for pictures too small for five scales."""
    import torch
    from pytorch_msssim import ms_ssim as measure

    if min(a.size) < MS_SSIM_LEAST:
        return None
    planes = [torch.from_numpy(np.array(i.convert("RGB"))).permute(2, 0, 1)[None].float() for i in (a, b)]
    return float(measure(*planes, data_range=255))
