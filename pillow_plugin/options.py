"""Settings of the opener, since `Image.open` takes none: given to `register_sdf_opener`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How files are decoded.

    device    torch device, e.g. "cuda:1" or "cpu"; None: SDF_DEVICE, or the fastest there is
    denoiser  "mean" (highest fidelity), "balanced" (most realistic), "flow" (sharpest), "ancestral", or the latter
              three with steps, ("flow", 1..31); None: what the file says
    realism   0 (as "mean") to 1 (the most realistic: of the embedded model as ("balanced", 4), of others ("flow", 8)),
              anything between; None: what the file or `denoiser` says
    most_work  pixels times model calls that a file may ask for; None: 2^31, some half an hour of one CPU core
    progress  called with (done, total) between model calls; an exception from it ends the decoding
    mark      whether `info["xmp"]` says that a generative model made the picture what it is (spec §3.7)
    """

    device: str | None = None
    denoiser: str | tuple[str, int] | None = None
    realism: float | None = None
    most_work: int | None = None
    progress: Callable[[int, int], None] | None = None
    mark: bool = True


current = Options()


def change(options: Options) -> None:
    """Make `options` those of every later load."""
    global current
    current = options
