"""The network of `sdf-tiny-1`: a two-level convolutional U-Net that corrects a Wiener filter.

diffusers' UNet2DModel normalises with statistics of the whole picture (GroupNorm), so a tile of a large
photograph would decode differently from the same place in a small one. Here every normalisation is over the
channels of one position: the output at a position depends on its receptive field alone, and tiles with a margin of
MARGIN give exactly what the whole picture gives.
"""

from __future__ import annotations

import math
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdf_format.models.dct import CHANNELS

SIGMA = (0.03, 20.0)  # noise levels trained on, in units of the latent

# Radius of the receptive field in latent positions, rounded up to the grid of two that the lower level works on:
# two outer convolutions, two in each of five outer blocks, two of twice the pitch in each of four inner blocks.
MARGIN = 2 + 2 * 5 + 2 * 2 * 4 + 2


def channel_norm(x: Tensor) -> Tensor:
    """Unit mean square over the channels of each position."""
    return F.rms_norm(x.permute(0, 2, 3, 1), (x.shape[1],), eps=1e-5).permute(0, 3, 1, 2)


class Block(nn.Module):
    """Residual block; the noise level scales and shifts the normalised input."""

    def __init__(self, channels: int, embedding: int):
        super().__init__()
        self.film = nn.Linear(embedding, 2 * channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        scale, shift = self.film(level)[:, :, None, None].chunk(2, dim=1)
        h = F.silu(torch.addcmul(shift, channel_norm(x), 1 + scale))
        return x + self.second(F.silu(self.first(h)))


class TinyNet(nn.Module):
    """Posterior mean of the clean latent, given a noisy one.

    variance  (192,) second moment of each weighted DCT channel over the training photographs: what the Wiener filter
              needs to know. Preconditioning as in EDM (Karras et al. 2022, §5), one channel at a time: the
              network's target has unit variance in every channel at every noise level, and an untrained network
              is exactly the Wiener filter.
    weight    (192,) factor between a DCT coefficient and its channel.
    """

    def __init__(self, outer: int = 224, inner: int = 256, embedding: int = 64):
        super().__init__()
        self.register_buffer("variance", torch.ones(CHANNELS))
        self.register_buffer("weight", torch.ones(CHANNELS))
        steps = torch.arange(1, embedding // 2 + 1, dtype=torch.float32, device="cpu")
        self.register_buffer("frequencies", steps * (math.pi / 12), persistent=False)
        self.level = nn.Sequential(
            nn.Linear(embedding, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.enter = nn.Conv2d(CHANNELS, outer, 3, padding=1)
        self.before = nn.ModuleList(Block(outer, embedding) for _ in range(2))
        self.down = nn.Conv2d(outer, inner, 2, stride=2)
        self.middle = nn.ModuleList(Block(inner, embedding) for _ in range(4))
        self.up = nn.ConvTranspose2d(inner, outer, 2, stride=2)
        self.after = nn.ModuleList(Block(outer, embedding) for _ in range(3))
        self.leave = nn.Conv2d(outer, CHANNELS, 3, padding=1)
        for layer in chain(self.leave.parameters(), self.up.parameters()):
            nn.init.zeros_(layer)

    def correction(self, y: Tensor, sigma: Tensor) -> Tensor:
        """The network proper, in units of the Wiener filter's own error."""
        v = self.variance[:, None, None]
        # Outside the trained range the filter around the network goes on being right; its conditioning stays in range.
        angle = torch.log(sigma.flatten().clamp(*SIGMA))[:, None] * self.frequencies
        level = self.level(torch.cat([angle.sin(), angle.cos()], dim=1))
        # The Wiener estimate over the prior's standard deviation: channels that are all noise fade out.
        x = self.enter((y * v.sqrt() / (v + sigma**2)).contiguous(memory_format=torch.channels_last))
        for block in self.before:
            x = block(x, level)
        h = self.down(x)
        for block in self.middle:
            h = block(h, level)
        x = x + self.up(h)
        for block in self.after:
            x = block(x, level)
        return self.leave(channel_norm(x))

    def forward(self, y: Tensor, sigma: Tensor) -> Tensor:
        """y (B, 192, h, w) = clean + sigma * normal, h and w even; sigma (B, 1, 1, 1); result like y, float32."""
        v = self.variance[:, None, None]
        return (v * y + v.sqrt() * sigma * (v + sigma**2).sqrt() * self.correction(y, sigma).float()) / (v + sigma**2)
