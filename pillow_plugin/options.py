"""Settings of the opener, since `Image.open` takes none: given to `register_sdf_opener`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

from pillow_plugin.denoisers import denoiser_ids
from sdf_format import arguments
from sdf_format.errors import BadInput


@dataclass(frozen=True)
class Options:
    """How files are decoded.

    device    torch device, e.g. "cuda:1" or "cpu"; None: SDF_DEVICE, or the fastest there is
    denoiser  "mean" (highest fidelity), "balanced" (most realistic), "flow" (sharpest), "ancestral", or the latter
              three with steps, ("flow", 1..31); None: what the file says
    realism   0 (as "mean") to 1 (the most realistic: of the embedded model as ("balanced", 4), of others ("flow", 8)),
              anything between; None: what the file or `denoiser` says
    most_pixels, most_work, most_memory, most_seconds
              what a file may cost, see `sdf_format.limits`: width times height, beside Pillow's own limit; pixels times
              model calls; bytes; seconds; None: as the environment says (SDF_MOST_WORK and so on), or the defaults
    progress  called with (done, total) between model calls; an exception from it ends the decoding
    mark      whether `info["xmp"]` says that a generative model made the picture what it is (spec §3.7)
    """

    device: str | None = None
    denoiser: str | tuple[str, int] | None = None
    realism: float | None = None
    most_pixels: float | None = None
    most_work: float | None = None
    most_memory: float | None = None
    most_seconds: float | None = None
    progress: Callable[[int, int], None] | None = None
    mark: bool = True

    def __post_init__(self) -> None:
        """BadInput for what cannot be."""
        if self.device is not None and not isinstance(self.device, str) and type(self.device).__module__ != "torch":
            raise BadInput(f"device {self.device!r}: wanted a name such as 'cuda:1' or 'cpu'")
        denoiser_ids(self.denoiser)
        arguments.keep(self, "realism", arguments.number, 0, 1)
        given = {name: getattr(self, name) for name in ("most_pixels", "most_work", "most_memory", "most_seconds")}
        if any(value is not None for value in given.values()):
            from sdf_format.limits import number

            for name, value in given.items():
                if value is not None:
                    object.__setattr__(self, name, number(value, name))
        arguments.keep(self, "progress", arguments.callback)
        arguments.keep(self, "mark", arguments.truth)


current = Options()


def limits() -> dict[str, Any]:
    """What a file may cost, as keywords of `codec.decode`. Of pixels Pillow has a limit, which open has applied."""
    from sdf_format.limits import from_environment

    pixels = current.most_pixels or from_environment("most_pixels") or inf
    return dict(
        most_pixels=pixels,
        most_work=current.most_work,
        most_memory=current.most_memory,
        most_seconds=current.most_seconds,
    )


def change(options: Options) -> None:
    """Make `options` those of every later load."""
    global current
    current = options
