"""`sdf-tiny-1` behind the model interface (§4.3): block DCT, network, tiles."""

from __future__ import annotations

import numpy as np
import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from sdf_format.models import dct
from sdf_format.models.tiny_net import MARGIN, TinyNet

TILE = 128  # latent positions a side of a tile's own part, even
WHOLE = 192 * 192  # positions up to which the picture is one tile
STRIP = 64  # rows of blocks transformed at a time


def load(data: bytes, device: str) -> Tiny:
    """From the bytes of a safetensors file."""
    return Tiny(load_safetensors(data), device)


def fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 convolutions are faster than float32 ones there."""
    if device.type == "cpu":
        flags = torch.backends.cpu.get_cpu_capability()
        return flags.startswith("AVX512") and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


class Tiny:
    """Weighted DCT coefficients of opponent colours as latent; tiles of a latent visit the device, if it does not live
    there.
    """

    whole, tile, margin = WHOLE, TILE, MARGIN

    def __init__(self, state: dict[str, Tensor], device: str, dtype: torch.dtype | None = None):
        self.device = self.latent_device = torch.device(device)
        self.dtype = dtype or (torch.bfloat16 if fast_bfloat16(self.device) else torch.float32)
        self.prepare(state)

    def prepare(self, state: dict[str, Tensor]) -> None:
        """The network from its tensors."""
        with torch.device("meta"):  # nothing is drawn, in whatever dtype, that the weights are to replace
            net = TinyNet()
        net.load_state_dict({k: v.float() for k, v in state.items()}, assign=True)
        self.net = net.eval().requires_grad_(False).to(self.device, memory_format=torch.channels_last)
        self.weight = net.weight.float().cpu()[:, None, None]

    def encode(self, pixels: np.ndarray) -> Tensor:
        height, width, _ = pixels.shape
        latent = torch.empty(1, dct.CHANNELS, height // dct.BLOCK, width // dct.BLOCK, dtype=torch.float32)
        for top in range(0, latent.shape[2], STRIP):
            strip = np.array(pixels[top * dct.BLOCK : (top + STRIP) * dct.BLOCK])
            planes = torch.from_numpy(strip).permute(2, 0, 1).float() / 127.5 - 1
            latent[0, :, top : top + STRIP] = dct.forward(planes[None])[0] * self.weight
        return latent

    def decode(self, latent: Tensor) -> np.ndarray:
        return self.decode_reduced(latent, 1)

    def decode_reduced(self, latent: Tensor, reduce: int) -> np.ndarray:
        """`decode` with sides divided by 2, 4 or 8."""
        side = dct.BLOCK // reduce
        height, width = (n * side for n in latent.shape[2:])
        pixels = np.empty((height, width, 3), np.uint8)
        for top in range(0, latent.shape[2], STRIP):
            planes = dct.inverse(latent[:, :, top : top + STRIP] / self.weight, reduce)[0]
            strip = ((planes + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            pixels[top * side : (top + STRIP) * side] = strip.permute(1, 2, 0).numpy()
        return pixels

    def sample_errors(self, latent: Tensor, other: Tensor, size: tuple[int, int] | None = None) -> tuple[float, float]:
        """Mean and mean squared error of the samples, 0..255, that one latent has and another would be shown as.

        size: height and width of the picture, if the latents have a border beside it [pixel]
        """
        height, width = size or (n * dct.BLOCK for n in latent.shape[2:])
        mean = squared = 0.0
        for top in range(0, latent.shape[2], STRIP):
            wanted, found = (
                self.decode(x[:, :, top : top + STRIP].cpu())[: height - top * dct.BLOCK, :width].astype(np.float32)
                for x in (latent, other)
            )
            mean += float(np.abs(found - wanted).sum())
            squared += float(np.square(found - wanted).sum())
        return mean / (3 * height * width), squared / (3 * height * width)

    def predict(self, y: Tensor, sigma: float) -> Tensor:
        height, width = y.shape[2:]
        tile, margin = self.tile, self.margin
        if height * width <= self.whole:
            return self._predict(y, sigma)
        result = torch.empty_like(y)
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                above, before = max(0, top - margin), max(0, left - margin)
                part = y[:, :, above : top + tile + margin, before : left + tile + margin]
                inner = self._predict(part, sigma)[
                    :, :, top - above : top - above + tile, left - before : left - before + tile
                ]
                result[:, :, top : top + tile, left : left + tile] = inner
        return result

    @torch.inference_mode()
    def _predict(self, y: Tensor, sigma: float) -> Tensor:
        level = torch.full((1, 1, 1, 1), sigma, dtype=torch.float32, device=self.device)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.net(y.to(self.device), level).float().to(y.device)
