"""`sdf encode` and `sdf decode` of sound."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdf_format.errors import BadInput

Progress = Callable[[int, int], None]
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


def encode(args: argparse.Namespace, progress: Callable[[str], Progress | None], options: dict[str, object]) -> int:
    """options: of the payload kind, by name.  progress: label -> what counts model calls, or None off a terminal"""
    from sdf_format import sound, sound_file

    for name in NOT_FOR_SOUND:
        if getattr(args, name, None):
            raise BadInput(f"--{name} is for pictures, and {args.image} is sound")
    if not args.model:
        raise BadInput(
            "sound needs --model: the folder of an AutoencoderOobleck of diffusers, such as Stable Audio's vae; none "
            "comes with the package"
        )
    samples, rate = sound_file.read(args.image)
    given: dict[str, Any] = {k: v for k, v in options.items() if v is not None}
    if shown := progress("encoding"):
        given["progress"] = shown
    made = sound.encode(
        samples,
        rate,
        model_name=args.model,
        kind=args.kind or sound.DEFAULT_KIND,
        target_bytes=args.target_bytes,
        device=args.device,
        **given,
    )
    Path(args.sdf).write_bytes(made.data)
    seconds = samples.shape[1] / rate
    print(f"{args.sdf}: {len(made.data)} bytes, {seconds:.2f} s, {8 * len(made.data) / seconds:.0f} bits a second")
    return 0


def decode(sdf: str, target: str, args: argparse.Namespace, progress: Callable[[str], Progress | None]) -> int:
    from sdf_format import sound, sound_file

    if args.uncertainty or args.denoiser or args.realism is not None:
        raise BadInput(f"--uncertainty, --denoiser and --realism are for pictures, and {sdf} is sound")
    if not sound_file.is_sound(target):
        raise BadInput(f"{sdf} is sound and {target} no name for it; known endings: {', '.join(sound_file.ENDINGS)}")
    given: dict[str, Any] = {"progress": shown} if (shown := progress("decoding")) else {}
    with open(sdf, "rb") as stream:
        samples, rate = sound.decode(stream, device=args.device, truncated=args.truncated, **given)
    sound_file.write(target, samples, rate)
    return 0
