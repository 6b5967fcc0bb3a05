"""Writes models/pipeline, a model that predicts, of a few kilobytes: `python spec/conformance/pipeline.py`.

Nobody's model: a U-Net of one level without attention and without text encoder, random weights, beside the suite's
autoencoder. Its tiles are of 16 pixels, so that small pictures need several. To be run once; the files name the weights
by their hash.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import diffusers
import torch

MODELS = Path(__file__).parent / "models"
FOLDER = MODELS / "pipeline"


@torch.inference_mode()
def main() -> None:
    torch.manual_seed(0)
    net = diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(4,),
        layers_per_block=1,
        norm_num_groups=2,
        down_block_types=("DownBlock2D",),
        mid_block_type=None,
        up_block_types=("UpBlock2D",),
        cross_attention_dim=4,
    ).eval()
    # Answers of unit variance, as v has: otherwise the walk's predictions would hardly matter.
    out = net(torch.randn(1, 4, 12, 20), 500, torch.zeros(1, 77, 4)).sample
    net.conv_out.weight.mul_(1 / out.std())
    net.conv_out.bias.zero_()
    net.save_pretrained(FOLDER / "unet")
    scheduler = diffusers.DDIMScheduler(1000, 0.00085, 0.012, "scaled_linear", prediction_type="v_prediction")
    scheduler.save_pretrained(FOLDER / "scheduler")
    shutil.copytree(MODELS / "autoencoder", FOLDER / "vae", dirs_exist_ok=True)
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    }
    (FOLDER / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    main()
