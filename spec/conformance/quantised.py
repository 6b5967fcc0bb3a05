"""Files of kinds palette and lowbit, coded from random numbers: rows for accepted.py.

Their autoencoder is models/autoencoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from pieces import HEIGHT, WIDTH, Part, bits, file

from sdf_format.coding.entropy import Sender
from sdf_format.container import parameters
from sdf_format.container.header import Header, build_header
from sdf_format.diffusion import schedule
from sdf_format.payloads import lowbit, palette

# Of models/autoencoder and models/pipeline; the text has them in §4.5 and §4.4.4.
WEIGHTS = bytes.fromhex("a12133ea39addd7105829e210557610da8e52d76cfb0de26f6a4e43fb9af7351")
CONFIGURED = bytes.fromhex("e0ba5180f444c4d9db6e9891e3b242b679b2fa754f747a71afc2c49151d483d6")  # with config.json
PIPELINE = bytes.fromhex("23657c46850286100e38044f30acef834b0ef9cf7526417fa481a813963e8082")
CHANNELS, CELL = 4, 2
ROWS, COLUMNS = HEIGHT // CELL, WIDTH // CELL
# nobody's autoencoder
SOUND = dict(width=0, height=0, length=7000, rate=44100, model=0, weights=bytes(range(32)), channels=6, cell=50)


def numbers(name: str, shape: tuple[int, ...], below: int) -> np.ndarray:
    """Reproducible whole numbers."""
    return np.frombuffer(bits(name, 4 * int(np.prod(shape))), ">u4").reshape(shape).astype(np.int64) % below


def written(fields: parameters.Fields, payload: bytes, **change: object) -> bytes:
    """A file of a picture by the suite's autoencoder, or of what `change` says."""
    known = (
        dict(width=WIDTH, height=HEIGHT, mode="RGB", model=0, weights=WEIGHTS, channels=CHANNELS, cell=CELL) | change
    )
    header = Header(kind=parameters.number(fields), parameters=parameters.build(fields), **known)
    parts: list[Part] = [(b"H", build_header(header)), (b"D", payload)]
    return file(*parts)


def palette_file(name: str, colours: int, groups: int, **more: object) -> bytes:
    coder = Sender()
    palettes = []
    for g, part in enumerate(palette.bounds(CHANNELS, groups)):
        vectors = numbers(f"{name}{g}", (colours, part.stop - part.start), 91) - 45
        palettes.append(vectors[np.argsort(vectors[:, 0], kind="stable")])
        palette.code_vectors(coder, colours, part.stop - part.start, palettes[-1])
    cells = numbers(name, (ROWS, COLUMNS, groups), colours)
    palette.code_cells(coder, palettes, (ROWS, COLUMNS), lambda y, x, g, frequencies: int(cells[y, x, g]))
    return written(parameters.Palette(colours, groups, -42, **more), coder.finish())


def one_palette(vectors: np.ndarray, cells: np.ndarray, step: int) -> tuple[parameters.Palette, bytes]:
    """Fields and payload of vectors (n, CHANNELS) and numbers (rows, columns)."""
    coder = Sender()
    palette.code_vectors(coder, len(vectors), CHANNELS, vectors)
    palette.code_cells(coder, [vectors], cells.shape, lambda y, x, g, frequencies: int(cells[y, x]))
    return parameters.Palette(len(vectors), 1, step), coder.finish()


def close_palette() -> bytes:
    """Vectors so near to each other that half of their mean distance is 0 in whole units: E of §5.3.2 is 1."""
    vectors = np.zeros((4, CHANNELS), np.int64)
    vectors[3, 1] = 1
    return written(*one_palette(vectors, numbers("palette-close", (ROWS, COLUMNS), 4), 8))


def long_palette() -> bytes:
    """So many cells that their counts are halved, and then some that tell whether they were."""
    vectors = np.array([[-10, 0, 0, 0], [10, 5, -5, 0]])
    cells = np.zeros((300, 600), np.int64)
    cells[-3:] = numbers("palette-long", (3, 600), 2)
    return written(*one_palette(vectors, cells, -24), width=1200, height=600)


def by_pipeline(fields: parameters.Fields, payload: bytes, **change: object) -> bytes:
    """A file by the model that predicts, of 12 kB."""
    return written(fields, payload, weights=PIPELINE, **change)


def lowbit_payload(name: str, shape: tuple[int, int, int], levels: int, contexts: int) -> bytes:
    """shape: rows, columns, channels"""
    coder = Sender()
    scale = round(parameters.SCALE_UNIT * np.log2(4 / levels))
    scales = np.stack(
        [scale + numbers(name, (shape[2],), 5) - 2, numbers(f"{name} offset", (shape[2],), 7) - 3], axis=1
    )
    lowbit.code_scales(coder, shape[2], scales)
    lowbit.code_values(coder, shape, levels, contexts, numbers(f"{name} values", shape, levels))
    return coder.finish()


def lowbit_file(name: str, levels: int, contexts: int, **more: object) -> bytes:
    payload = lowbit_payload(name, (ROWS, COLUMNS, CHANNELS), levels, contexts)
    return written(parameters.Lowbit(levels, contexts, **more), payload)


def files() -> Iterator[tuple[str, str, str, bytes]]:
    """Name, clauses, what it is about, bytes."""
    for colours, groups in ((1, 1), (16, 1), (16, 2), (300, 4)):
        name = f"palette-{colours}-{groups}"
        yield (
            name,
            "5.3 5.3.1 5.3.2 5.6",
            f"{colours} colours in {groups} group(s)",
            palette_file(name, colours, groups),
        )
    yield (
        "palette-dithering",
        "5.3",
        "a strength of dithering, and an extension",
        palette_file("palette-dithering", 8, 1, dithering=48, extension=b"later"),
    )
    for levels in (2, 4, 7, 16, 256):
        for contexts, called in parameters.CONTEXTS.items():
            if levels in (2, 7) or contexts == parameters.NEIGHBOURS:
                name = f"lowbit-{levels}-{called}"
                yield (
                    name,
                    "5.4 5.4.1 5.4.2 5.6",
                    f"{levels} levels, contexts {called}",
                    lowbit_file(name, levels, contexts),
                )
    yield "palette-close", "5.3.2", "vectors so near to each other that E is 1", close_palette()
    yield (
        "lowbit-extension",
        "5.4",
        "an extension",
        lowbit_file("lowbit-extension", 4, parameters.NEIGHBOURS, extension=b"later"),
    )


def predicted() -> Iterator[tuple[str, str, str, bytes]]:
    """Of the model that predicts."""
    law = dict(steps=6, end=40, slope=60, bend=8)
    diffc = parameters.Diffc(schedule.LAW, law)
    whole, tiles = "a model of diffusers, v by a U-Net, flow in 8 steps", "the same in tiles of 16 pixels"
    yield "pipeline", "4.4.2 7.2", whole, by_pipeline(diffc, bits("pipeline"), width=24, height=16)
    yield "pipeline-tiles", "4.4.3", tiles, by_pipeline(diffc, bits("pipeline-tiles"))
    wide = parameters.Diffc(schedule.LAW, law, denoiser=(parameters.MEAN, 1))
    rows = "tiles in one row, and the posterior mean"
    yield "pipeline-wide", "4.4.3", rows, by_pipeline(wide, bits("pipeline-wide"), width=75, height=9)
    for number, steps in ((parameters.MEAN, 1), (parameters.FLOW, 3), (parameters.BALANCED, 2)):
        name = f"cleanup-{parameters.DENOISERS[number]}"
        fields = parameters.Lowbit(4, cleanup=parameters.Cleanup((number, steps), 12, 80))
        payload = lowbit_payload(name, (ROWS, COLUMNS, CHANNELS), 4, parameters.NEIGHBOURS)
        yield name, "5.5", f"kind lowbit, cleaned up by {steps} step(s), gain 1.25", by_pipeline(fields, payload)
    vectors = numbers("cleanup-palette", (8, CHANNELS), 61) - 30
    vectors = vectors[np.argsort(vectors[:, 0], kind="stable")]
    fields, payload = one_palette(vectors, numbers("cleanup-palette cells", (ROWS, COLUMNS), 8), -32)
    fields = replace(fields, cleanup=parameters.Cleanup((parameters.MEAN, 1), -4, 40))
    yield "cleanup-palette", "5.5", "kind palette, cleaned up, level -0.5 nat", by_pipeline(fields, payload)


def configured() -> Iterator[tuple[str, str, str, bytes]]:
    """Of a folder named by the hash that counts its configurations."""
    fields, payload = parameters.Lowbit(4), lowbit_payload("configured", (ROWS, COLUMNS, CHANNELS), 4, 0)
    about = "a folder named by the hash that counts its configurations"
    yield "configured", "4.4.4 4.5", about, written(fields, payload, weights=CONFIGURED)


def sounds() -> Iterator[tuple[str, str, str, bytes]]:
    """Header and structure alone: pictures are what the suite compares."""
    for mode, rate in (("mono", 44100), ("stereo", 48000), ("stereo", 12345)):
        name = f"sound-{mode}-{rate}"
        payload = lowbit_payload(name, (1, 140, 6), 2, parameters.NEIGHBOURS)
        yield (
            name,
            "3.3 4.6",
            f"sound, {mode}, {rate} samples a second",
            written(parameters.Lowbit(2), payload, **SOUND | dict(mode=mode, rate=rate)),
        )
