"""Stand-ins for the registered models' weights: random, a few channels wide, of the registered geometry, under the
registered names.

The table's settings cannot tell them from the real ones, so what runs on them here runs on those elsewhere.
"""

from __future__ import annotations

from pathlib import Path

import diffusers
import torch
from pipelines import _write, added, flux2, scheduler, unet

from sdf_format.models.loading import MODELS, by_name

NAMES = [spec.name for spec in MODELS.values() if spec.published]


def refiner() -> torch.nn.Module:
    """SDXL's, which halves once more than the network before it: sides of 32 pixels are not always multiples of its
    cells.
    """
    return unet(
        sample_size=128,
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",),
        **added(5),
    )


def network(name: str) -> torch.nn.Module:
    if name in ("sd15", "sd21"):
        return unet(
            sample_size=64 if name == "sd15" else 96,
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("CrossAttnDownBlock2D",) + ("DownBlock2D",) * 3,
            up_block_types=("UpBlock2D",) * 3 + ("CrossAttnUpBlock2D",),
        )
    if name == "sdxl":
        return unet(
            sample_size=128,
            block_out_channels=(8, 8, 16),
            down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2,
            up_block_types=("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",),
            **added(6),
        )
    if name == "flux1-dev":
        return diffusers.FluxTransformer2DModel(
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=8,
            guidance_embeds=True,
            axes_dims_rope=(4, 4, 8),
        )
    if name == "sd35-medium":
        return diffusers.SD3Transformer2DModel(
            sample_size=128,
            in_channels=16,
            out_channels=16,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=16,
            caption_projection_dim=16,
            pooled_projection_dim=8,
            pos_embed_max_size=192,
        )
    if name == "flux2-klein-base":
        return flux2(128)
    return diffusers.ZImageTransformer2DModel(
        in_channels=16,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 6, 6],
        axes_lens=[64, 128, 128],
    )


def _autoencoder(name: str) -> torch.nn.Module:
    settings = MODELS[by_name(name)].published.settings
    if name == "flux2-klein-base":
        return diffusers.AutoencoderKLFlux2(block_out_channels=(8,) * 4, layers_per_block=1, norm_num_groups=4)
    return diffusers.AutoencoderKL(
        block_out_channels=(8,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        layers_per_block=1,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=settings.channels,
        norm_num_groups=4,
        sample_size=settings.native,
        scaling_factor=settings.scaling,
        shift_factor=settings.shift or None,
    )


def save(name: str, base: Path) -> Path:
    """Below `base`, where SDF_MODEL_DIR can point."""
    settings = MODELS[by_name(name)].published.settings
    torch.manual_seed(len(name))
    if settings.prediction == "flow":
        return _write(
            base / name,
            settings.pipeline,
            transformer=network(name),
            vae=_autoencoder(name),
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        )
    _write(
        base / name,
        settings.pipeline,
        unet=network(name),
        vae=_autoencoder(name),
        scheduler=scheduler(settings.prediction),
    )
    if name == "sdxl":
        _write(
            base / "sdxl-refiner",
            "StableDiffusionXLImg2ImgPipeline",
            unet=refiner(),
            vae=_autoencoder(name),
            scheduler=scheduler(),
        )
    return base / name
