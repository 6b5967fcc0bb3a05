"""Writes the conformance suite: `python spec/conformance/make.py [PATTERN]`, and `--check` to compare instead.

Files of random bits and files that are refused come out alike everywhere. The few in which an encoder made choices,
ours or a preview's, are written anew only with `--encode`. Expected pixels are those of a float32 network.
"""

from __future__ import annotations

import argparse
import copy
import fnmatch
import io
import json
import re
import sys
from pathlib import Path

import accepted
import numpy as np
import refused
import zstandard
from pieces import WEIGHTS
from PIL import Image

from sdf_format import codec
from sdf_format.inspect import report
from sdf_format.inspect.conformance import holds, with_models
from sdf_format.models.tiny import Tiny

HERE = Path(__file__).parent
FILES, PIXELS, MANIFEST = HERE / "files", HERE / "pixels", HERE / "manifest.json"
TOLERANCE = {
    "rms": 1.5,
    "peak": 40,
    "alpha": 0,
    "reason": "Section 9: root mean square and peak, of 255, for networks in bfloat16, whose 8 bits of mantissa move "
    "the prediction of every "
    "step a little; a decoder with another seed, coder or denoiser is off by far more. Alpha goes through no network.",
}
SAID = re.compile("valid|errors|bits_per_pixel|overhead_bytes")  # of `sdf info`: what follows from the rest


def in_float32(model):
    """The embedded model, its network in float32 whatever the machine is fast at."""
    import torch

    if not isinstance(model, Tiny):  # the suite's autoencoder is in float32 on a CPU as it is
        return model
    exact = copy.copy(model)
    exact.dtype = torch.float32
    return exact


def picture(data: bytes) -> Image.Image:
    pixels, alpha = codec.decode_bytes(data, device="cpu", wrap_model=in_float32)
    return Image.fromarray(pixels if alpha is None else np.dstack([pixels, alpha]))


def accept(row: accepted.Row, data: bytes) -> dict:
    facts = report.describe(io.BytesIO(data), len(data))
    assert facts["valid"], (row.name, facts["errors"])
    entry = {
        "name": row.name,
        "clauses": row.clauses.split(),
        "about": row.about,
        "file": f"files/{row.name}.sdf",
        "header": {k: v for k, v in facts.items() if not SAID.fullmatch(k)},
    }
    if row.pixels:
        entry["pixels"] = f"pixels/{row.name}.png"
    if row.models:
        entry["models"] = "models"
    return entry


def refuse(row: refused.Row) -> dict:
    return {
        "name": row.name,
        "clauses": row.clauses.split(),
        "about": row.about,
        "file": f"files/refused-{row.name}.sdf",
        "error": row.error,
        "offsets": sorted(row.offsets),
    }


def compact(entry: dict) -> str:
    return json.dumps(entry, ensure_ascii=False)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument(
        "pattern", nargs="?", default="*", help="rows to write the files of; the manifest is always written whole"
    )
    options.add_argument("--encode", action="store_true", help="encode the pictures anew")
    options.add_argument("--check", action="store_true", help="write nothing; exit code 1 if something differs")
    args = options.parse_args()
    differing: list[str] = []

    def put(path: Path, data: bytes) -> None:
        if not path.exists() or path.read_bytes() != data:
            differing.append(path.name)
            if not args.check:
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)

    # Headers stay as they were written while they hold: `sdf info` may say more than it did, and levels may differ in
    # the last digit.
    known = {e["name"]: e["header"] for e in json.loads(MANIFEST.read_text())["accepted"]} if MANIFEST.exists() else {}
    lists: dict[str, list[dict]] = {"accepted": [], "refused": []}
    for row in accepted.rows():
        path = FILES / f"{row.name}.sdf"
        kept = path.exists() and row.kept and not args.encode
        data = path.read_bytes() if kept else row.make()
        entry = accept(row, data)
        if args.check and holds(known.get(row.name), entry["header"]):
            entry["header"] = known[row.name]
        lists["accepted"].append(entry)
        if fnmatch.fnmatch(row.name, args.pattern):
            put(path, data)
            if row.pixels and not args.check:
                out = io.BytesIO()
                with with_models(HERE / "models"):
                    picture(data).save(out, "PNG")
                put(PIXELS / f"{row.name}.png", out.getvalue())
    for row in refused.rows():
        lists["refused"].append(refuse(row))
        put(FILES / f"refused-{row.name}.sdf", row.data)
    listed = [Path(e["file"]).name for entries in lists.values() for e in entries]
    assert len(set(listed)) == len(listed), "two rows of one name"
    for path in sorted(FILES.glob("*.sdf")):
        if path.name not in listed:
            print(f"no row for {path.name}")
            differing.append(path.name)
    text = json.dumps(
        {
            "$schema": "manifest.schema.json",
            "format": "SDF 1",
            "weights": WEIGHTS.hex(),
            "zstandard": list(zstandard.ZSTD_VERSION),
            "tolerance": TOLERANCE,
        },
        indent=1,
    )[:-2]
    for name, entries in lists.items():
        text += f',\n "{name}": [\n  ' + ",\n  ".join(map(compact, entries)) + "\n ]"
    put(MANIFEST, (text + "\n}\n").encode())
    print(
        f"{len(lists['accepted'])} accepted, {len(lists['refused'])} refused; {len(differing)} "
        f"differ{': ' if differing else ''}{', '.join(differing[:9])}"
    )
    return int(args.check and bool(differing))


if __name__ == "__main__":
    sys.exit(main())
