"""The log of a training run as a picture: `python -m sdf_format.training.plot RUN/log.jsonl --out log.svg`.

Loss, and bits per pixel and PSNR of the held-out photographs by noise level, over the steps.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from sdf_format import files, terminal


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m sdf_format.training.plot`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="SVG, PNG or PDF")
    parser.add_argument("--force", action="store_true", help="replace --out if it is there already")
    args = parser.parse_args(arguments)
    files.check_output(str(args.out), [str(args.log)], args.force)
    rows = [json.loads(line) for line in args.log.read_text().splitlines()]
    if not rows:
        parser.error(f"{args.log} has no lines")
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    steps = [row["step"] for row in rows]
    figure, (loss, relative, psnr) = pyplot.subplots(1, 3, figsize=(15, 4.5))
    loss.plot(steps, [row["loss"] for row in rows])
    loss.set(title="loss: bits over the Wiener filter's", xlabel="step")
    for i, level in enumerate(rows[-1]["level"]):
        for axes, key in ((relative, "relative"), (psnr, "psnr")):
            axes.plot(steps, [row[key][i] for row in rows], label=f"{level:g}")
    relative.set(title="held out: bits over the Wiener filter's, by ln T", xlabel="step")
    psnr.set(title="held out: PSNR [dB] by ln T", xlabel="step")
    psnr.legend(fontsize=6)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=args.out.suffix[1:].lower() or None, bbox_inches="tight")
    files.put(str(args.out), buffer.getvalue(), args.force)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(terminal.guarded("plot", main))
