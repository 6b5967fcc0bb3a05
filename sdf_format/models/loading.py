"""From a name, a folder or a header to a loaded model (§4.1, §4.4).

Importing this imports neither torch nor diffusers.
"""

from __future__ import annotations

import gc
import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module, resources
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sdf_format import arguments
from sdf_format.container.header import HASH_SHORT, Header
from sdf_format.errors import BadInput, MissingModel, SdfError, Unsupported, with_extra
from sdf_format.models import autoencoder_config, checkpoint, hub
from sdf_format.models.autoencoder_config import Lone
from sdf_format.models.checkpoint import Checkpoint
from sdf_format.models.registry import MODELS, ModelSpec, spec_from

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Autoencoder(Protocol):
    """Pixels or samples to a latent and back.

    Latents are (1, channels, h, w), of sound (1, channels, length); float32, on the CPU.

    channels  of the latent; cell: pixels a side, or samples, of one latent position
    """

    channels: int
    cell: int

    def encode(self, pixels: np.ndarray) -> Tensor:
        """(H, W, 3) uint8, H and W multiples of the cell; of sound (channels, samples) float32 in [-1, 1].

        The mean, not a draw.
        """

    def decode(self, latent: Tensor) -> np.ndarray:
        """The other way."""


class Model(Protocol):
    """What a codec asks of a model. Latents are (1, channels, h, w) float32, on the CPU.

    A model whose `predict` also takes latents on its own device, and answers there, says so by an attribute
    `latent_device`. One that knows prompts has `conditioned(prompt, guidance)`, which gives the model bound to them.
    One that predicts several latents at once has `together`, which takes (model, y, sigma) of each, the model being
    itself or bound to a prompt. One that is at its best where it was trained says so by `window`, positions a side:
    pictures too large to be measured as a whole are measured there. One whose latents are samples in another basis has
    `sample_errors(latent, other, size)`, the mean and mean squared error of the samples, 0..255, that `other` is shown
    as, of a picture of that height and width.
    """

    def encode(self, pixels: np.ndarray) -> Tensor:
        """(H, W, 3) uint8, H and W multiples of the row's `multiple`, to a latent."""

    def decode(self, latent: Tensor) -> np.ndarray:
        """A latent to (H, W, 3) uint8."""

    def predict(self, y: Tensor, sigma: float) -> Tensor:
        """Posterior mean of the clean latent, given y = clean + sigma * normal."""


@dataclass(frozen=True)
class ResolvedModel:
    """A model whose weights are at hand.

    key: 0 for a folder that table 4.1 does not register; sha256: of what will be loaded.
    """

    key: int
    spec: ModelSpec
    sha256: bytes
    checkpoint: Checkpoint | Lone | None = None

    @property
    def weights(self) -> bytes:
        """§3.3: as the header has them."""
        return self.sha256[:HASH_SHORT] if self.key else self.sha256


_loaded: dict[tuple[object, str], Model] = {}
_folders: list[Path] = []  # opened by path in this process: files made with them can be read again in it
_lock = threading.Lock()


def by_name(name: str) -> int:
    """Id of a model; BadInput for a name that table 4.1 does not have."""
    for key, spec in MODELS.items():
        if spec.name == name:
            return key
    raise BadInput(
        f"model {name!r} is unknown here; known: {', '.join(s.name for s in MODELS.values())}, or the folder of a "
        "pipeline"
    )


def _refiner_of(folder: Path) -> Path | None:
    inside = folder / checkpoint.REFINER
    return inside if (inside / "unet").is_dir() else None


def _candidates(key: int, download: bool) -> list[Checkpoint]:
    """Checkpoints of a registered model: SDF_MODEL_DIR, the hub's cache, a download.

    MissingModel says where was looked.
    """
    spec = MODELS[key]
    source = spec.published
    assert source
    folders: list[Path] = []
    looked: list[str] = []
    for number, repository in enumerate(source.repositories):
        own = spec.name if number == 0 else f"{spec.name}-{checkpoint.REFINER}"
        folder, here = checkpoint.located(
            (own, repository.rpartition("/")[2], repository, repository.replace("/", "--"))
        )
        if folder is None and number and (inside := _refiner_of(folders[0])):
            folder = inside
        folder = folder or hub.folder_of(repository, source.gigabytes, download)
        cache = hub.place()
        looked += [
            *here,
            f"{repository} in the hub cache {cache}"
            if cache
            else "no hub cache (the package huggingface_hub is not installed)",
        ]
        if folder is None:
            raise MissingModel(
                f"§4.4 the weights of {spec.name} are not here; looked at {', '.join(looked)}. They are about "
                f"{source.gigabytes:g} GB ({source.licence}): put them into a folder of SDF_MODEL_DIR ('hf download "
                f"{repository} --local-dir DIR/{own}'), or set SDF_DOWNLOAD=1 to have them fetched for "
                f"those who name the model, and SDF_DOWNLOAD_ON_OPEN=1 beside it for files that need it; to have what "
                f"loads them, {with_extra('stable')}"
            )
        folders.append(folder)
    wrong = checkpoint.differences(checkpoint.settings_of(folders[0]), source.settings)
    if wrong:
        raise MissingModel(f"§4.4 {folders[0]} is not {spec.name}: {'; '.join(wrong)}")
    return checkpoint.variants(folders[0], folders[1] if len(folders) > 1 else None)


@contextmanager
def _described(folder: str | os.PathLike[str]) -> Iterator[None]:
    """MissingModel for a folder whose configuration makes no sense, whatever it has in the place of what."""
    try:
        yield
    except SdfError:
        raise
    except (OSError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise MissingModel(f"§4.4 {folder}: its configuration or its files cannot be read: {reason:.200}") from error


def _choices(folder: Path) -> Sequence[Checkpoint | Lone] | None:
    """What a folder holds that can be loaded: a pipeline, else an autoencoder alone; None if it is neither's folder."""
    index = folder / "model_index.json"
    if index.is_file() and checkpoint.read_json(index).get("_class_name") not in autoencoder_config.PIPELINES:
        return checkpoint.variants(folder, _refiner_of(folder))
    alone = autoencoder_config.folder_of(folder)
    return autoencoder_config.variants(alone) if alone else None


def find(name: str | os.PathLike[str], download: bool | None = None) -> ResolvedModel:
    """A model by name of table 4.1, or by the folder of a pipeline or of an autoencoder alone.  download: allow it;
    None: as SDF_DOWNLOAD says.

    Raises BadInput for what is neither, MissingModel if the weights are not to be had.
    """
    folder = Path(arguments.text("model", os.fspath(name) if isinstance(name, os.PathLike) else name))
    with _described(folder):
        if folder.is_dir() and (choice := _choices(folder)) is not None:
            if not choice:
                raise MissingModel(
                    f"§4.4 {folder}: no safetensors weights; pickled ones could run code and are never loaded"
                )
            if (whole := folder.absolute()) not in _folders:
                _folders.append(whole)
            return ResolvedModel(
                0, spec_from(f"unregistered ({folder.name})", choice[0].settings()), choice[0].sha256(), choice[0]
            )
    key = by_name(str(name))
    spec = MODELS[key]
    if spec.published is None:
        return ResolvedModel(key, spec, bytes.fromhex(spec.sha256))
    with _described(spec.name):
        here = _candidates(key, hub.allowed() if download is None else download)
        if not here:
            raise MissingModel(
                f"§4.4 {spec.name}: its folder has no safetensors weights; pickled ones are never loaded"
            )
        return ResolvedModel(key, spec, here[0].sha256(whole=False), here[0])


def find_for(header: Header, download: bool | None = None) -> ResolvedModel:
    """The model that a header names, with the very weights that it names.  §3.3

    download  allow it; None: as SDF_DOWNLOAD_ON_OPEN says, so that no file fetches gigabytes unasked
    """
    if header.model == 0:
        return _unregistered(header)
    spec = MODELS.get(header.model)
    if spec is None:
        raise Unsupported(
            f"table 4.1: model {header.model} is unknown here (this decoder knows {sorted(MODELS)}); update it"
        )
    if spec.published is None:
        ours = bytes.fromhex(spec.sha256)
        if header.weights != ours[:HASH_SHORT]:
            raise MissingModel(
                f"§3.3 the file was made with {spec.name} weights {header.weights.hex()}; this installation has "
                f"{ours[:HASH_SHORT].hex()}; install the version of sdf-format that made the file"
            )
        return ResolvedModel(header.model, spec, ours)
    with _described(spec.name):
        candidates = _candidates(header.model, hub.allowed_on_open() if download is None else download)
        here = {c: c.sha256(whole=False) for c in candidates}
    for choice, sha256 in here.items():
        if sha256[:HASH_SHORT] == header.weights:
            return ResolvedModel(header.model, spec, sha256, choice)
    raise MissingModel(
        f"§3.3 the file was made with {spec.name} weights {header.weights.hex()}; here are "
        f"{', '.join(h[:HASH_SHORT].hex() for h in here.values()) or 'none as safetensors'}: the same model from "
        "another release, or in another precision"
    )


def _unregistered(header: Header) -> ResolvedModel:
    """§3.3: a folder with the header's whole hash, of those in SDF_MODEL_DIR and those opened in this process."""
    bases = [Path(b) for b in os.environ.get("SDF_MODEL_DIR", "").split(os.pathsep) if b]
    patterns = ("model_index.json", "*/model_index.json", "config.json", "*/config.json", "*/*/config.json")
    folders = [*_folders, *(f.parent for b in bases for f in sorted(f for p in patterns for f in b.glob(p)))]
    here = []
    for folder in dict.fromkeys(folders):
        try:
            with _described(folder):
                for choice in _choices(folder) or ():
                    # Files from before configurations counted have the hash without them.
                    if header.weights in (sha256 := choice.sha256(), choice.sha256(whole=False)):
                        return ResolvedModel(
                            0, spec_from(f"unregistered ({folder.name})", choice.settings()), header.weights, choice
                        )
                    here.append(f"{sha256.hex()} ({folder})")
        except MissingModel:
            continue  # a folder that is no use to this file
    raise MissingModel(
        f"§3.3 the file needs unregistered weights with SHA-256 {header.weights.hex()}; here are "
        f"{', '.join(here) or 'none'}. Name the parent of their folder in SDF_MODEL_DIR"
    )


def load(which: ResolvedModel | int, device: str) -> Model:
    """The model, loaded once per device and kept. Raises MissingModel if its weights are gone or altered."""
    found = which if isinstance(which, ResolvedModel) else find(MODELS[which].name)
    # Of files of other hashes for one folder, too, and of no other arithmetic with the same weights.
    kept = (found.key if found.checkpoint is None else found.checkpoint.sha256(), device)
    with _lock:
        while kept not in _loaded:
            try:
                _loaded[kept] = _made(found, device)
            except RuntimeError as error:
                if type(error).__name__ != "OutOfMemoryError":
                    raise
                if not _loaded:
                    raise Unsupported(
                        f"{found.spec.name} does not fit into the memory of {device}; SDF_OFFLOAD=1 keeps its layers "
                        f"in main memory, SDF_DTYPE=float16 halves it: {str(error).splitlines()[0]}"
                    ) from error
                _loaded.clear()  # it may fit where others were
            if not _loaded:
                gc.collect()
        return _loaded[kept]


def _made(found: ResolvedModel, device: str) -> Model:
    module, function = found.spec.load.split(":")
    if found.checkpoint is None:
        return getattr(import_module(module), function)(_packaged(found.spec), device)
    _need("diffusers", found.spec.name)
    if any("text_encoder" in part for part in found.checkpoint.parts()):
        _need("transformers", found.spec.name)
    return getattr(import_module(module), function)(found.checkpoint, device)


def _after_fork() -> None:
    """A child of a process that has run a model: locks that other threads held there will never be released here."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _need(package: str, name: str) -> None:
    try:
        import_module(package)
    except ImportError as error:
        raise MissingModel(f"{name} needs the package {package}: {with_extra('stable')}") from error


def _packaged(spec: ModelSpec) -> bytes:
    """The weights in the package, their hash compared."""
    try:
        data = resources.files("sdf_format").joinpath(spec.weights).read_bytes()
    except OSError as error:
        raise MissingModel(
            f"the weights of {spec.name} are not where the package has them ({spec.weights}); reinstall it"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != spec.sha256:
        raise MissingModel(
            f"the weights of {spec.name} have SHA-256 {found}; table 4.1 says {spec.sha256}; reinstall the package"
        )
    return data


def load_autoencoder(folder: str | os.PathLike[str], device: str) -> Autoencoder:
    """The autoencoder alone: a folder of diffusers' AutoencoderKL or AutoencoderOobleck, or of a pipeline with one in
    `vae/`.
    """
    path = Path(folder)
    path = path / "vae" if (path / "vae").is_dir() else path
    if not checkpoint.tensor_files(path, None):
        raise MissingModel(f"§4.4 {path}: no safetensors weights of an autoencoder there")
    _need("diffusers", str(folder))
    return import_module("sdf_format.models.autoencoder").load(path, device)
