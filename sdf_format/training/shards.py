"""Photographs in files that travel one by one: `python -m sdf_format.training.shards --data DIR --out DIR [--megabytes
36]`.

A shard is a zip file, stored, of JPEG files as they are in the folder. A photograph that would not fit into any shard
is an error. The photographs are dealt to the shards in turn, so that every shard is a fair sample of the folder.
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Sequence
from pathlib import Path

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
OVERHEAD = 256  # bytes that an entry of a zip file takes at most, its name not counted


def photographs(folder: Path) -> list[Path]:
    """Every photograph of a folder, sorted by name."""
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in ENDINGS)


def deal(sizes: Sequence[int], most: int) -> list[list[int]]:
    """Indices of the files of every shard; each shard holds at most `most` bytes.  ValueError if one file is larger"""
    if not sizes:
        return []
    if max(sizes) > most:
        raise ValueError(f"a file of {max(sizes)} bytes does not fit into a shard of {most}")
    count = -(-sum(sizes) // most)
    while True:
        shards = [list(range(first, len(sizes), count)) for first in range(count)]
        if all(sum(sizes[i] for i in shard) <= most for shard in shards):
            return shards
        count += 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the shards of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--megabytes", type=float, default=36, help="the most that a shard may have")
    args = parser.parse_args(arguments)
    files = photographs(args.data)
    if not files:
        parser.error(f"{args.data} holds no photographs ({', '.join(ENDINGS)})")
    sizes = [f.stat().st_size + OVERHEAD + 2 * len(f.name) for f in files]
    try:
        shards = deal(sizes, int(args.megabytes * 1e6))
    except ValueError as error:
        parser.error(str(error))
    args.out.mkdir(parents=True, exist_ok=True)
    for number, shard in enumerate(shards):
        path = args.out / f"shard-{number:03d}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for i in shard:
                # A fixed date: the same photographs give the same bytes.
                archive.writestr(zipfile.ZipInfo(files[i].name), files[i].read_bytes())
        print(f"{path}: {len(shard)} photographs, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
