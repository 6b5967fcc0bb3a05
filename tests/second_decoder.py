"""A decoder of the minimal profile (§9.4) from the text: its own programs, NumPy, zstandard and Pillow's PNG.

Nothing of the package is imported.

`python tests/second_decoder.py IN OUT` is a command for `sdf conformance --profile minimal --decoder`.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import second_network
import zstandard
from spec_text import programs, table

WEIGHTS = Path(__file__).parent.parent / "sdf_format" / "weights" / "sdf-tiny-1.safetensors"
H, A, D = b"HAD"
STATUS = {row["name"]: row["status"] for row in table("errors")["classes"]}
LIMITS = table("ids")["limits"]
MODELS = {row["id"]: row for row in table("models")["models"]}
NAMES = {
    key: {row["id"]: row["name"] for row in table("ids")[key]} for key in ("modes", "coders", "denoisers", "kinds")
}
MEAN, FLOW, ANCESTRAL, BALANCED = range(4)


class Refused(Exception):
    """A class of §8.1, and an offset."""

    def __init__(self, name: str, offset: int, about: str = ""):
        super().__init__(f"{name}: {about}, offset {offset}")
        self.name, self.offset = name, offset


@dataclass
class Header:
    """§3.3 and §5.2"""

    width: int
    height: int
    mode: str
    kind: int
    model: int
    weights: bytes
    parameters: bytes
    flags: int = 0
    seed: int = 0
    coder: tuple[int, int] = (2, 4)
    form: dict[str, Any] = field(default_factory=dict)
    denoiser: tuple[int, int] | None = None
    conditioning: tuple[int, int, str] = (8, 8, "")


@lru_cache(maxsize=1)
def embedded() -> dict[str, np.ndarray]:
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() == MODELS[1]["sha256"]
    return second_network.weights(WEIGHTS)


def unpacked(data: bytes, at: int, most: int) -> bytes:
    """One zstandard frame and nothing else.  §3.4"""
    if data[:4] != b"\x28\xb5\x2f\xfd":
        raise Refused("bad", at, "no frame")
    worker = zstandard.ZstdDecompressor(max_window_size=LIMITS["window_bytes"]).decompressobj()
    out, used = b"", 0
    try:
        while used < len(data) and not worker.eof:
            out += worker.decompress(data[used : used + 512])
            used += 512
            if len(out) > most:
                raise Refused("bad", at, "too much")
    except zstandard.ZstdError as error:
        raise Refused("bad", at, str(error)) from error
    if not worker.eof or worker.unused_data or used < len(data):
        raise Refused("bad", at, "not one frame")
    return out


def body(data: bytes, at: int, most: int) -> bytes:
    """§3.4"""
    if not data or data[0] > 1:
        raise Refused("bad", at, "method")
    out = unpacked(data[1:], at, most) if data[0] else data[1:]
    if len(out) > most:
        raise Refused("bad", at, "too long")
    return out


class Fields:
    """Reads fields; Refused as `form` where they end early."""

    def __init__(self, data: bytes, text: dict[str, Any]):
        self.data, self.at, self.text = data, 0, text

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise Refused("bad", 10, "a field is cut")
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self) -> int:
        try:
            value, self.at = self.text["varint"](self.data, self.at)
        except (IndexError, self.text["Bad"]) as error:
            raise Refused("bad", 10, str(error)) from error
        return value


def header(data: bytes, text: dict[str, Any]) -> Header:
    """§3.3, in the order of §8.3."""
    fields = Fields(data, text)
    width, height = fields.varint(), fields.varint()
    (layout,) = fields.take(1)
    model = fields.varint()
    weights = fields.take(4 if model else 32)
    latent = (1, 1) if model else (fields.varint(), fields.varint())
    mode = NAMES["modes"].get(layout & 15)
    if mode in (None, "mono", "stereo"):
        raise Refused("unsupported", 10, "mode")
    if not (1 <= width <= LIMITS["side"] and 1 <= height <= LIMITS["side"]):
        raise Refused("bad", 10, "side")
    if not (1 <= latent[0] <= 65535 and 1 <= latent[1] <= 64):
        raise Refused("bad", 10, "latent")
    return Header(width, height, mode, layout >> 4, model, weights, data[fields.at :])


def parameters(h: Header, text: dict[str, Any]) -> None:
    """§5.2: reads all fields, then looks at them one by one."""
    if h.kind != 0:
        raise Refused("unsupported", 10, "kind")
    fields = Fields(h.parameters, text)
    (flags,) = fields.take(1)
    h.flags = flags
    if flags & 128 or flags & 3 == 3:
        raise Refused("unsupported", 10, "flags")
    h.seed = fields.varint() if flags & 4 else 0
    if flags & 8:
        (byte,) = fields.take(1)
        h.coder = (byte >> 4, byte & 15)
    levels: list[float] = []
    if flags & 3 == 0:
        word = int.from_bytes(fields.take(4), "big")
        steps, end, slope, bend = word >> 24, word >> 14 & 1023, word >> 7 & 127, word & 127
        end, bend = end - (end >> 9 << 10), bend - (bend >> 6 << 7)
        h.form = dict(steps=steps, end=end, slope=slope, bend=bend)
        levels = [level for level, _ in text["law"](steps, end, slope, bend, 0)] if steps else []
    elif flags & 3 == 1:
        h.form = dict(table=fields.varint(), gain=fields.varint())
        steps = 1
    else:
        (steps,) = fields.take(1)
        first = text["zigzag"](fields.varint())
        rises = [fields.varint() for _ in range(steps - 1)]
        h.form = dict(first=first, rises=rises, bits=[fields.varint() for _ in range(steps)])
        levels = [(first + sum(rises[:k])) / 64 for k in range(steps)]
    if flags & 16:
        (byte,) = fields.take(1)
        h.denoiser = (byte >> 5, byte & 31)
    told = (8, 8, b"\0")
    if flags & 64:
        walk, denoiser = fields.take(2)
        told = (walk, denoiser, fields.take(fields.varint()))
    if flags & 32:
        fields.take(fields.varint())
    if fields.at != len(h.parameters):
        raise Refused("bad", 10, "something behind the parameters")
    if h.coder[0] not in NAMES["coders"]:
        raise Refused("unsupported", 10, "coder")
    if h.coder[1] > 10:
        raise Refused("bad", 10, "coder's parameter")
    if not steps:
        raise Refused("bad", 10, "no steps")
    if "table" in h.form and str(h.form["table"]) not in table("schedules"):
        raise Refused("unsupported", 10, "table")
    if any(b <= a for a, b in itertools.pairwise(levels)) or any(abs(x) > LIMITS["level"] for x in levels):
        raise Refused("bad", 10, "levels")
    if h.denoiser and h.denoiser[0] not in NAMES["denoisers"]:
        raise Refused("unsupported", 10, "denoiser")
    if h.denoiser and (not h.denoiser[1] or (h.denoiser[0] == MEAN and h.denoiser[1] != 1)):
        raise Refused("bad", 10, "denoiser's steps")
    try:
        h.conditioning = (told[0], told[1], body(told[2], 10, LIMITS["prompt_bytes"]).decode())
    except UnicodeDecodeError as error:
        raise Refused("bad", 10, "prompt") from error


def model(h: Header, cells: int) -> None:
    """Table 4.1."""
    if h.model and h.model not in MODELS:
        raise Refused("unsupported", 10, "model")
    if h.model == 1 and h.conditioning != (8, 8, ""):
        raise Refused("unsupported", 10, "conditioning")
    if h.model == 1 and 192 * cells >= 1 << 32:
        raise Refused("unsupported", 10, "a large latent")
    if h.model != 1 or h.weights.hex() != MODELS[1]["sha256"][:8]:
        raise Refused("missing-model", 10, "weights")


def schedule(h: Header, T: int, cells: int, at: int, text: dict[str, Any]) -> list[tuple[float, int]]:
    """§4.2"""
    try:
        if "steps" in h.form:
            steps = text["law"](**h.form, T=T)
        elif "table" in h.form:
            entry = table("schedules")[str(h.form["table"])]
            steps = text["registered"](entry["levels"], entry["bits"], h.form["gain"], T, cells)
        else:
            steps = text["inline"](**h.form, T=T)
    except text["Bad"] as error:
        raise Refused("bad", at, str(error)) from error
    if any(abs(level) > LIMITS["level"] for level, _ in steps) or any(bits > 192 * cells for _, bits in steps):
        raise Refused("bad", at, "schedule")
    return steps


def metadata(seen: list[tuple[int, int, bytes]]) -> None:
    """§3.4"""
    total = 0
    for kind, at, data in seen:
        if kind in b"eitx":
            out = body(data, at, LIMITS["metadata_bytes"])
            total += len(out)
            if total > LIMITS["all_metadata_bytes"]:
                raise Refused("bad", at, "metadata")
            key, null, value = out.partition(b"\0")
            if kind == ord("t"):
                try:
                    if not (key.decode() and null):
                        raise Refused("bad", at, "no key")
                    value.decode()
                except UnicodeDecodeError as error:
                    raise Refused("bad", at, "no UTF-8") from error


def alpha(h: Header, data: bytes, at: int) -> np.ndarray:
    """§3.5"""
    sums = {row["id"]: row["sums"] for row in table("ids")["filters"]}
    if not data or data[0] not in sums:
        raise Refused("bad", at, "filter")
    out = unpacked(data[1:], at, h.width * h.height)
    if len(out) != h.width * h.height:
        raise Refused("bad", at, "size of alpha")
    plane = np.frombuffer(out, np.uint8).reshape(h.height, h.width)
    for way in sums[data[0]]:
        plane = np.add.accumulate(plane, axis={"across": 1, "down": 0}[way], dtype=np.uint8)
    return plane


def classed(fault: Exception, at: int, text: dict[str, Any]) -> Refused:
    """A fault of the text's programs with its class."""
    name = (
        "truncated"
        if isinstance(fault, text["Truncated"])
        else "bad"
        if isinstance(fault, text["Bad"])
        else "unsupported"
    )
    return Refused(name, at, str(fault))


def crc(data: bytes, kind: int, at: int, end: int) -> None:
    covered = data[8:10] * (kind == H) + data[at:end]
    if zlib.crc32(covered) != int.from_bytes(data[end : end + 4], "big"):
        raise Refused("bad", at, "CRC")


@dataclass
class Trace:
    """Of every step: level, bits, z, y and the clean latent that it began with; and the latent."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    latent: np.ndarray | None = None


def decode(
    data: bytes, text: dict[str, Any] | None = None, trace: Trace | None = None, network: Any = second_network
) -> np.ndarray:
    """(H, W) or (H, W, channels) uint8; Refused. text, network: with a mistake in it, perhaps"""
    text = text or programs()
    try:
        text["front"](data)
    except (text["Bad"], text["Unsupported"]) as fault:
        raise classed(fault, 0, text) from fault
    framed, fault, end = text["chunks"](data)
    problem = classed(fault, end, text) if fault else None
    if not framed:
        assert problem
        raise problem
    seen = [(kind, at, data[body:last]) for kind, at, body, last in framed]
    crc(data, *(framed[0][i] for i in (0, 1, 3)))
    h = header(seen[0][2], text)
    if problem and problem.name == "unsupported":
        raise problem
    parameters(h, text)
    rows, columns = (-(-n // 16) * 2 for n in (h.height, h.width))
    model(h, rows * columns)
    if problem:
        raise problem
    for kind, at, _, last in framed[1:]:
        crc(data, kind, at, last)
    found = {kind: (at, content) for kind, at, content in seen}
    if (A in found) != h.mode.endswith("A"):
        raise Refused("bad", found[A][0] if A in found else 10, "alpha")
    metadata(seen)
    plane = alpha(h, found[A][1], found[A][0]) if A in found else None
    at, payload = found[D]
    steps = schedule(h, 8 * len(payload), rows * columns, at, text)
    stream = [byte >> 7 - k & 1 for byte in payload for k in range(8)]
    if any(stream[sum(bits for _, bits in steps) :]):
        raise Refused("bad", at, "padding")
    latent = latent_of(h, steps, stream, rows, columns, text, trace, network)
    samples = np.clip(np.rint(network.inverse(embedded(), latent)), 0, 255)[:, : h.height, : h.width]
    if h.mode.startswith("L"):
        samples = np.rint(samples.mean(axis=0, keepdims=True))
    planes = [*samples] + ([plane] if plane is not None else [])
    return (
        np.stack(planes, axis=2).astype(np.uint8).squeeze(2)
        if len(planes) == 1
        else np.stack(planes, axis=2).astype(np.uint8)
    )


def latent_of(
    h: Header,
    steps: list[tuple[float, int]],
    stream: list[int],
    rows: int,
    columns: int,
    text: dict[str, Any],
    trace: Trace | None,
    network: Any,
) -> np.ndarray:
    """§7, on arrays instead of lists: the text's own programs for numbers and noise."""
    shape = (192, rows, columns)
    count = 192 * rows * columns
    name, K = NAMES["coders"][h.coder[0]], h.coder[1] + 8
    log: list[dict[str, Any]] = trace.steps if trace else []

    def predict(y: Any, sigma: float) -> np.ndarray:
        clean = network.predict(embedded(), np.asarray(y, np.float32).reshape(shape), sigma).reshape(-1)

        return clean

    S, t, at = np.zeros(count, np.float32), 0.0, 0
    for step, (level, bits) in enumerate(steps):
        clean = predict(S / np.float32(t), t**-0.5) if t else np.zeros(count, np.float32)
        own = stream[at : at + bits]
        at += bits
        z = (
            text["receive_pfr"](own, count, K, h.seed, step)
            if name == "pfr"
            else text["receive"](own, count, name, K, h.seed, step)
        )
        z = np.array(z, np.float32)
        rise = np.exp(level) - t
        S = S + np.float32(rise) * clean + np.float32(rise**0.5) * z
        t = np.exp(level)
        log.append(dict(level=level, bits=bits, z=z, y=S / np.float32(t), clean=clean))
    number, n = h.denoiser or (BALANCED, 3)
    y = S / np.float32(t)

    def normal(i: int) -> list[float]:
        return [v / 4096 for v in text["normals"](h.seed, i, 3, count)]

    latent = text["denoise"](y, t**-0.5, NAMES["denoisers"][number], n, predict, normal)
    latent = np.array(latent, np.float32).reshape(shape)
    if trace:
        trace.latent = latent
    return latent


def main(source: str, target: str) -> int:
    from PIL import Image

    try:
        Image.fromarray(decode(Path(source).read_bytes())).save(target, "PNG")
    except Refused as error:
        print(f"{error}", file=sys.stderr)
        return STATUS[error.name]
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
