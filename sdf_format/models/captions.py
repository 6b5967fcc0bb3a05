"""A caption for a picture, for those who ask for one: BLIP through transformers.

Nothing else in the package calls this.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sdf_format.errors import MissingModel, with_extra
from sdf_format.models import checkpoint, hub

REPOSITORY = "Salesforce/blip-image-captioning-base"
GIGABYTES = 1.0
# of its training pictures
MEAN, SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
WORDS = 40  # tokens at most


def folder() -> Path:
    """Where BLIP lies: below SDF_MODEL_DIR, in the hub's cache, or downloaded if SDF_DOWNLOAD allows it."""
    bases = [Path(b) for b in os.environ.get("SDF_MODEL_DIR", "").split(os.pathsep) if b]
    own = REPOSITORY.rpartition("/")[2]
    found = next((b / own for b in bases if (b / own / "config.json").is_file()), None)
    found = found or hub.folder_of(
        REPOSITORY,
        GIGABYTES,
        hub.allowed(),
        ("config.json", "*.json", "*.safetensors", "*.txt"),
        lambda place: [] if checkpoint.tensor_files(place, None) else ["weights"],
    )
    if found is None or not checkpoint.tensor_files(found, None):
        raise MissingModel(
            f"the captioner {REPOSITORY} (about {GIGABYTES:g} GB) is not in a folder {own} of SDF_MODEL_DIR nor in the "
            "hub's cache; set SDF_DOWNLOAD=1 to have it fetched, or give a prompt of your own"
        )
    return found


def caption(image: Image.Image, device: str = "cpu") -> str:
    """One English sentence about the picture, the same every time on one machine."""
    try:
        from transformers import AutoTokenizer, BlipForConditionalGeneration
    except ImportError as error:
        raise MissingModel(f"a captioner needs the package transformers: {with_extra('stable')}") from error
    where = folder()
    try:
        net, said = BlipForConditionalGeneration.from_pretrained(
            where, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
        checkpoint.check_whole(where, said)
        net = net.eval().to(device)
        # Without the argument it asks at the terminal whether code of the folder may run.
        tokenizer = AutoTokenizer.from_pretrained(where, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise MissingModel(f"{where} does not load as a captioner: {str(error).splitlines()[0]}") from error
    side = net.config.vision_config.image_size
    pixels = np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC), np.float32) / 255
    planes = (
        torch.from_numpy((pixels - np.array(MEAN, np.float32)) / np.array(SPREAD, np.float32))
        .permute(2, 0, 1)[None]
        .to(device)
    )
    with torch.inference_mode():
        tokens = net.generate(pixel_values=planes, max_new_tokens=WORDS, do_sample=False)
    return tokenizer.decode(tokens[0], skip_special_tokens=True).strip()
