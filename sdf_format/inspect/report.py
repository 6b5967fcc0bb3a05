"""What a file says of itself, for `sdf info`: every header field, every chunk, the schedule.  No torch, no model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from sdf_format.container import chunks, mark, metadata, parameters
from sdf_format.container.chunks import DATA_CHUNK, File
from sdf_format.container.header import SOUNDS, Header
from sdf_format.diffusion import schedule
from sdf_format.errors import SdfError
from sdf_format.inspect import table, validate
from sdf_format.inspect.printable import printable
from sdf_format.models.registry import MODELS

LONGEST = 1000  # characters of one text that `as_text` shows
APART = frozenset(
    {"file", "valid", "errors", "chunks", "schedule", "metadata", "schedule_fields"}
)  # in rows of their own


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
        fields = parameters.parse_fields(header)
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
        # The fields above may have said the same, without the offset.
        errors = [e for e in errors if not str(error).startswith(e)] + [str(error)]
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
    """The description for people.  name: as it is to be shown; of the file's own text, `printable` makes one line."""
    lines = [f"{name}: {'valid' if facts['valid'] else 'NOT VALID'}"]
    lines += _indented([(key.replace("_", " "), _brief(value)) for key, value in _pairs(facts)])
    chunks_ = [(c["type"], c["offset"], c["length"], c["crc"], c["name"]) for c in facts["chunks"]]
    lines += _indented(
        chunks_, ("chunk", "offset", "length", "crc", "what"), ("left", "right", "right", "left", "left")
    )
    if facts.get("schedule"):
        steps = [(k, f"{s['log_snr']:.3f}", f"{s['sigma']:.4f}", s["bits"]) for k, s in enumerate(facts["schedule"])]
        lines += _indented(steps, ("step", "log-SNR", "sigma", "bits"), ("right",) * 4)
    return "\n".join(lines + [f"  error: {printable(e)}" for e in facts["errors"]])


def _pairs(facts: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """What `as_text` says of the file itself, in order."""
    for key, value in facts.items():
        if key not in APART:
            yield key, value
    if fields := facts.get("schedule_fields"):
        yield "schedule fields", ", ".join(f"{k} {v}" for k, v in fields.items())
    for key, value in facts.get("metadata", {}).items():
        if key == "text":
            yield from (("text", f"{k}: {v}") for k, v in value.items())
        else:
            yield key, value


def _brief(value: object) -> str:
    """One line, of a reasonable length."""
    text = str(value)
    cut = f"... ({len(text)} characters)" if len(text) > LONGEST else ""
    return printable(text[:LONGEST]) + cut


def _indented(
    rows: Sequence[Sequence[object]], headers: Sequence[str] = (), align: Sequence[str] | None = None
) -> list[str]:
    return [f"  {line}" for line in table.lines(rows, headers, align=align)]
