"""Autoencoders of diffusers alone (§4.4): the mean of the posterior, scaled to about unit variance, and back."""

from __future__ import annotations

from pathlib import Path

import diffusers
import numpy as np
import torch
from torch import Tensor

from sdf_format.checkpoint import read_json
from sdf_format.errors import MissingModel

CLASSES = {"AutoencoderKL": "AutoencoderKL", "ZImageVAE": "AutoencoderKL", "AutoencoderOobleck": "AutoencoderOobleck"}
TILED = 1.5         # areas of the trained size from which on the autoencoder works by tiles of its own


def load(folder: Path, device: str, variant: str | None = None) -> Images | Sound:
    """From a component's folder. Only safetensors; float32, since published ones overflow in float16."""
    name = read_json(folder / "config.json").get("_class_name", "")
    if name not in CLASSES:
        raise MissingModel(f"§4.4 {folder}: autoencoder {name!r} has no adapter here; known: {', '.join(CLASSES)}")
    net = load_component(CLASSES[name], folder, device, torch.float32, variant)
    return Sound(net) if name == "AutoencoderOobleck" else Images(net)


def load_component(name: str, folder: Path, device: str, dtype: torch.dtype, variant: str | None = None) -> torch.nn.Module:
    """A class of diffusers by name from its folder: safetensors, no remote code, no network."""
    from sdf_format.checkpoint import tensor_files

    chosen = variant if variant and any(f".{variant}" in f.name for f in tensor_files(folder, variant)) else None
    try:
        net = getattr(diffusers, name).from_pretrained(folder, variant=chosen, torch_dtype=dtype, use_safetensors=True,
                                                       local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise MissingModel(f"§4.4 {folder} does not load as {name}: {str(error).splitlines()[0]}") from error
    return net.eval().requires_grad_(False).to(device)


class Images:
    """AutoencoderKL."""

    def __init__(self, net: diffusers.AutoencoderKL):
        self.net = net
        self.scaling, self.shift = net.config.scaling_factor, net.config.shift_factor or 0.0
        self.channels = net.config.latent_channels
        self.cell = 1 << len(net.config.block_out_channels) - 1

    def _tile(self, pixels: int) -> None:
        """Tiles beyond the trained size; both sides decide alike, by the size alone."""
        large = pixels > TILED * max(self.net.config.sample_size, 512) ** 2
        self.net.enable_tiling() if large else self.net.disable_tiling()

    @torch.inference_mode()
    def encode(self, pixels: np.ndarray) -> Tensor:
        self._tile(pixels.shape[0] * pixels.shape[1])
        planes = torch.tensor(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
        mean = self.net.encode(planes.to(self.net.device, self.net.dtype)).latent_dist.mode()
        return ((mean.float() - self.shift) * self.scaling).cpu()

    @torch.inference_mode()
    def decode(self, latent: Tensor) -> np.ndarray:
        self._tile(latent.shape[2] * latent.shape[3] * self.cell**2)
        planes = self.net.decode((latent / self.scaling + self.shift).to(self.net.device, self.net.dtype)).sample[0].float()
        return ((planes + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()


class Sound:
    """AutoencoderOobleck: (channels, samples) in [-1, 1], samples a multiple of the cell.

    sample_rate     [Hz]
    audio_channels  1 or 2
    """

    def __init__(self, net: diffusers.AutoencoderOobleck):
        self.net = net
        self.channels = net.config.decoder_input_channels
        self.cell = int(np.prod(net.config.downsampling_ratios))
        self.sample_rate, self.audio_channels = net.config.sampling_rate, net.config.audio_channels

    @torch.inference_mode()
    def encode(self, samples: np.ndarray) -> Tensor:
        wave = torch.from_numpy(np.ascontiguousarray(samples, np.float32))[None]
        return self.net.encode(wave.to(self.net.device)).latent_dist.mode().float().cpu()

    @torch.inference_mode()
    def decode(self, latent: Tensor) -> np.ndarray:
        return self.net.decode(latent.to(self.net.device)).sample[0].float().clamp(-1, 1).cpu().numpy()
