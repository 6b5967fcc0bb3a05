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
from pieces import TINY, WEIGHTS
from PIL import Image

from sdf_format import codec
from sdf_format.container import chunks, parameters
from sdf_format.container.header import SOUNDS
from sdf_format.errors import SdfError
from sdf_format.inspect import report
from sdf_format.inspect.conformance import holds, with_models
from sdf_format.models.registry import MODELS
from sdf_format.models.tiny import Tiny
from sdf_format.tables import table

HERE = Path(__file__).parent
FILES, PIXELS, MANIFEST = HERE / "files", HERE / "pixels", HERE / "manifest.json"
TOLERANCE = {
    "strict": {"rms": 0.06, "peak": 2, "mean": 0.02},
    "wide": {"rms": 1.5, "peak": 40, "mean": 0.25},
    "alpha": 0,
    "reason": "Section 9.1, of 255. Decoders in float32 differ where a sample is near a half, one in a thousand. Of "
    "networks in bfloat16 the 8 bits of mantissa move the prediction of every step a little; a decoder with another "
    "seed, coder or denoiser is off by far more. Alpha goes through no network.",
}
ERRORS = table("errors")
# Rules by the file that breaks them, in the order of checks (section 8.3), and the three by which a decoder of the
# minimal profile refuses (section 9.4).
RULES = {name: rule for rule in ERRORS["rules"] for name in rule["files"]}
REFUSES = {rule["id"]: rule for rule in ERRORS["rules"]}
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
    return entry | minimal(data, facts["mode"] in SOUNDS)


def refuse(row: refused.Row) -> dict:
    rule = RULES[row.name]
    assert rule["class"] == row.error, (row.name, rule)
    entry = {
        "name": row.name,
        "clauses": row.clauses.split(),
        "about": row.about,
        "file": f"files/refused-{row.name}.sdf",
        "rule": rule["id"],
        "error": row.error,
        "offset": row.offset,
    }
    if row.mode:
        entry["mode"] = row.mode
    return entry | minimal(row.data, row.mode is not None, rule)


def minimal(data: bytes, sound: bool, rule: dict | None = None) -> dict:
    """§9.4: how a decoder that knows the embedded model and kind diffc alone refuses a file, where that is another way.

    rule  that the file breaks, if it breaks one
    """
    try:
        header = None if sound else chunks.scan(io.BytesIO(data)).header
    except SdfError:
        return {}
    if header is None:
        own = REFUSES["mode"]
    elif header.kind in (parameters.PALETTE, parameters.LOWBIT):
        own = REFUSES["kind"]
    elif header.model != TINY and (header.model in MODELS or header.model == 0):
        own = REFUSES["weights"]
    else:
        return {}
    if rule and (place(rule) < place(own) or (rule["class"] == own["class"] and rule["at"] == own["at"])):
        return {}
    return {"minimal": own["class"]}


def place(rule: dict) -> int:
    """In the order of checks. The frame of H comes before its fields, that of the other chunks long after them."""
    stage = (
        "front"
        if rule["stage"] == "frame" and rule["id"] not in ("chunk-cut", "chunk-missing", "tail")
        else rule["stage"]
    )
    return ERRORS["stages"].index(stage) * len(ERRORS["rules"]) + ERRORS["rules"].index(rule)


def compact(entry: dict) -> str:
    return json.dumps(entry, ensure_ascii=False)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument(
        "pattern", nargs="?", default="*", help="rows to write the files of; the manifest is always written whole"
    )
    options.add_argument("--encode", action="store_true", help="encode the pictures anew")
    options.add_argument("--redraw", action="store_true", help="decode pictures anew whose files stay as they are")
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
            drawn = PIXELS / f"{row.name}.png"
            draw = args.redraw or not drawn.exists() or not path.exists() or path.read_bytes() != data
            put(path, data)
            if row.pixels and draw and not args.check:
                out = io.BytesIO()
                with with_models(HERE / "models"):
                    picture(data).save(out, "PNG")
                put(drawn, out.getvalue())
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
