"""Autoencoders of diffusers alone (§4.4): the mean of the posterior, scaled to about unit variance, and back."""

from __future__ import annotations

from pathlib import Path

import diffusers
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from sdf_format.errors import MissingModel
from sdf_format.models import tiles
from sdf_format.models.autoencoder_config import CLASSES, SOUND, Lone, settings_of
from sdf_format.models.checkpoint import check_whole, read_json

# pixels a side of tiles at least: what an autoencoder was trained on may be less than what it can do
SMALLEST = 512
TILE, OVERLAP = 512, 64  # latent positions of a piece of sound, at most 30 s and 24 s of Stable Audio's


def load(folder: Path, device: str, variant: str | None = None) -> Images | Sound:
    """From a component's folder. Only safetensors; float32, since published ones overflow in float16."""
    settings_of(folder)  # says what has no adapter
    name = CLASSES[read_json(folder / "config.json")["_class_name"]]
    net = load_component(name, folder, device, torch.float32, variant)
    return Sound(net) if name == SOUND else Images(net)


def load_lone(checkpoint: Lone, device: str) -> Images | Sound:
    """As a model that has nothing to predict.  §4.5"""
    return load(checkpoint.folder, device, checkpoint.variant)


def load_component(
    name: str, folder: Path, device: str, dtype: torch.dtype, variant: str | None = None
) -> torch.nn.Module:
    """A class of diffusers by name from its folder: safetensors, no remote code, no network."""
    from sdf_format.models.checkpoint import tensor_files

    chosen = variant if variant and any(f".{variant}" in f.name for f in tensor_files(folder, variant)) else None
    try:
        net, said = getattr(diffusers, name).from_pretrained(
            folder,
            variant=chosen,
            torch_dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:  # what diffusers raises depends on the configuration
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise MissingModel(f"§4.4 {folder} does not load as {name}: {reason}") from error
    check_whole(folder, said)
    return net.eval().requires_grad_(False).to(device)


class Images:
    """AutoencoderKL; AutoencoderTiny, which has no posterior; AutoencoderKLFlux2, which takes 2x2 positions as one and
    has mean and spread of every channel in its weights.
    """

    def __init__(self, net: torch.nn.Module):
        self.net, self.patch = net, 1
        if isinstance(net, diffusers.AutoencoderKLFlux2):
            self.patch = 2
            self.shift = net.bn.running_mean.float()[:, None, None]
            self.scaling = (net.bn.running_var.float()[:, None, None] + net.config.batch_norm_eps).rsqrt()
        else:
            self.scaling, self.shift = net.config.scaling_factor, net.config.shift_factor or 0.0
        self.channels = net.config.latent_channels * self.patch**2
        self.cell = self.patch << len(net.config.get("num_encoder_blocks", net.config.block_out_channels)) - 1

    def _tilings(self, height: int, width: int) -> tuple[tiles.Tiling, tiles.Tiling]:
        """How a latent of height x width is cut, and its picture; by the sizes alone, so that both sides decide
        alike.
        """
        side, cell = max(self.net.config.get("sample_size", SMALLEST), SMALLEST) // self.cell, self.cell
        return tiles.Tiling(height, width, side, 1), tiles.Tiling(height * cell, width * cell, side * cell, cell)

    @torch.inference_mode()
    def encode(self, pixels: np.ndarray) -> Tensor:
        latents, pictures = self._tilings(pixels.shape[0] // self.cell, pixels.shape[1] // self.cell)
        return latents.blended(map(self._encoded, pictures.cut(torch.tensor(pixels).permute(2, 0, 1)[None])))

    def _encoded(self, samples: Tensor) -> Tensor:
        """(1, 3, H, W) uint8 to a latent."""
        out = self.net.encode(samples.to(self.net.device, self.net.dtype) / 127.5 - 1)
        mean = out.latents if isinstance(self.net, diffusers.AutoencoderTiny) else out.latent_dist.mode()
        return ((pixel_unshuffle(mean.float(), self.patch) - self.shift) * self.scaling).cpu()

    def decode(self, latent: Tensor) -> np.ndarray:
        return self.samples(latent).numpy()

    @torch.inference_mode()
    def samples(self, latent: Tensor) -> Tensor:
        """`decode` as a tensor."""
        latents, pictures = self._tilings(*latent.shape[2:])
        planes = pictures.blended(map(self._decoded, latents.cut(latent)))[0]
        return planes.add_(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0)

    def _decoded(self, latent: Tensor) -> Tensor:
        """To (1, 3, H, W) in about [-1, 1]."""
        mean = pixel_shuffle(latent.to(self.net.device) / self.scaling + self.shift, self.patch)
        return self.net.decode(mean.to(self.net.dtype)).sample.float().cpu()


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
        if hasattr(net, "tile_latent_min_length"):  # long sounds in pieces, where diffusers is new enough
            # At whole cells, or the pieces do not fit together; an overlap beyond the network's reach makes them exact.
            net.tile_sample_min_length, net.tile_sample_overlap = TILE * self.cell, OVERLAP * self.cell
            net.tile_latent_min_length, net.tile_latent_overlap = TILE, OVERLAP
            net.enable_tiling()

    @torch.inference_mode()
    def encode(self, samples: np.ndarray) -> Tensor:
        wave = torch.from_numpy(np.ascontiguousarray(samples, np.float32))[None]
        return self.net.encode(wave.to(self.net.device)).latent_dist.mode().float().cpu()

    @torch.inference_mode()
    def decode(self, latent: Tensor) -> np.ndarray:
        return self.net.decode(latent.to(self.net.device)).sample[0].float().clamp(-1, 1).cpu().numpy()
