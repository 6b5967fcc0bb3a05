"""The model table (§4.1) and the way from a row to a loaded model.  Importing this imports no torch."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from importlib import import_module, resources
from typing import TYPE_CHECKING, Protocol

from sdf_format.container import HASH_SHORT, Header
from sdf_format.errors import BadInput, MissingModel, Unsupported
from sdf_format.kinds import FLOW

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Model(Protocol):
    """What a codec asks of a model. Latents are (1, channels, h, w) float32, on the CPU.

    A model whose `predict` also takes latents on its own device, and answers there, says so by an attribute `latent_device`.
    """

    def encode(self, pixels: np.ndarray) -> Tensor:
        """(H, W, 3) uint8, H and W multiples of the row's `multiple`, to a latent."""

    def decode(self, latent: Tensor) -> np.ndarray:
        """A latent to (H, W, 3) uint8."""

    def predict(self, y: Tensor, sigma: float) -> Tensor:
        """Posterior mean of the clean latent, given y = clean + sigma * normal."""


@dataclass(frozen=True)
class ModelSpec:
    """A row of table 4.1.

    weights   file in the package
    sha256    of that file, hexadecimal
    channels  of the latent; cell: pixels a side of one latent position; multiple: pixels, what sides are padded to
    denoiser  (id, steps), table 5.3, where the header names none
    """

    name: str
    load: str
    weights: str
    sha256: str
    channels: int
    cell: int
    multiple: int
    denoiser: tuple[int, int]


MODELS = {
    1: ModelSpec("sdf-tiny-1", "sdf_format.models.tiny:load", "weights/sdf-tiny-1.safetensors",
                 "3252f08f9e6ceda07ba85f35d700f54f127ba441b2606f2c1ef79120fb9769ca",
                 channels=192, cell=8, multiple=16, denoiser=(FLOW, 3)),
}

_loaded: dict[tuple[int, str], Model] = {}
_lock = threading.Lock()


def by_name(name: str) -> int:
    """Id of a model; BadInput for a name that table 4.1 does not have."""
    for key, spec in MODELS.items():
        if spec.name == name:
            return key
    raise BadInput(f"model {name!r} is unknown here; known: {', '.join(s.name for s in MODELS.values())}")


def spec_of(header: Header) -> ModelSpec:
    """The row that a header names, its hash compared; no weights are read.  §3.3, §4.1"""
    if header.model == 0:
        raise MissingModel(f"§3.3 the file needs unregistered weights with SHA-256 {header.weights.hex()}; none such are here")
    spec = MODELS.get(header.model)
    if spec is None:
        raise Unsupported(f"table 4.1: model {header.model} is unknown here (this decoder knows {sorted(MODELS)}); update it")
    ours = bytes.fromhex(spec.sha256)[:HASH_SHORT]
    if header.weights != ours:
        raise MissingModel(f"§3.3 the file was made with {spec.name} weights {header.weights.hex()}; this installation has "
                           f"{ours.hex()}; install the version of sdf-format that made the file")
    return spec


def load(key: int, device: str) -> Model:
    """The model of a row, loaded once per device and kept. Raises MissingModel if its weights are gone or altered."""
    with _lock:
        if (key, device) not in _loaded:
            spec = MODELS[key]
            try:
                data = resources.files("sdf_format").joinpath(spec.weights).read_bytes()
            except OSError as error:
                raise MissingModel(f"the weights of {spec.name} are not where the package has them ({spec.weights}); reinstall it") from error
            found = hashlib.sha256(data).hexdigest()
            if found != spec.sha256:
                raise MissingModel(f"the weights of {spec.name} have SHA-256 {found}; table 4.1 says {spec.sha256}; reinstall the package")
            module, function = spec.load.split(":")
            _loaded[key, device] = getattr(import_module(module), function)(data, device)
        return _loaded[key, device]
