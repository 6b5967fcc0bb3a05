"""What a network is conditioned on besides the latent: a prompt's embeddings, by the pipeline's own code and encoders.

The text encoders are loaded for one prompt and dropped: Flux's take 10 GB that the walk does not need. A folder without
any gives zeros.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor

from sdf_format.errors import MissingModel, Unsupported
from sdf_format.models.checkpoint import TEXT, Checkpoint, check_index, check_whole, read_json, tensor_files

CLIP_TOKENS = 77
AESTHETIC = 6.0  # what SDXL's refiner takes for a picture's beauty; its pipeline's default
REFINING = "StableDiffusionXLImg2ImgPipeline"
BASE_NUMBERS, REFINER_NUMBERS = 6, 5  # micro-conditioning: sizes and crop; size, crop and aesthetic score
SHARED = "txt_ids"
TOKENS = 8  # of nothing, where there is no text encoder

Condition = dict[str, Any]  # keyword arguments of the network's forward


class OneAtATime:
    """A lock that a fork releases: of several threads with new prompts one loads text encoders, and the others wait."""

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.lock = threading.Lock()

    def __enter__(self) -> None:
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


one_at_a_time = OneAtATime()


def embed(
    checkpoint: Checkpoint | None,
    pipeline: str,
    network: torch.nn.Module,
    prompts: Sequence[str],
    refiner: bool,
    device: torch.device,
    tokens: int = TOKENS,
) -> list[Condition]:
    """The arguments for a network, a prompt each, in its precision.

    checkpoint  None: there is no folder, and so no text encoder; tokens: of nothing then
    device      where the text encoders run
    """
    folder = None if checkpoint is None else checkpoint.refiner if refiner else checkpoint.folder
    name = REFINING if refiner else pipeline
    if checkpoint is None or folder is None or not any((folder / name).is_dir() for name in TEXT):
        if any(prompts):
            raise MissingModel(f"§4.4 {folder} has no text encoder, so it takes no prompt")
        return [nothing(name, network, refiner, device, tokens)]
    check_index(folder)
    index = read_json(folder / "model_index.json")
    absent = [n for n in index if n.startswith(("text_encoder", "tokenizer")) and not (folder / n).is_dir()]
    left_out = dict.fromkeys(
        ("unet" if "StableDiffusion" in name and name != "StableDiffusion3Pipeline" else "transformer", "vae", *absent)
    )
    if name == "StableDiffusionPipeline":
        left_out |= dict(safety_checker=None, feature_extractor=None, image_encoder=None, requires_safety_checker=False)
    try:
        with no_bars():
            # Ours to load: diffusers says nothing of weights that are missing.
            encoders = {
                n: _text_encoder(folder / n, index[n][1], checkpoint.variant, network.dtype)
                for n in TEXT
                if n not in absent and isinstance(index.get(n), list) and index[n][1]
            }
            pipe = (
                getattr(diffusers, name)
                .from_pretrained(
                    folder,
                    **left_out,
                    **encoders,
                    variant=checkpoint.variant,
                    torch_dtype=network.dtype,
                    use_safetensors=True,
                    local_files_only=True,
                )
                .to(device)
            )
        # it asks the network how wide T5's zeros must be
        if name == "StableDiffusion3Pipeline" and pipe.text_encoder_3 is None:
            pipe.register_modules(transformer=network)
        with torch.inference_mode():
            return [_embedded(name, pipe, prompt, device) for prompt in prompts]
    except torch.OutOfMemoryError as error:
        raise Unsupported(
            f"the text encoders in {folder} do not fit into the memory of {device}; SDF_OFFLOAD=1 runs them on the "
            f"CPU: {str(error).splitlines()[0]}"
        ) from error
    except (OSError, ValueError, ImportError, AttributeError, TypeError) as error:
        without = f", which is without {', '.join(absent)}," if absent else ""
        raise MissingModel(
            f"§4.4 the text encoders in {folder}{without} do not load: {str(error).splitlines()[0]}"
        ) from error


def _text_encoder(folder: Path, name: str, variant: str | None, dtype: torch.dtype) -> torch.nn.Module:
    """A class of transformers by name from its folder, all of whose weights are there. MissingModel"""
    import transformers

    chosen = variant if variant and any(f".{variant}" in f.name for f in tensor_files(folder, variant)) else None
    net, said = getattr(transformers, name).from_pretrained(
        folder, variant=chosen, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
    )
    check_whole(folder, said)
    return net.eval()


@contextmanager
def no_bars() -> Iterator[None]:
    """Without a progress bar for every part of a pipeline on stderr."""
    from transformers.utils import logging as other

    here = [log for log in (diffusers.utils.logging, other) if log.is_progress_bar_enabled()]
    for log in here:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log in here:
            log.enable_progress_bar()


def _embedded(name: str, pipe: Any, prompt: str, device: torch.device) -> Condition:
    if name == "StableDiffusionPipeline":
        text, _ = pipe.encode_prompt(prompt, device, 1, False)
        return dict(encoder_hidden_states=text)
    if name.startswith("StableDiffusionXL"):
        text, _, pooled, _ = pipe.encode_prompt(prompt, device=device, do_classifier_free_guidance=False)
        return dict(encoder_hidden_states=text, added_cond_kwargs=dict(text_embeds=pooled))
    if name == "FluxPipeline":
        text, pooled, ids = pipe.encode_prompt(prompt, None, device=device)
        return dict(encoder_hidden_states=text, pooled_projections=pooled, txt_ids=ids)
    if name == "Flux2KleinPipeline":
        text, ids = pipe.encode_prompt(prompt, device=device)
        return dict(encoder_hidden_states=text, txt_ids=ids)
    if name == "StableDiffusion3Pipeline":
        text, _, pooled, _ = pipe.encode_prompt(prompt, None, None, device=device, do_classifier_free_guidance=False)
        return dict(encoder_hidden_states=text, pooled_projections=pooled)
    text, _ = pipe.encode_prompt(prompt, device=device, do_classifier_free_guidance=False)
    return dict(cap_feats=text)


def stacked(conditions: Sequence[Condition]) -> Condition:
    """Arguments for one input each as those for all of them; what is no batch, such as Flux's places of words, is the
    same for all.
    """
    first = conditions[0]
    if len(conditions) == 1:
        return first

    def joined(key: str) -> Any:
        value = first[key]
        if isinstance(value, dict):
            return stacked([c[key] for c in conditions])
        if isinstance(value, list):
            return [entry for c in conditions for entry in c[key]]
        return torch.cat([c[key] for c in conditions]) if isinstance(value, Tensor) and key != SHARED else value

    return {key: joined(key) for key in first}


def to_device(condition: Any, device: torch.device) -> Any:
    """The same on a device."""
    if isinstance(condition, dict):
        return {key: to_device(value, device) for key, value in condition.items()}
    if isinstance(condition, list):
        return [to_device(value, device) for value in condition]
    return condition.to(device) if isinstance(condition, Tensor) else condition


def nothing(pipeline: str, network: torch.nn.Module, refiner: bool, device: torch.device, tokens: int) -> Condition:
    """Zeros of the shapes that the network's configuration asks for.  tokens: of text, where that number is free"""
    config, dtype = network.config, network.dtype

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, device=device, dtype=dtype)

    if pipeline == "ZImagePipeline":
        return dict(cap_feats=[zeros(tokens, config.cap_feat_dim)])
    if pipeline == "FluxPipeline":
        return dict(
            encoder_hidden_states=zeros(1, tokens, config.joint_attention_dim),
            txt_ids=zeros(tokens, 3),
            pooled_projections=zeros(1, config.pooled_projection_dim),
        )
    if pipeline == "Flux2KleinPipeline":
        return dict(encoder_hidden_states=zeros(1, tokens, config.joint_attention_dim), txt_ids=zeros(tokens, 4))
    if pipeline == "StableDiffusion3Pipeline":
        return dict(
            encoder_hidden_states=zeros(1, tokens, config.joint_attention_dim),
            pooled_projections=zeros(1, config.pooled_projection_dim),
        )
    text = dict(encoder_hidden_states=zeros(1, CLIP_TOKENS, config.cross_attention_dim))
    if config.addition_embed_type != "text_time":
        return text
    width = config.projection_class_embeddings_input_dim
    numbers = REFINER_NUMBERS if refiner else BASE_NUMBERS
    return text | dict(added_cond_kwargs=dict(text_embeds=zeros(1, width - numbers * config.addition_time_embed_dim)))
