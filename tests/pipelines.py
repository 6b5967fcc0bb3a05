"""Tiny pipelines with random weights, of the very classes that the published models are of, saved as folders."""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
import torch

CHANNELS = 4


def autoencoder(channels: int = CHANNELS, levels: int = 2, **settings) -> diffusers.AutoencoderKL:
    """Cells of 2 pixels with two levels, of 8 with four."""
    return diffusers.AutoencoderKL(block_out_channels=(8,) * (levels - 1) + (16,), down_block_types=("DownEncoderBlock2D",) * levels,
                                   up_block_types=("UpDecoderBlock2D",) * levels, layers_per_block=1, latent_channels=channels,
                                   sample_size=32, norm_num_groups=4, **settings)


def unet(**settings) -> diffusers.UNet2DConditionModel:
    return diffusers.UNet2DConditionModel(**dict(
        sample_size=16, in_channels=CHANNELS, out_channels=CHANNELS, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16, attention_head_dim=4) | settings)


def added(numbers: int) -> dict:
    """Micro-conditioning as SDXL's: so many numbers of 8 dimensions each, and a pooled text of 32."""
    return dict(addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=8 * numbers + 32)


def scheduler(prediction: str = "epsilon") -> diffusers.DDIMScheduler:
    return diffusers.DDIMScheduler(1000, 0.00085, 0.012, "scaled_linear", prediction_type=prediction)


def _write(folder: Path, pipeline: str, **components) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, component in components.items():
        options = {} if name == "scheduler" else dict(safe_serialization=True)
        component.save_pretrained(folder / name, **options)
    index = {name: ["diffusers", type(part).__name__] for name, part in components.items()}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline, **index}))
    return folder


def save(kind: str, folder: Path) -> Path:
    """One of `KINDS` as a folder."""
    torch.manual_seed(len(kind))
    if kind in ("epsilon", "v_prediction"):
        return _write(folder, "StableDiffusionPipeline", unet=unet(), vae=autoencoder(), scheduler=scheduler(kind))
    if kind == "sdxl":
        _write(folder, "StableDiffusionXLPipeline", unet=unet(**added(6)), vae=autoencoder(scaling_factor=0.13025), scheduler=scheduler())
        _write(folder / "refiner", "StableDiffusionXLImg2ImgPipeline", unet=unet(**added(5)), vae=autoencoder(), scheduler=scheduler())
        return folder
    flow = diffusers.FlowMatchEulerDiscreteScheduler()
    # Flux's and Z-Image's smallest picture is 256x256 pixels, whatever the cell: large ones keep the tests short.
    shifted = autoencoder(levels=2 if kind == "sd3" else 4, scaling_factor=0.3611, shift_factor=0.1159)
    if kind == "flux":
        net = diffusers.FluxTransformer2DModel(in_channels=4 * CHANNELS, num_layers=1, num_single_layers=1, attention_head_dim=16,
                                               num_attention_heads=2, joint_attention_dim=16, pooled_projection_dim=8,
                                               guidance_embeds=True, axes_dims_rope=(4, 4, 8))
        return _write(folder, "FluxPipeline", transformer=net, vae=shifted, scheduler=flow)
    if kind == "sd3":
        net = diffusers.SD3Transformer2DModel(sample_size=16, in_channels=CHANNELS, num_layers=2, attention_head_dim=8, num_attention_heads=2,
                                              joint_attention_dim=16, caption_projection_dim=16, pooled_projection_dim=8,
                                              out_channels=CHANNELS, pos_embed_max_size=64)
        return _write(folder, "StableDiffusion3Pipeline", transformer=net, vae=shifted, scheduler=flow)
    net = diffusers.ZImageTransformer2DModel(in_channels=CHANNELS, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2,
                                             cap_feat_dim=16, axes_dims=[4, 6, 6], axes_lens=[64, 64, 64])
    return _write(folder, "ZImagePipeline", transformer=net, vae=shifted, scheduler=flow)


KINDS = ("epsilon", "v_prediction", "sdxl", "flux", "sd3", "z_image")


def add_text(folder: Path) -> Path:
    """A CLIP text encoder and its tokenizer, tiny, for a folder of kind epsilon; the vocabulary is the letters."""
    from transformers import CLIPTextConfig, CLIPTextModel

    letters = [chr(c) for c in range(97, 123)]
    words = [*letters, *(c + "</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    torch.manual_seed(1)
    text = CLIPTextModel(CLIPTextConfig(vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                                        max_position_embeddings=77, bos_token_id=len(words) - 2, eos_token_id=len(words) - 1,
                                        pad_token_id=len(words) - 1))
    text.save_pretrained(folder / "text_encoder")
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (tokenizer / "merges.txt").write_text("#version: 0.2\n")
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(dict(
        tokenizer_class="CLIPTokenizer", model_max_length=77, bos_token="<|startoftext|>", eos_token="<|endoftext|>",
        unk_token="<|endoftext|>", pad_token="<|endoftext|>")))
    index = json.loads((folder / "model_index.json").read_text())
    index |= dict(text_encoder=["transformers", "CLIPTextModel"], tokenizer=["transformers", "CLIPTokenizer"],
                  safety_checker=[None, None], feature_extractor=[None, None])
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
