"""Writes models/autoencoder, which the files of kinds palette and lowbit are made with.

`python spec/conformance/autoencoder.py`

Nobody's autoencoder: random weights of the smallest size that diffusers takes, stretched until latents and pictures
fill their ranges. To be run once; the files name the weights by their hash.
"""

from __future__ import annotations

from pathlib import Path

import diffusers
import torch
from accepted import scene

FOLDER = Path(__file__).parent / "models" / "autoencoder"


@torch.inference_mode()
def main() -> None:
    torch.manual_seed(0)
    made = dict(
        block_out_channels=(4, 4),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        sample_size=64,
        norm_num_groups=2,
        mid_block_add_attention=False,
    )
    net = diffusers.AutoencoderKL(**made).eval()
    pixels = torch.from_numpy(scene(40, 24)).permute(2, 0, 1)[None] / 127.5 - 1
    latent = net.encode(pixels).latent_dist.mean
    net.register_to_config(scaling_factor=round(float(1 / latent.std()), 4))
    out = net.decode(torch.randn(1, 4, 12, 20) / net.config.scaling_factor).sample
    gain = 0.45 / out.std()
    net.decoder.conv_out.weight.mul_(gain)
    net.decoder.conv_out.bias.sub_(out.mean(dim=(0, 2, 3))).mul_(gain)
    net.save_pretrained(FOLDER)


if __name__ == "__main__":
    main()
