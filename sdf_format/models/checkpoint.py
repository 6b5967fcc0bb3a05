"""Folders of weights in the layout of diffusers (§4.4): what they say of themselves, which files count, their hash.

No torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from sdf_format import cache
from sdf_format.errors import MissingModel

STEMS = ("diffusion_pytorch_model", "model")
REFINER = "refiner"
TEXT = ("text_encoder", "text_encoder_2", "text_encoder_3")
NETWORKS = {  # class of pipeline -> component that predicts
    "StableDiffusionPipeline": "unet",
    "StableDiffusionXLPipeline": "unet",
    "StableDiffusionXLImg2ImgPipeline": "unet",
    "FluxPipeline": "transformer",
    "Flux2KleinPipeline": "transformer",
    "StableDiffusion3Pipeline": "transformer",
    "ZImagePipeline": "transformer",
}
ALIASES = {  # pipelines of the same components, which people save as well -> the class that counts
    "StableDiffusionImg2ImgPipeline": "StableDiffusionPipeline",
    "FluxImg2ImgPipeline": "FluxPipeline",
    "StableDiffusion3Img2ImgPipeline": "StableDiffusion3Pipeline",
    "ZImageImg2ImgPipeline": "ZImagePipeline",
}
SCHEDULES = ("scaled_linear", "linear")
ZERO_SNR = "_zero_snr"  # after a schedule's name: rescaled so that the last timestep is all noise
# inputs of a U-Net that nobody gives it here
EXTRAS = ("class_embed_type", "num_class_embeds", "time_cond_proj_dim", "encoder_hid_dim_type")
PATCHED = "AutoencoderKLFlux2"  # autoencoder whose own statistics normalise 2x2 positions taken together
PREDICTIONS = ("epsilon", "v_prediction", "sample", "flow")
MOST_JSON = 1 << 22  # bytes of a configuration
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
TOKENIZER_FILES = (".json", ".txt", ".model", ".jinja")
# What an index may name: component -> library and classes. Of others diffusers would import what the folder brings.
TEXT_CLASSES = ("CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel", "Qwen3Model", "Qwen3ForCausalLM")
TOKENIZER_CLASSES = tuple(
    f"{name}{fast}" for name in ("CLIPTokenizer", "T5Tokenizer", "Qwen2Tokenizer") for fast in ("", "Fast")
)
COMPONENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "unet": ("diffusers", ("UNet2DConditionModel",)),
    "transformer": (
        "diffusers",
        ("FluxTransformer2DModel", "Flux2Transformer2DModel", "SD3Transformer2DModel", "ZImageTransformer2DModel"),
    ),
    "vae": ("diffusers", ("AutoencoderKL", PATCHED, "AutoencoderTiny")),
    **dict.fromkeys(TEXT, ("transformers", TEXT_CLASSES)),
    **dict.fromkeys(TOKENIZERS, ("transformers", TOKENIZER_CLASSES)),
    "safety_checker": ("stable_diffusion", ("StableDiffusionSafetyChecker",)),
    "feature_extractor": ("transformers", ("CLIPImageProcessor", "CLIPFeatureExtractor", "SiglipImageProcessor")),
    "image_encoder": ("transformers", ("CLIPVisionModelWithProjection", "SiglipVisionModel")),
}
SCHEDULER = re.compile(r"[A-Za-z0-9]+Scheduler")  # of diffusers
LARGE = 1 << 26  # bytes from which on a file's hash is kept on disk


@dataclass(frozen=True)
class Settings:
    """What a latent and a prediction mean.

    pipeline    class in diffusers
    prediction  epsilon, v_prediction or sample of a variance-preserving model, or flow: noise minus clean
    betas       (schedule, first, last, number) of the former, None for flow; a schedule's name ends in ZERO_SNR where
                it is so rescaled
    scaling, shift  latent = (mean of the autoencoder - shift) * scaling; 1 and 0 where its weights have statistics of
                    their own
    channels    of the latent; cell: pixels a side of a position; multiple: pixels, what sides are padded to
    native      pixels a side that the network was trained at: tiles of the latent are as large
    """

    pipeline: str
    prediction: str
    betas: tuple[str, float, float, int] | None
    scaling: float
    shift: float
    channels: int
    cell: int
    multiple: int
    native: int


def read_json(path: Path) -> dict[str, Any]:
    """A configuration file; MissingModel if it is not there or is not JSON."""
    try:
        if path.stat().st_size > MOST_JSON:
            raise MissingModel(f"§4.4 {path}: more than {MOST_JSON} bytes of configuration")
        data = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise MissingModel(f"§4.4 {path}: no JSON that makes sense ({error})") from error
    except MissingModel:
        raise
    except OSError as error:
        raise MissingModel(f"§4.4 {path}: a folder of diffusers has a readable file there ({error})") from error
    if not isinstance(data, dict):
        raise MissingModel(f"§4.4 {path}: expected an object, found {type(data).__name__}")
    return data


def pipeline_of(folder: Path) -> str:
    """The class of a pipeline's folder, of NETWORKS; MissingModel for those that this package has no adapter for."""
    index = read_json(folder / "model_index.json")
    name = class_of(index)
    if (pipeline := ALIASES.get(name, name)) not in NETWORKS:
        raise MissingModel(
            f"§4.4 {folder}: pipeline {name!r} has no adapter here; known: {', '.join([*NETWORKS, *ALIASES])}"
        )
    return pipeline


def class_of(config: dict[str, Any]) -> str:
    """The name of the class that a configuration is of; "" if it has none that is a name."""
    name = config.get("_class_name")
    return name if isinstance(name, str) else ""


def check_index(folder: Path) -> None:
    """MissingModel for a folder whose index names other classes than this package has diffusers load.

    Of some versions diffusers imports any module that an index names, and Python files of the folder.
    """
    for name, value in read_json(folder / "model_index.json").items():
        if name.startswith("_") or value == [None, None] or value is None or isinstance(value, (bool, int, float)):
            continue
        library, classes = COMPONENTS.get(name, ("", ()))
        known = isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value)
        if name == "scheduler":
            known = known and value[0] == "diffusers" and SCHEDULER.fullmatch(value[1]) is not None
        else:
            known = known and value[0] == library and value[1] in classes
        if not known:
            raise MissingModel(
                f"§4.4 {folder / 'model_index.json'} names {str(value)[:100]} as {name}, which is not loaded: "
                "it could be any code"
            )


def check_numbers(folder: Path, whole: dict[str, Any], real: dict[str, Any]) -> None:
    """MissingModel unless the former are whole numbers from 1 to 65535, the latter finite ones."""
    for name, value in (whole | real).items():
        right = isinstance(value, int) and 1 <= value <= 65535 if name in whole else isinstance(value, (int, float))
        if isinstance(value, bool) or not right or not math.isfinite(value):
            raise MissingModel(f"§4.4 {folder}: {name} {str(value)[:100]} makes no sense")


@contextmanager
def configured(folder: Path) -> Iterator[None]:
    """A configuration of the wrong shape, where one of its entries is taken apart inside, as MissingModel."""
    try:
        yield
    except MissingModel:
        raise
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise MissingModel(f"§4.4 {folder}: its configuration makes no sense ({error})") from error


def settings_of(folder: Path) -> Settings:
    """What a pipeline's folder says of itself; MissingModel for what this package has no adapter for, or what makes no
    sense.
    """
    with configured(folder):
        found = _settings_of(folder)
        whole = dict(channels=found.channels, cell=found.cell, multiple=found.multiple, native=found.native)
        real = dict(scaling_factor=found.scaling, shift_factor=found.shift)
        if found.betas:
            real |= dict(beta_start=found.betas[1], beta_end=found.betas[2])
            whole |= dict(num_train_timesteps=found.betas[3])
        check_numbers(folder, whole, real)
        if found.prediction not in PREDICTIONS:
            raise MissingModel(f"§4.4 {folder}: prediction {found.prediction!r} has no adapter here")
    return found


def _settings_of(folder: Path) -> Settings:
    pipeline = pipeline_of(folder)
    network = read_json(folder / NETWORKS[pipeline] / "config.json")
    vae = read_json(folder / "vae" / "config.json")
    patch = 2 if vae.get("_class_name") == PATCHED else 1
    cell = patch << len(vae.get("block_out_channels", (0,))) - 1
    channels = vae.get("latent_channels", 4) * patch**2
    wanted = 4 * channels if pipeline == "FluxPipeline" else channels
    if network.get("in_channels", wanted) != wanted:
        raise MissingModel(
            f"§4.4 {folder}: the network takes {network['in_channels']} channels and the autoencoder gives {wanted}: "
            "it is for inpainting or editing, which has no adapter here"
        )
    if NETWORKS[pipeline] == "unet":
        if extras := [name for name in EXTRAS if network.get(name)]:
            raise MissingModel(f"§4.4 {folder}: U-Nets with {', '.join(extras)} have no adapter here")
        scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
        prediction = scheduler.get("prediction_type", "epsilon")
        schedule = scheduler.get("beta_schedule", "linear")
        if schedule not in SCHEDULES or scheduler.get("trained_betas"):
            raise MissingModel(
                f"§4.4 {folder}: schedulers with "
                f"{'trained betas' if scheduler.get('trained_betas') else f'betas {schedule}'} "
                f"have no adapter here; known: {', '.join(SCHEDULES)}"
            )
        betas = (
            schedule + ZERO_SNR * bool(scheduler.get("rescale_betas_zero_snr")),
            scheduler.get("beta_start", 1e-4),
            scheduler.get("beta_end", 0.02),
            scheduler.get("num_train_timesteps", 1000),
        )
        multiple = cell << len(network.get("block_out_channels", (0,) * 4)) - 1
        native = cell * (network.get("sample_size") or 64)
    else:
        prediction, betas = "flow", None
        multiple = max(2, patch) * cell // patch
        native = cell * network["sample_size"] if pipeline.startswith("Stable") and network.get("sample_size") else 1024
    scaling, shift = (1.0, 0.0) if patch > 1 else (vae.get("scaling_factor", 0.18215), vae.get("shift_factor") or 0.0)
    return Settings(pipeline, prediction, betas, scaling, shift, channels, cell, multiple, native)


def differences(found: Settings, wanted: Settings) -> list[str]:
    """Names of fields with both values, where a folder is not what a table says."""
    pairs = ((f.name, getattr(found, f.name), getattr(wanted, f.name)) for f in fields(Settings))
    return [f"{name} {a!r} instead of {b!r}" for name, a, b in pairs if a != b]


def tensor_files(component: Path, variant: str | None) -> list[Path]:
    """The safetensors files of a component in a variant such as fp16, or of the plain one if it lacks that; [] if there
    are none.
    """

    def of(name: str | None) -> list[Path]:
        middle = f".{name}" if name else ""
        for stem in STEMS:
            whole = component / f"{stem}{middle}.safetensors"
            if whole.is_file():
                return [whole]
            shards = sorted(component.glob(f"{stem}{middle}-?????-of-?????.safetensors"))
            if shards and len(shards) == int(shards[0].stem[-5:]):
                return shards
        return []

    return of(variant) or (of(None) if variant else [])


def weights_in(parts: dict[str, Path], variant: str | None) -> list[tuple[str, Path]]:
    """(component, file) of all weights. MissingModel for a component without safetensors: pickles are never loaded."""
    found = []
    for name, folder in parts.items():
        files = tensor_files(folder, variant)
        if not files:
            pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pth"))
            raise MissingModel(
                f"§4.4 {folder}: no complete safetensors weights"
                + ("; there are pickled ones, which could run code and are never loaded" if pickled else "")
            )
        found += [(name, file) for file in files]
    return found


def configurations(parts: dict[str, Path]) -> list[tuple[str, Path]]:
    """(name in the hash, file) of what decides a component's arithmetic beside its weights.  §4.4.4"""
    found = [(f"{name}/config.json", folder / "config.json") for name, folder in parts.items()]
    return [(name, file) for name, file in found if file.is_file()]


def tokenizer_files(folder: Path, prefix: str = "") -> list[tuple[str, Path]]:
    """The same of the tokenizers of a pipeline's folder."""
    return [
        (f"{prefix}{name}/{file.name}", file)
        for name in TOKENIZERS
        if (folder / name).is_dir()
        for file in (folder / name).iterdir()
        if file.suffix in TOKENIZER_FILES and file.is_file()
    ]


def hash_of(files: list[tuple[str, Path]], settings: dict[str, Any]) -> bytes:
    """SHA-256 over every file's name and SHA-256, one line each, sorted, and the settings.  §4.4.4

    files  (component, file) of weights, (name, file) of configurations
    """
    lines = sorted(f"{name} {file_sha256(file)}\n" for name, file in files)
    return hashlib.sha256(
        "".join([*lines, json.dumps(settings, sort_keys=True, separators=(",", ":")) + "\n"]).encode()
    ).digest()


@dataclass(frozen=True)
class Checkpoint:
    """A pipeline's folder, with the folder of its refiner or None, in one variant of its files."""

    folder: Path
    refiner: Path | None = None
    variant: str | None = None

    def settings(self) -> Settings:
        return settings_of(self.folder)

    def parts(self) -> dict[str, Path]:
        """Component name to folder: what is hashed. Text encoders that are not there are left out."""
        network = NETWORKS[pipeline_of(self.folder)]
        parts = {name: self.folder / name for name in (network, "vae")}
        parts |= {name: self.folder / name for name in TEXT if (self.folder / name).is_dir()}
        if self.refiner:
            parts |= {
                f"{REFINER}/{name}": self.refiner / name
                for name in ("unet", *TEXT)
                if name == "unet" or (self.refiner / name).is_dir()
            }
        return parts

    def files(self) -> list[tuple[str, Path]]:
        """(component, file) of all weights. MissingModel for a component without any."""
        return weights_in(self.parts(), self.variant)

    def sha256(self, whole: bool = True) -> bytes:
        """§4.4.4.  whole: with the configurations, as for folders that table 4.1 does not register"""
        files = self.files()
        if whole:
            files += configurations(self.parts()) + tokenizer_files(self.folder)
            files += tokenizer_files(self.refiner, f"{REFINER}/") if self.refiner else []
        return hash_of(files, asdict(self.settings()))


def check_whole(folder: Path, said: dict[str, Any]) -> None:
    """MissingModel for weights that are not in a folder: libraries make random ones, with a warning at most.

    said  what `from_pretrained` says of its loading
    """
    if missing := sorted(said["missing_keys"]):
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise MissingModel(
            f"§4.4 {folder} lacks weights: {', '.join(missing[:3])}{more}; it was saved by another release of its "
            "library, or is damaged"
        )


def variants(folder: Path, refiner: Path | None) -> list[Checkpoint]:
    """The checkpoints that a folder holds, full precision first."""
    for own in filter(None, (folder, refiner)):
        check_index(own)
    plain = [Checkpoint(folder, refiner)] if tensor_files(folder / "vae", None) else []
    half = any(p.name.split(".")[1:2] == ["fp16"] or ".fp16-" in p.name for p in folder.glob("*/*.fp16*.safetensors"))
    return plain + ([Checkpoint(folder, refiner, "fp16")] if half else [])


def lacking(folder: Path) -> list[str]:
    """Components that a pipeline's index names and its folder does not have whole, as after a download that was cut
    off.
    """
    index = read_json(folder / "model_index.json")
    network = NETWORKS[pipeline_of(folder)]
    named = [name for name, value in index.items() if isinstance(value, list) and value[-1:] != [None]]
    tensors = [
        n
        for n in (network, "vae", *TEXT)
        if n in named and not (tensor_files(folder / n, None) or tensor_files(folder / n, "fp16"))
    ]
    return tensors + [
        n for n in named if n.startswith(("scheduler", "tokenizer")) and not any((folder / n).glob("*.json"))
    ]


def file_sha256(path: Path) -> str:
    """Hexadecimal; computed once for a file of a name, size and time of change, and kept if it is large: 24 GB take a
    minute.
    """
    state = path.stat()
    return _hashed(path.resolve(), state.st_size, state.st_mtime_ns, state.st_ino)


@lru_cache(maxsize=1024)
def _hashed(path: Path, *state: int) -> str:
    name = hashlib.sha256(json.dumps([str(path), *state]).encode()).hexdigest()
    kept = cache.place("weights", name[:32])
    if state[0] >= LARGE and (known := cache.read(kept)) is not None:
        return known.decode()
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    found = digest.hexdigest()
    if state[0] >= LARGE:
        cache.keep(kept, found.encode())
    return found


def located(names: tuple[str, ...]) -> tuple[Path | None, list[str]]:
    """The first folder with one of the names below SDF_MODEL_DIR (several, as in PATH), and where was looked."""
    looked = []
    for base in filter(None, os.environ.get("SDF_MODEL_DIR", "").split(os.pathsep)):
        for name in names:
            folder = Path(base) / name
            looked.append(str(folder))
            if (folder / "model_index.json").is_file():
                return folder, looked
    return None, looked or ["SDF_MODEL_DIR (not set)"]
