"""Folders of an autoencoder alone, without a network that predicts (§4.5): what they say of themselves, and their hash.

No torch.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from sdf_format.errors import MissingModel
from sdf_format.models.checkpoint import (
    PATCHED,
    check_numbers,
    class_of,
    configurations,
    configured,
    hash_of,
    read_json,
    tensor_files,
    weights_in,
)

PICTURES, TINY, SOUND = "AutoencoderKL", "AutoencoderTiny", "AutoencoderOobleck"
PIPELINES = ("StableAudioPipeline",)  # whose autoencoder is all of them that is used
# as configurations name them -> class of diffusers
CLASSES = {PICTURES: PICTURES, "ZImageVAE": PICTURES, PATCHED: PATCHED, TINY: TINY, SOUND: SOUND}


@dataclass(frozen=True)
class PictureSettings:
    """What the latent of an AutoencoderKL, AutoencoderKLFlux2 or AutoencoderTiny means: see `checkpoint.Settings`."""

    channels: int
    cell: int
    scaling: float
    shift: float
    native: int


@dataclass(frozen=True)
class SoundSettings:
    """What the latent of an AutoencoderOobleck means.

    channels  of the latent; cell: samples of one position
    rate      samples a second; planes: 1, mono, or 2, stereo
    """

    channels: int
    cell: int
    rate: int
    planes: int


def folder_of(folder: Path) -> Path | None:
    """Where an autoencoder lies in a folder: in itself or in `vae`. None if in neither."""
    for place in (folder, folder / "vae"):
        if (place / "config.json").is_file() and class_of(read_json(place / "config.json")) in CLASSES:
            return place
    return None


def settings_of(folder: Path) -> PictureSettings | SoundSettings:
    """What its configuration says; what it leaves out is as in diffusers. MissingModel for what has no adapter here, or
    makes no sense.
    """
    with configured(folder):
        found = _settings_of(folder)
        if isinstance(found, SoundSettings):
            check_numbers(
                folder, dict(channels=found.channels, cell=found.cell, planes=found.planes), dict(rate=found.rate)
            )
        else:
            whole = dict(channels=found.channels, cell=found.cell, native=found.native)
            check_numbers(folder, whole, dict(scaling_factor=found.scaling, shift_factor=found.shift))
    return found


def _settings_of(folder: Path) -> PictureSettings | SoundSettings:
    config = read_json(folder / "config.json")
    name = class_of(config)
    if name not in CLASSES:
        raise MissingModel(f"§4.5 {folder}: autoencoder {name!r} has no adapter here; known: {', '.join(CLASSES)}")
    if name == TINY:
        return PictureSettings(
            config.get("latent_channels", 4),
            1 << len(config.get("num_encoder_blocks", (0,) * 4)) - 1,
            config.get("scaling_factor", 1.0),
            config.get("shift_factor") or 0.0,
            512,
        )
    if name == PATCHED:
        return PictureSettings(
            4 * config.get("latent_channels", 32),
            2 << len(config.get("block_out_channels", (0,) * 4)) - 1,
            1.0,
            0.0,
            config.get("sample_size") or 1024,
        )
    if CLASSES[name] == PICTURES:
        return PictureSettings(
            config.get("latent_channels", 4),
            1 << len(config.get("block_out_channels", (64,))) - 1,
            config.get("scaling_factor", 0.18215),
            config.get("shift_factor") or 0.0,
            config.get("sample_size") or 32,
        )
    ratios, planes = config.get("downsampling_ratios", (2, 4, 4, 8, 8)), config.get("audio_channels", 2)
    if any(r % 2 for r in ratios) or planes not in (1, 2):
        raise MissingModel(
            f"§4.5 {folder}: ratios {ratios} and {planes} audio channels have no adapter here; wanted even ones, and 1 "
            "or 2"
        )
    return SoundSettings(
        config.get("decoder_input_channels", 64), math.prod(ratios), config.get("sampling_rate", 44100), planes
    )


@dataclass(frozen=True)
class Lone:
    """An autoencoder's folder, in one variant of its files. The counterpart of `checkpoint.Checkpoint`."""

    folder: Path
    variant: str | None = None

    def settings(self) -> PictureSettings | SoundSettings:
        return settings_of(self.folder)

    def parts(self) -> dict[str, Path]:
        return {"vae": self.folder}

    def sha256(self, whole: bool = True) -> bytes:
        """§4.5.  whole: with the configuration, as it is written since configurations count"""
        files = weights_in(self.parts(), self.variant)
        return hash_of(files + (configurations(self.parts()) if whole else []), asdict(self.settings()))


def variants(folder: Path) -> list[Lone]:
    """What a folder holds of it, full precision first; MissingModel if that is nothing that may be loaded."""
    found = [Lone(folder)] if tensor_files(folder, None) else []
    if any(folder.glob("*.fp16*.safetensors")):
        found.append(Lone(folder, "fp16"))
    if not found:
        weights_in({"vae": folder}, None)
    return found
