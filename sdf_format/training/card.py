"""The figures of a model card: `python -m sdf_format.training.card --run RUN --data DIR CARD.md`.

Everything in the card between two marks is written anew from the run's weights and log and from the data's manifest;
the words around them stay. A card that does not exist begins with a heading and the marks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from safetensors import safe_open

from sdf_format import atomic, terminal

FIRST, LAST = "<!-- figures: written by sdf_format.training.card -->", "<!-- end of figures -->"


def figures(run: Path, data: Path) -> Iterator[str]:
    """Lines of Markdown: weights, length of the run, quality by noise level, data by source and licence."""
    weights = run / "weights.safetensors"
    with safe_open(weights, "pt") as tensors:
        names = list(tensors.keys())
        sizes = [tensors.get_slice(name).get_shape() for name in names]
    count = sum(math.prod(size) for name, size in zip(names, sizes) if name.endswith((".weight", ".bias")))
    content = weights.read_bytes()
    last = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
    yield f"- Weights: {count:,} parameters, {len(content):,} bytes, SHA-256 `{hashlib.sha256(content).hexdigest()}`."
    yield (
        f"- Run: {last['step']:,} steps in {last['minutes']:.0f} minutes; "
        f"loss at its end {last['loss']:.3f} of the Wiener filter's bits."
    )
    if (run / "arguments.json").exists():
        arguments = json.loads((run / "arguments.json").read_text())
        yield "- Arguments: " + ", ".join(f"{name} {value}" for name, value in arguments.items()) + "."
    yield (
        '\nHeld-out photographs, ideal coding, posterior mean; "relative" is squared error over the Wiener filter\'s.\n'
    )
    yield "| ln T | bits per pixel | PSNR | relative |\n|---|---|---|---|"
    for row in zip(last["level"], last["bpp"], last["psnr"], last["relative"]):
        yield "| {:g} | {:.4f} | {:.2f} | {:.3f} |".format(*row)
    yield "\n| photographs | source | licence |\n|---|---|---|"
    manifest = json.loads((data / "MANIFEST.json").read_text())
    for (source, licence), number in Counter((row["source"], row["licence"]) for row in manifest).most_common():
        yield f"| {number:,} | {source} | {licence} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m sdf_format.training.card`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder that fit filled")
    parser.add_argument("--data", type=Path, required=True, help="folder that prepare filled")
    parser.add_argument("card", type=Path)
    args = parser.parse_args(arguments)
    text = args.card.read_text() if args.card.exists() else f"# {args.card.stem}\n\n{FIRST}\n{LAST}\n"
    before, found, rest = text.partition(FIRST)
    _, ended, after = rest.partition(LAST)
    if not (found and ended):
        parser.error(f"{args.card} has no lines {FIRST!r} and {LAST!r} to write between")
    text = "\n".join([before + FIRST, *figures(args.run, args.data), LAST + after])
    atomic.write(args.card, text.encode())


if __name__ == "__main__":
    sys.exit(terminal.guarded("card", main))
