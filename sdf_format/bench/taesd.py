"""Autoencoders in TAESD's layout (Ollin Boer Bohan, MIT), for `sdf bench latents` and `sdf bench rd --latents FILE`.

Plain convolutions, blocks of three with a residual connection, some with a pooled branch, three strides of 2. The file
says which layer is which: the keys are those of one `torch.nn.Sequential`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

POOL_GROUPS = 4


class Block(nn.Module):
    """Three convolutions beside the identity; before them, where `pooled`, a branch with a group norm over the whole
    picture.
    """

    def __init__(self, width: int, pooled: int):
        super().__init__()
        convolutions = [nn.Conv2d(width, width, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], nn.ReLU(), convolutions[2])
        self.pool = (
            nn.Sequential(
                nn.Conv2d(width, pooled, 1, bias=False),
                nn.GroupNorm(POOL_GROUPS, pooled),
                nn.ReLU(),
                nn.Conv2d(pooled, width, 1, bias=False),
            )
            if pooled
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return (self.conv(x) + x).relu()


class Clamp(nn.Module):
    """What a decoder begins with."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


def encoder(weights: Path) -> nn.Sequential:
    """(B, 3, H, W) in [0, 1] to (B, channels, H / 8, W / 8), float32 on the CPU.

    weights  safetensors, or a PyTorch file that holds nothing but tensors
    """
    return _sequential(weights, 2)


def decoder(weights: Path) -> nn.Sequential:
    """The other way."""
    return _sequential(weights, 1)


def _sequential(weights: Path, stride: int) -> nn.Sequential:
    """stride: of the convolutions without bias.

    The layers without tensors are a clamp at 0, a ReLU at 2 and, from there on, upsamplings.
    """
    if weights.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(weights)
    else:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    layers: list[nn.Module] = []
    for number in range(1 + max(int(name.partition(".")[0]) for name in state)):
        if f"{number}.conv.0.weight" in state:
            pool = state.get(f"{number}.pool.0.weight")
            layers.append(Block(state[f"{number}.conv.0.weight"].shape[0], 0 if pool is None else pool.shape[0]))
        elif f"{number}.weight" in state:
            out, into, *_ = state[f"{number}.weight"].shape
            bias = f"{number}.bias" in state
            layers.append(nn.Conv2d(into, out, 3, padding=1, stride=1 if bias else stride, bias=bias))
        else:
            layers.append({0: Clamp(), 2: nn.ReLU()}.get(number, nn.Upsample(scale_factor=2)))
    net = nn.Sequential(*layers)
    net.load_state_dict(state)
    return net.float().eval().requires_grad_(False)


class Autoencoder:
    """Both in a folder, with `encoder` and `decoder` in their names, as `model.Autoencoder` has it."""

    cell = 8

    def __init__(self, folder: Path):
        self.nets = [
            made(next(f for f in sorted(folder.iterdir()) if part in f.name))
            for made, part in ((encoder, "encoder"), (decoder, "decoder"))
        ]
        self.channels = int(self.nets[0][-1].out_channels)

    @torch.inference_mode()
    def encode(self, pixels: np.ndarray) -> Tensor:
        return self.nets[0](torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255)

    @torch.inference_mode()
    def decode(self, latent: Tensor) -> np.ndarray:
        return (self.nets[1](latent)[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
