"""What a file says of itself, for `sdf info`: every header field, every chunk, the schedule.  No torch, no model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, BinaryIO

from sdf_format.container import chunks, mark, metadata, parameters
from sdf_format.container.chunks import DATA_CHUNK, File
from sdf_format.container.header import SOUNDS, Header
from sdf_format.diffusion import schedule
from sdf_format.errors import SdfError
from sdf_format.inspect import validate
from sdf_format.models.registry import MODELS


def describe(stream: BinaryIO, size: int) -> dict[str, Any]:
    """JSON-able description; `valid` and `errors` say whether the file is whole.

    Raises BadFile if even the header is not.
    """
    file = chunks.scan(stream)
    header = file.header
    errors = [str(file.problem)] if file.problem else []
    spec = MODELS.get(header.model)
    result: dict[str, Any] = {
        "bytes": size,
        "version": f"{file.major}.{file.minor}",
        **_extent(header, size),
        "mode": header.mode,
        "kind": parameters.KINDS.get(header.kind, f"unknown ({header.kind})"),
        "model": spec.name if spec else f"unregistered ({header.model})",
        "weights": header.weights.hex(),
    }
    try:
        fields = parameters.parse(header)
        result |= FACTS[header.kind](file, fields, spec)
    except SdfError as error:
        errors.append(str(error))
    result["chunks"] = []
    for chunk in file.chunks:
        try:
            chunks.verify_chunk(stream, file, chunk)
            state = "ok"
        except SdfError as error:
            state = "bad"
            if str(error) not in errors:
                errors.append(str(error))
        result["chunks"].append(
            {
                "type": chunk.type.decode(),
                "name": chunk.name,
                "ancillary": chunk.ancillary,
                "offset": chunk.offset,
                "length": chunk.length,
                "crc": state,
            }
        )
    payload = file.find(DATA_CHUNK)
    result["overhead_bytes"] = size - payload.available if payload else size
    try:
        found = metadata.read(stream, file, marked=False)
        xmp = found.get("xmp", b"")
        assert isinstance(xmp, bytes)
        result["digital_source_type"] = mark.stated(xmp)
        result["metadata"] = {
            k: f"{len(v)} bytes" if isinstance(v, bytes) else v for k, v in found.items() if k != "comment"
        }
    except SdfError as error:
        errors.append(str(error))
    try:
        validate.check(stream, file)
    except SdfError as error:
        errors.append(str(error))
    return {"valid": not errors, "errors": list(dict.fromkeys(errors)), **result}


def _extent(header: Header, size: int) -> dict[str, Any]:
    """How large the picture is or how long the sound, and what that makes of the file's bytes."""
    if not header.sound:
        return {
            "width": header.width,
            "height": header.height,
            "bits_per_pixel": round(8 * size / (header.width * header.height), 5),
        }
    seconds = header.length / header.rate
    return {
        "samples": header.length,
        "sample_rate": header.rate,
        "channels": SOUNDS[header.mode],
        "seconds": round(seconds, 3),
        "bits_per_second": round(8 * size / seconds),
    }


def _diffc(file: File, fields: parameters.Diffc, spec: Any) -> dict[str, Any]:
    """§5.2, defaults filled in."""
    number, steps = fields.denoiser or (spec.denoiser if spec else (None, None))
    result: dict[str, Any] = {
        "seed": fields.seed,
        "coder": parameters.CODERS[fields.coder[0]],
        "coder_bits": parameters.CODER_FIRST + fields.coder[1],
        "denoiser": None if number is None else parameters.DENOISERS.get(number),
        "denoiser_steps": steps,
        "prompt": fields.conditioning.prompt,
        "guidance": [fields.conditioning.coding, fields.conditioning.denoising],
        "schedule_form": ("law", "registered", "inline")[fields.form],
        "schedule_fields": fields.schedule,
    }
    payload = file.find(DATA_CHUNK)
    if payload and spec and not file.header.sound:
        cells = math.prod(spec.padded(n) // spec.cell for n in (file.header.width, file.header.height))
        try:
            plan = schedule.expand(fields.form, fields.schedule, 8 * payload.length, cells)
        except SdfError:
            return result  # validate.check says it; the fields are worth knowing all the same
        result["schedule"] = [
            {"log_snr": round(level, 4), "sigma": round(math.exp(-level / 2), 4), "bits": bits}
            for level, bits in zip(plan.levels, plan.bits)
        ]
    return result


def _palette(file: File, fields: parameters.Palette, spec: Any) -> dict[str, Any]:
    """§5.3"""
    return {
        "colours": fields.colours,
        "groups": fields.groups,
        "palette_step": round(parameters.step_of(fields.step), 6),
        "dithering": fields.dithering / parameters.DITHERING,
        **_cleanup(fields.cleanup),
    }


def _lowbit(file: File, fields: parameters.Lowbit, spec: Any) -> dict[str, Any]:
    """§5.4"""
    return {"levels": fields.levels, "contexts": parameters.CONTEXTS[fields.contexts], **_cleanup(fields.cleanup)}


def _cleanup(fields: parameters.Cleanup | None) -> dict[str, Any]:
    """§5.5"""
    if fields is None:
        return {"cleanup": None}
    return {
        "cleanup": parameters.DENOISERS[fields.denoiser[0]],
        "cleanup_steps": fields.denoiser[1],
        "cleanup_log_snr": fields.level / parameters.CLEANUP_LEVEL,
        "cleanup_gain": fields.gain / parameters.CLEANUP_GAIN,
    }


FACTS: dict[int, Callable[[File, Any, Any], dict[str, Any]]] = {
    parameters.DIFFC: _diffc,
    parameters.PALETTE: _palette,
    parameters.LOWBIT: _lowbit,
}


def as_text(name: str, facts: dict[str, Any]) -> str:
    """The description for people. Control characters of the file's own text are shown escaped."""
    lines = [f"{name}: {'valid' if facts['valid'] else 'NOT VALID'}"]
    for key, value in facts.items():
        if key not in ("valid", "errors", "chunks", "schedule", "metadata", "schedule_fields"):
            lines.append(f"  {key.replace('_', ' '):16} {value}")
    if fields := facts.get("schedule_fields"):
        lines.append("  schedule fields  " + ", ".join(f"{k} {v}" for k, v in fields.items()))
    for key, value in facts.get("metadata", {}).items():
        lines.append(f"  {key:16} {value!r}" if key == "text" else f"  {key:16} {value}")
    lines.append("  chunk  offset    length  crc  what")
    for c in facts["chunks"]:
        lines.append(f"  {c['type']:5} {c['offset']:7} {c['length']:9}  {c['crc']:3}  {c['name']}")
    if facts.get("schedule"):
        lines.append("  step   log-SNR     sigma    bits")
        lines += [
            f"  {k:4} {s['log_snr']:9.3f} {s['sigma']:9.4f} {s['bits']:7}" for k, s in enumerate(facts["schedule"])
        ]
    return "\n".join(lines + [f"  error: {e}" for e in facts["errors"]])
