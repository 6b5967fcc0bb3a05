"""How long, how much memory, how many bytes: `sdf bench speed IMAGE... [--bpp 0.05,0.1,0.2]`.

Encode and decode in a warm process, the coder's account against the ideal KL, import and open times.
"""

from __future__ import annotations

import argparse
import io
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import pillow_plugin  # noqa: F401  (registers the format)
from sdf_format import codec
from sdf_format.container import chunks, parameters
from sdf_format.container.chunks import DATA_CHUNK
from sdf_format.inspect.table import Table


def seconds(work: Callable[[], object], runs: int) -> float:
    """Median wall time of `runs` runs after one that is not counted."""
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def import_milliseconds(code: str, runs: int = 7) -> float:
    """Median time that a fresh interpreter reports for `code`."""
    program = f"import time\nstart = time.perf_counter()\n{code}\nprint(1000 * (time.perf_counter() - start))"
    return statistics.median(
        float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
        for _ in range(runs)
    )


def measure(path: Path, bpp: float, runs: int) -> dict[str, float | str]:
    """One row of the table."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    made = codec.encode(pixels, bpp=bpp)
    payload = chunks.scan(io.BytesIO(made.data)).find(DATA_CHUNK)
    assert payload is not None
    bits, kl, delivered = (sum(getattr(s, k) for s in made.steps) for k in ("bits", "kl", "delivered"))
    return {
        "image": path.name,
        "bpp": bpp,
        "bytes": len(made.data),
        "overhead": len(made.data) - payload.length,
        "steps": len(made.steps),
        "L": parameters.CODER_FIRST + made.fields.coder[1],
        "encode s": seconds(lambda: codec.encode(pixels, bpp=bpp), runs),
        "decode s": seconds(lambda: codec.decode_bytes(made.data), runs),
        "bits / delivered KL": bits / delivered,
        "delivered / wanted KL": delivered / kl,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """`sdf bench speed`."""
    parser = argparse.ArgumentParser(
        prog="sdf bench speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--bpp", default="0.05,0.1,0.2")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args(arguments)
    with Table() as table:
        for path in args.images:
            for bpp in map(float, args.bpp.split(",")):
                table.add_named(measure(path, bpp, args.runs), ".3f")
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
    made = codec.encode(np.asarray(Image.open(args.images[0]).convert("RGB"))[:256, :256], bpp=0.1).data
    opening, verifying = (
        1000 * seconds(lambda: work(Image.open(io.BytesIO(made))), 200)
        for work in (lambda i: i.size, lambda i: i.verify())
    )
    print(f"Image.open, warm: {opening:.3f} ms; open and verify, warm: {verifying:.3f} ms")
    pillow = import_milliseconds("from PIL import Image, ImageFile")
    ours = import_milliseconds("from PIL import Image, ImageFile\nimport pillow_plugin")
    print(f"import PIL.Image and ImageFile: {pillow:.0f} ms; with pillow_plugin: {ours:.0f} ms")
