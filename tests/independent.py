"""A parser of SDF files that shares no code with the package: spec/sdf.ksy, compiled by Kaitai Struct to kaitai/sdf.py.

`python tests/independent.py FOLDER` compiles it again, FOLDER being that of npm's kaitai-struct-compiler.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import kaitaistruct
from kaitai.sdf import Sdf

HERE = Path(__file__).parent
KSY = HERE.parent / "spec" / "sdf.ksy"
COMPILED = HERE / "kaitai" / "sdf.py"
REFUSALS = (EOFError, ValueError, kaitaistruct.KaitaiStructError)  # ValueError: an enum without that member


def compiled(package: str) -> str:
    """spec/sdf.ksy as Python."""
    import yaml

    source = json.dumps(yaml.safe_load(KSY.read_text()))
    return subprocess.run(
        ["node", str(HERE / "kaitai" / "compile.js"), package], input=source, capture_output=True, text=True, check=True
    ).stdout


def parsed(data: bytes) -> Sdf:
    """Raises one of REFUSALS."""
    return Sdf.from_io(io.BytesIO(data))


def _diffc(fields: Sdf.Diffc) -> dict[str, Any]:
    """As `sdf info --json` spells it."""
    conditioning = fields.conditioning if fields.has_conditioning else None
    made = fields.schedule
    numbers = {
        "law": lambda: dict(steps=made.steps, end=made.end, slope=made.slope, bend=made.bend),
        "registered": lambda: dict(table=made.table.value, gain=made.gain.value),
        "inline": lambda: dict(
            steps=made.steps,
            first=made.first.zigzag,
            rises=[r.value for r in made.rises],
            bits=[b.value for b in made.bits],
        ),
    }
    facts = {
        "seed": fields.seed.value if fields.has_seed else 0,
        "coder": fields.coder.id.name if fields.has_coder else "tree",
        "coder_bits": 8 + fields.coder.parameter if fields.has_coder else 12,
        "schedule_form": fields.form.name,
        "schedule_fields": numbers[fields.form.name](),
        "guidance": [conditioning.coding / 8, conditioning.denoising / 8] if conditioning else [1, 1],
    }
    if fields.has_denoiser:
        facts |= {"denoiser": fields.denoiser.id.name, "denoiser_steps": fields.denoiser.steps}
    return facts


def _palette(fields: Sdf.Palette) -> dict[str, Any]:
    facts = {
        "colours": fields.colours.value,
        "groups": fields.groups.value,
        "palette_step": round(2 ** (fields.step / 8), 6),
        "dithering": fields.dithering / 64 if fields.has_dithering else 0,
    }
    return facts | _cleanup(fields.cleanup if fields.has_cleanup else None)


def _lowbit(fields: Sdf.Lowbit) -> dict[str, Any]:
    return {
        "levels": fields.levels.value,
        "contexts": fields.contexts.name,
        **_cleanup(fields.cleanup if fields.has_cleanup else None),
    }


def _cleanup(fields: Sdf.Cleanup | None) -> dict[str, Any]:
    if fields is None:
        return {"cleanup": None}
    return {
        "cleanup": fields.denoiser.id.name,
        "cleanup_steps": fields.denoiser.steps,
        "cleanup_log_snr": fields.level / 8,
        "cleanup_gain": fields.gain / 64,
    }


KINDS = {0: ("diffc", _diffc), 1: ("palette", _palette), 2: ("lowbit", _lowbit)}  # table 5.1


def facts(data: bytes) -> dict[str, Any]:
    """What the file says, in the words of `sdf info --json` as far as its structure has them.

    Raises one of REFUSALS.
    """
    file = parsed(data)
    header = file.chunks[0].body
    name, parameters = KINDS[header.kind]
    offset, chunks = 10, []
    for chunk in file.chunks:
        chunks.append({"type": chr(chunk.type), "offset": offset, "length": chunk.length.value})
        offset += 1 + (max(1, chunk.length.value.bit_length()) + 6) // 7 + chunk.length.value + 4
    extent = (
        {"samples": header.width.value, "mode": header.mode.name}
        if header.is_sound
        else {"width": header.width.value, "height": header.height.value, "mode": header.mode.name.upper()}
    )
    return {
        "bytes": offset,
        "version": f"{file.major}.{file.minor}",
        **extent,
        "kind": name,
        "weights": header.weights.hex(),
        **parameters(header.parameters),
        "chunks": chunks,
    }


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """What the two parsers see differently: empty if they agree.

    Ours says more; theirs knows no zstandard and no CRC.
    """
    chunks = [{k: c[k] for k in ("type", "offset", "length")} for c in ours["chunks"]]
    return {k: (ours.get(k), v) for k, v in theirs.items() if (chunks if k == "chunks" else ours.get(k)) != v}


if __name__ == "__main__":
    COMPILED.write_text(compiled(sys.argv[1]))
