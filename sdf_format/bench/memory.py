"""Memory of large pictures, tile by tile: `sdf bench memory [--names sdxl] [--sizes 1024,2048,4096] [--thin 8]`.

Counted: the bytes of all tensors alive at once, without the weights, at the true shapes; nothing is computed, so a CPU
will do for models that it could never run. Measured: the growth of this process's resident memory in the same work,
with a network and an autoencoder of a fraction of the channels (`--thin`), for which the counting is repeated.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from sdf_format.bench import models
from sdf_format.inspect.table import Table
from sdf_format.models import stable, tiles
from sdf_format.models.loading import by_name
from sdf_format.models.registry import MODELS

CPU = torch.device("cpu")
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Alive(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make while it is on: now and at most."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self.known: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        made = function(*arguments, **(keywords or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor.untyped_storage())
        return made

    def _note(self, storage) -> None:
        key = id(storage)
        if (known := self.known.get(key)) is not None and known() is storage:
            return
        size = storage.nbytes()

        def gone(reference: weakref.ref) -> None:
            self.now -= size
            if self.known.get(key) is reference:
                del self.known[key]

        self.known[key] = weakref.ref(storage, gone)
        self.now += size
        self.most = max(self.most, self.now)


def counted(work: Callable[[], object]) -> int:
    """Bytes of tensors at the peak of some work, beyond those that were there before."""
    with Alive() as alive:
        work()
    return alive.most


def resident(work: Callable[[], object]) -> int:
    """Bytes by which some work raised the peak of this process's resident memory; 0 where the system does not tell."""

    def status(name: str) -> int:
        return next(1024 * int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(name))

    gc.collect()
    try:
        # gives back what earlier work has freed, which would hide what this one needs
        ctypes.CDLL(None).malloc_trim(0)
        CLEAR.write_text("5")  # forgets the peak so far
        before = status("VmRSS")
        work()
        return max(0, status("VmHWM") - before)
    except (OSError, AttributeError):
        return 0


def thinner(config: dict, factor: int) -> dict:
    """A U-Net's or an autoencoder's configuration with a fraction of the channels."""
    return config | dict(
        block_out_channels=tuple(n // factor for n in config["block_out_channels"]), norm_num_groups=32 // factor
    )


def work(model: stable.Stable, width: int, height: int) -> dict[str, Callable[[], object]]:
    """The three things that a picture's size matters to, by name."""
    latent = torch.zeros(1, model.settings.channels, height // model.settings.cell, width // model.settings.cell)
    pixels = np.zeros((height, width, 3), np.uint8)
    return {
        "predict": lambda: model.predict(latent, models.COARSE),
        "encode": lambda: model.encode(pixels),
        "decode": lambda: model.images.samples(latent),
    }


def shape(name: str, side: int, thin: models.Thin) -> tuple[tuple[int, int], int, list[int]]:
    """Width and height as the model takes them, tiles, and the counted bytes: of a latent, to predict, to encode, to
    decode.
    """
    with FakeTensorMode():
        model = models.made(name, CPU, thin)
        settings, spec = model.settings, MODELS[by_name(name)]
        size = (spec.padded(side), spec.padded(side))
        cells = spec.padded(side) // settings.cell
        cut = tiles.Tiling(cells, cells, settings.native // settings.cell, settings.multiple // settings.cell)
        latent = 4 * settings.channels * cut.height * cut.width
        return size, len(list(cut.areas())), [latent, *(counted(each) for each in work(model, *size).values())]


def row(name: str, side: int, factor: int) -> list[str]:
    """A line of the table.  factor: 1 for the true shape, which is only counted"""
    thin: models.Thin = models.whole if factor == 1 else lambda config: thinner(config, factor)
    size, number, sizes = shape(name, side, thin)
    if factor > 1:
        sizes += [resident(each) for each in work(models.made(name, CPU, thin), *size).values()]
    return [
        f"{name}, 1/{factor} of the channels" if factor > 1 else name,
        "x".join(map(str, size)),
        str(number),
        *(f"{n / 2**20:.1f}" for n in sizes),
    ] + [""] * (7 - len(sizes))


HEADERS = (
    "model",
    "picture",
    "tiles",
    "MiB of a latent",
    "counted MiB to predict",
    "to encode",
    "to decode",
    "measured MiB to predict",
    "to encode",
    "to decode",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """`sdf bench memory`."""
    parser = argparse.ArgumentParser(
        prog="sdf bench memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--names", default="sd15,sdxl", help="of " + ", ".join(models.NETWORKS))
    parser.add_argument("--sizes", default="512,1024,2048,4096", help="sides of square pictures, in pixels")
    parser.add_argument(
        "--thin", type=int, default=8, help="measure U-Nets with such a fraction of the channels too; 0: only count"
    )
    args = parser.parse_args(arguments)
    with Table(*HEADERS) as table:
        for name in args.names.split(","):
            thin = args.thin > 1 and "block_out_channels" in models.NETWORKS.get(name, ())
            for factor in (1, args.thin) if thin else (1,):
                for side in map(int, args.sizes.split(",")):
                    table.add(*row(name, side, factor))
