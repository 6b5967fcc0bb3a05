"""Files of kinds palette and lowbit, coded from random numbers: rows for accepted.py.

Their autoencoder is models/autoencoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pieces import HEIGHT, WIDTH, Part, bits, file

from sdf_format.coding.entropy import Sender
from sdf_format.container import parameters
from sdf_format.container.header import Header, build_header
from sdf_format.models import loading
from sdf_format.payloads import lowbit, palette

MODEL = Path(__file__).parent / "models" / "autoencoder"
# nobody's autoencoder
SOUND = dict(width=0, height=0, length=7000, rate=44100, model=0, weights=bytes(range(32)), channels=6, cell=50)


def numbers(name: str, shape: tuple[int, ...], below: int) -> np.ndarray:
    """Reproducible whole numbers."""
    return np.frombuffer(bits(name, 4 * int(np.prod(shape))), ">u4").reshape(shape).astype(np.int64) % below


def written(fields: parameters.Fields, payload: bytes, **change: object) -> bytes:
    """A file of a picture by the suite's autoencoder, or of what `change` says."""
    found = loading.find(MODEL)
    known = (
        dict(
            width=WIDTH,
            height=HEIGHT,
            mode="RGB",
            model=0,
            weights=found.weights,
            channels=found.spec.channels,
            cell=found.spec.cell,
        )
        | change
    )
    header = Header(kind=parameters.number(fields), parameters=parameters.build(fields), **known)
    parts: list[Part] = [(b"H", build_header(header)), (b"D", payload)]
    return file(*parts)


def palette_file(name: str, colours: int, groups: int, **more: object) -> bytes:
    channels, height, width = 4, HEIGHT // 2, WIDTH // 2
    coder = Sender()
    palettes = []
    for g, part in enumerate(palette.bounds(channels, groups)):
        vectors = numbers(f"{name}{g}", (colours, part.stop - part.start), 91) - 45
        palettes.append(vectors[np.argsort(vectors[:, 0], kind="stable")])
        palette.code_vectors(coder, colours, part.stop - part.start, palettes[-1])
    cells = numbers(name, (height, width, groups), colours)
    palette.code_cells(coder, palettes, (height, width), lambda y, x, g, frequencies: int(cells[y, x, g]))
    return written(parameters.Palette(colours, groups, -42, **more), coder.finish())


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
    payload = lowbit_payload(name, (HEIGHT // 2, WIDTH // 2, 4), levels, contexts)
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
    yield (
        "lowbit-extension",
        "5.4",
        "an extension",
        lowbit_file("lowbit-extension", 4, parameters.NEIGHBOURS, extension=b"later"),
    )


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
