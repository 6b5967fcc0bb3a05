"""Writes vectors.json (§9.3): `python spec/vectors.py`.

Everything in it comes from the text: its own programs and tests/second_network.py.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

import second_decoder  # noqa: E402
import second_network  # noqa: E402
from spec_text import programs  # noqa: E402

FILES = HERE / "conformance" / "files"
TARGET = HERE / "vectors.json"
FIRST = 6  # numbers of an array that are told
SIGMAS = (25.0, 5.0, 1.0, 0.1, 0.02)
SEED, STEP = 7, 3
# coder, D, R, K (L of the trellis): sizes below 256 and at its multiples, several walks, no bit, as many bits as
# numbers, a photograph's
SIZES = [
    *(
        ("trellis", D, R, K)
        for D, R, K in (
            (10007, 300, 12),
            (10007, 3000, 8),
            (200, 50, 18),
            (255, 255, 10),
            (256, 1, 12),
            (4608, 0, 12),
            (1179648, 1500, 12),
        )
    ),
    *(
        ("pfr", D, R, K)
        for D, R, K in (
            (10007, 300, 14),
            (10007, 3000, 8),
            (200, 50, 18),
            (255, 255, 10),
            (1, 1, 8),
            (4608, 0, 14),
            (1179648, 1500, 14),
        )
    ),
    *(
        ("tree", D, R, K)
        for D, R, K in (
            (10007, 3000, 12),
            (10007, 5000, 8),
            (200, 50, 18),
            (255, 255, 10),
            (256, 1, 12),
            (4608, 0, 12),
            (1179648, 5000, 12),
        )
    ),
]
WALKS = ("plain", "trellis-dense", "pfr-dense", "tree-dense", "registered-gain", "denoiser-ancestral-4", "scene")
SYMBOLS = {  # kinds palette and lowbit: rows, columns, channels of the latent
    "palette-16-2": (12, 20, 4),
    "palette-300-4": (12, 20, 4),
    "lowbit-7-neighbours": (12, 20, 4),
    "lowbit-256-neighbours": (12, 20, 4),
    "lowbit-7-even": (12, 20, 4),
}


def bit(b: int) -> int:
    return b * b // 3 % 2


def hashed(z: Any, kind: str = "<f4") -> str:
    return hashlib.sha256(np.asarray(z).astype(kind).tobytes()).hexdigest()


def told(x: Any) -> dict[str, Any]:
    """The first numbers of an array, and the mean of its squares; six significant digits."""
    flat = np.asarray(x, np.float64).reshape(-1)
    return {"first": [float(f"{v:.6g}") for v in flat[:FIRST]], "mean_square": float(f"{(flat**2).mean():.6g}")}


def displacements() -> list[dict[str, Any]]:
    text, found = programs(), []
    for coder, D, R, K in SIZES:
        bits = [bit(b) for b in range(R)]
        z = (
            text["receive_pfr"](bits, D, K, SEED, STEP)
            if coder == "pfr"
            else text["receive"](bits, D, coder, K, SEED, STEP)
        )
        found.append({"coder": coder, "D": D, "R": R, "K": K, "sha256": hashed(z)})
    return found


def network() -> dict[str, Any]:
    weights = second_decoder.embedded()
    y = np.array(programs()["normals"](0, 0, 0, 4608)).reshape(192, 4, 6) / 4096
    layers: list[dict[str, Any]] = []
    outputs = [{"sigma": s, **told(second_network.predict(weights, y, s))} for s in SIGMAS]
    second_network.predict(
        weights, y, 1.0, lambda name, x: layers.append({"name": name, "shape": list(x.shape), **told(x)})
    )
    latent = np.arange(768).reshape(192, 2, 2) / 100
    samples = second_network.inverse(weights, latent)
    return {
        "network": {
            "y": "normals 0 to 4607 of seed 0, step 0, stream 0, divided by 4096: 192x4x6",
            "outputs": outputs,
            "layers_at_sigma_1": layers,
        },
        "inverse": {
            "latent": "192x2x2, number i is i / 100",
            "samples": "neither rounded nor clipped: the first row of every colour",
            "rows": [[float(f"{v:.8g}") for v in colour[0]] for colour in samples],
        },
    }


def walks() -> dict[str, Any]:
    found = {}
    for name in WALKS:
        trace = second_decoder.Trace()
        second_decoder.decode((FILES / f"{name}.sdf").read_bytes(), trace=trace)
        found[name] = {
            "steps": [
                {
                    "level": float(f"{s['level']:.9g}"),
                    "bits": s["bits"],
                    "z_sha256": hashed(s["z"]),
                    "y": told(s["y"]),
                    "clean": told(s["clean"]),
                }
                for s in trace.steps
            ],
            "latent": told(trace.latent),
        }
    return found


def symbols() -> dict[str, Any]:
    text, found = programs(), {}
    for name, (h, w, C) in SYMBOLS.items():
        data = (FILES / f"{name}.sdf").read_bytes()
        framed, _, _ = text["chunks"](data)
        payload = data[framed[-1][2] : framed[-1][3]]
        fields = data[
            framed[0][2] + 38 : framed[0][3]
        ]  # behind width, height, kind and mode, model 0, hash, channels, cell
        coder = text["RangeDecoder"](payload)
        if name.startswith("palette"):
            colours, at = text["varint"](fields, 1)
            groups, _ = text["varint"](fields, at)
            bounds = [C * g // groups for g in range(groups + 1)]
            palettes = [text["palette"](coder, colours, b - a) for a, b in itertools.pairwise(bounds)]
            number = text["cells"](coder, palettes, h, w)
            numbers = [number[y, x, g] for y in range(h) for x in range(w) for g in range(groups)]
            found[name] = {"palettes": [{"first": p[:3], "sha256": hashed(p, "<i4")} for p in palettes]}
        else:
            levels, _ = text["varint"](fields, 1)
            found[name] = {"scales": text["scales"](coder, C)}
            value = text["values"](coder, h, w, C, levels, fields[0] >> 2 & 3)
            numbers = [value[y, x, c] for y in range(h) for x in range(w) for c in range(C)]
        coder.finish()
        found[name] |= {
            "numbers": {
                "order": "row, column, group or channel",
                "first": numbers[:24],
                "sha256": hashed(numbers, "<i4"),
            }
        }
    return found


def compact(value: Any) -> str:
    return json.dumps(value)


def main() -> None:
    made = {
        "clause": "9.3 of sdf-1.md",
        "z": {
            "bits": "bit b is floor(b * b / 3) mod 2",
            "seed": SEED,
            "step": STEP,
            "sha256_of": "float32, little-endian",
            "cases": displacements(),
        },
        **network(),
        "walks": walks(),
        "symbols": symbols(),
    }
    lines = [f" {json.dumps(key)}: {_indented(value)}" for key, value in made.items()]
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def _indented(value: Any, depth: int = 2) -> str:
    """Lists and objects of objects a line each."""
    if isinstance(value, dict) and any(isinstance(v, (dict, list)) for v in value.values()) and depth < 6:
        rows = [f"{' ' * depth}{json.dumps(k)}: {_indented(v, depth + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(rows) + "\n" + " " * (depth - 1) + "}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(" " * depth + compact(v) for v in value) + "\n" + " " * (depth - 1) + "]"
    return compact(value)


if __name__ == "__main__":
    main()
