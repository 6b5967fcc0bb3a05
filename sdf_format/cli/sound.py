"""`sdf encode` and `sdf decode` of sound."""

from __future__ import annotations

import argparse
from typing import Any, BinaryIO

from sdf_format import files, terminal
from sdf_format.container.header import SOUNDS, Header
from sdf_format.errors import BadInput

TYPE = "wav"
TRIAL = 16  # samples
# Options of `sdf encode` that are for pictures, or for kinds that no model of sound can do.
NOT_FOR_SOUND = (
    "quality",
    "bpp",
    "prompt",
    "caption",
    "guidance",
    "denoiser",
    "seed",
    "steps",
    "table",
    "coder",
    "effort",
    "preview",
    "strip",
)


def encode(stream: BinaryIO, args: argparse.Namespace, options: dict[str, object]) -> tuple[bytes, str]:
    """The file, and what its size comes to.  options: of the payload kind, by name"""
    from sdf_format import sound, sound_file

    for name in NOT_FOR_SOUND:
        if getattr(args, name, None):
            raise BadInput(f"--{name} is for pictures, and {terminal.shown(args.image)} is sound")
    if not args.model:
        raise BadInput(
            "sound needs --model: the folder of an AutoencoderOobleck of diffusers, such as Stable Audio's vae; "
            "none comes with the package"
        )
    samples, rate = sound_file.read(stream, args.image)
    given: dict[str, Any] = {k: v for k, v in options.items() if v is not None}
    with terminal.progress("encoding") as progress:
        made = sound.encode(
            samples,
            rate,
            model_name=args.model,
            kind=args.kind or sound.DEFAULT_KIND,
            target_bytes=args.target_bytes,
            device=args.device,
            progress=progress,
            **given,
        )
    seconds = samples.shape[1] / rate
    return made.data, f", {seconds:.2f} s, {8 * len(made.data) / seconds:.0f} bits a second"


def decode(stream: BinaryIO, header: Header, source: str, target: str, args: argparse.Namespace) -> None:
    """Write a sound's samples to `target`, in the format that its ending says."""
    import numpy as np

    from sdf_format import sound, sound_file

    if args.uncertainty or args.denoiser or args.realism is not None:
        raise BadInput(
            f"--uncertainty, --denoiser and --realism are for pictures, and {terminal.shown(source)} is sound"
        )
    name = f"stdout.{args.type or TYPE}" if target == files.STANDARD else target
    if not sound_file.is_sound(name):
        raise BadInput(
            f"{terminal.shown(source)} is sound and {terminal.shown(name)} no name for it; known endings: "
            f"{', '.join(sound_file.ENDINGS)}"
        )
    sound_file.build(
        np.zeros((SOUNDS[header.mode], TRIAL), np.float32), header.rate, name
    )  # what a format cannot hold is known before the model runs
    with terminal.progress("decoding") as progress:
        samples, rate = sound.decode(stream, device=args.device, truncated=args.truncated, progress=progress)
    files.put(target, sound_file.build(samples, rate, name), args.force)
