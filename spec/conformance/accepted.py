"""Files that every decoder accepts: a row for every feature. To add one, add a row, and run make.py."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import quantised
from pieces import EXIF, HEIGHT, ICC, LAW, PAYLOAD, TINY, WEIGHTS, WIDTH, XMP, Part, bits, body, file
from PIL import Image

from sdf_format import codec
from sdf_format.container import alpha, compression, mark, parameters
from sdf_format.container.header import MODES, PICTURES, Header, build_header
from sdf_format.diffusion import schedule


@dataclass(frozen=True)
class Row:
    """A file.

    clauses  of the specification, what it is about
    pixels   whether its picture needs nothing but the embedded model
    models   whether it needs an autoencoder of the folder models
    kept     whether an encoder made choices in it that another machine might make otherwise: written anew only if
             make.py is told so
    """

    name: str
    clauses: str
    about: str
    make: Callable[[], bytes]
    pixels: bool = True
    kept: bool = False
    models: bool = False


def diffc(
    name: str,
    clauses: str,
    about: str,
    *,
    width: int = WIDTH,
    height: int = HEIGHT,
    mode: str = "RGB",
    payload: int = PAYLOAD,
    others: tuple[Part, ...] = (),
    version: bytes = b"\1\0",
    model: dict | None = None,
    form: int = schedule.LAW,
    law: dict | None = None,
    table: dict | None = None,
    pixels: bool = True,
    **fields,
) -> Row:
    """A file of kind diffc with random bits."""

    def make() -> bytes:
        made = parameters.build(parameters.Diffc(form, table or LAW | (law or {}), **fields))
        named = dict(model=TINY, weights=WEIGHTS) | (model or {})
        parts = others if not mode.endswith("A") else (*others, (b"A", alpha.encode(plane(width, height))))
        header = build_header(Header(width, height, mode, parameters.DIFFC, parameters=made, **named))
        return file((b"H", header), *parts, (b"D", bits(name, payload)), version=version)

    return Row(name, clauses, about, make, pixels)


def inline(steps: list[int], first: int, rises: list[int]) -> dict:
    return dict(steps=len(steps), first=first, rises=rises, bits=steps)


def plane(width: int, height: int) -> np.ndarray:
    """Alpha: a slope with a hole."""
    y, x = np.mgrid[:height, :width]
    return np.where((x - width / 2) ** 2 + (y - height / 2) ** 2 < 20, 0, 255 - 2 * x - y).clip(0, 255).astype(np.uint8)


def scene(width: int, height: int, grey: bool = False) -> np.ndarray:
    """A picture: sky, sun, ground."""
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([60 + 150 * x / width, 200 - 120 * y / height, 120 + 60 * np.sin((x + y) / 9)], axis=2)
    rgb[(x - 0.7 * width) ** 2 + (y - 0.3 * height) ** 2 < (height / 5) ** 2] = 250, 220, 90
    rgb[y > 0.75 * height] = 40, 90, 30
    pixels = rgb.round().astype(np.uint8)
    return pixels[..., 1].copy() if grey else pixels


def encoded(name: str, clauses: str, about: str, width: int, height: int, *, grey: bool = False, **options) -> Row:
    """A file as our encoder writes it: a picture, not a dream.

    The bits are this encoder's; make.py keeps them where they are.
    """
    return Row(
        name, clauses, about, lambda: codec.encode(scene(width, height, grey), device="cpu", **options).data, kept=True
    )


def filtered(number: int) -> bytes:
    """§3.5, by a filter of our choice."""
    values = plane(WIDTH, HEIGHT)
    for axis in alpha.FILTERS[number]:
        values = np.diff(values, axis=axis, prepend=np.uint8(0))
    return bytes([number]) + compression.compress(values.tobytes())


def previewed(name: str, form: str) -> Row:
    """§3.6; the preview is of something else, so that who shows it for the picture is found out."""

    def make() -> bytes:
        out = io.BytesIO()
        Image.fromarray(scene(20, 12)).save(out, form)
        return file((b"H", body()), (b"p", out.getvalue()), (b"D", bits(name)))

    return Row(name, "3.6", f"a preview, {form}", make, kept=True)


def text(key: str, value: str, packed: bool = False) -> Part:
    data = f"{key}\0{value}".encode()
    return b"t", b"\1" + compression.compress(data) if packed else b"\0" + data


def rows() -> Iterator[Row]:
    yield from containers()
    yield from pictures()
    yield from schedules()
    yield from coders()
    yield from denoisers()
    yield from models()
    yield from latents()
    yield from encodings()


def latents() -> Iterator[Row]:
    for name, clauses, about, data in quantised.files():
        yield Row(name, clauses, about, lambda data=data: data, models=True)
    yield Row(
        "palette-long",
        "5.3.2",
        "180000 cells, whose counts are halved",
        quantised.long_palette,
        kept=True,
        models=True,
    )
    for name, clauses, about, data in (*quantised.predicted(), *quantised.configured()):
        yield Row(name, clauses, about, lambda data=data: data, models=True)
    for name, clauses, about, data in quantised.sounds():
        yield Row(name, clauses, about, lambda data=data: data, pixels=False)


def containers() -> Iterator[Row]:
    yield diffc("plain", "3.1 3.2 3.3", "two chunks and no more")
    yield diffc("minor-version", "3.1", "version 1.7: a later minor version is read as this one", version=b"\1\7")
    yield diffc(
        "unknown-ancillary",
        "3.2",
        "chunks that nobody knows, twice, one of them empty, are skipped",
        others=((b"q", b"later"), (b"q", b""), (b"z", bytes(300))),
    )
    yield diffc(
        "chunks-128", "3.2", "as many chunks as there may be", others=tuple(text(f"k{n}", "v") for n in range(126))
    )
    yield diffc("extension", "5.2", "an extension that a later version will know", extension=b"later")
    yield diffc("extension-empty", "5.2", "an extension of no bytes", extension=b"")
    yield diffc(
        "metadata-stored",
        "3.4",
        "all metadata, as it stands",
        others=((b"e", b"\0" + EXIF), (b"i", b"\0" + ICC), (b"x", b"\0" + XMP), text("Title", "Grüße")),
    )
    yield diffc(
        "metadata-zstandard",
        "3.4",
        "all metadata, compressed",
        others=(
            *tuple(
                (kind, b"\x01" + compression.compress(data))
                for kind, data in ((b"x", XMP), (b"i", ICC), (b"e", b"Exif\x00\x00" + EXIF))
            ),
            text("Comment", "again and " * 90 + "again", packed=True),
        ),
    )
    yield diffc(
        "xmp-source-type",
        "3.7",
        "a digital source type of the file's own",
        others=(
            (
                b"x",
                b"\0"
                + XMP.replace(
                    b"/></x",
                    b">"
                    + mark.DESCRIPTION.replace(b"compositeWithTrainedAlgorithmicMedia", b"trainedAlgorithmicMedia")
                    + b"</rdf:RDF></x",
                ),
            ),
        ),
    )
    yield diffc(
        "text-several",
        "3.2 3.4",
        "several texts, an empty one, one with a null character in its value",
        others=(text("Title", "one"), text("Author", ""), text("Comment", "a\0b")),
    )
    law = schedule.Law.build(LAW)
    for name, about, content in (
        ("seed", "a seed of 0", b"\x04\0" + law),
        ("coder", "the coder, tree with K = 12", b"\x08\x24" + law),
        ("denoiser", "the denoiser, balanced with 3 steps", b"\x10" + law + b"\x63"),
        ("conditioning", "no prompt, guidance 1 and 1", b"\x40" + law + b"\x08\x08\1\0"),
    ):
        header = (b"H", body(parameter_bytes=content))
        parts = (header, (b"D", bits(f"written-{name}")))
        yield Row(f"written-{name}", "3.2 5.2", f"what could have been left out: {about}", partial(file, *parts))
    yield diffc("payload-empty", "6.2", "no bits at all: every step is the model's own", payload=0)
    yield Row(
        "payload-padding",
        "6.2 4.2.3",
        "five bits of padding behind the last step",
        partial(
            file,
            (
                b"H",
                body(parameter_bytes=parameters.build(parameters.Diffc(schedule.INLINE, inline([20, 15], -64, [128])))),
            ),
            (b"D", b"\x9a\x3c\x57\x11\xe0"),
        ),
    )


def pictures() -> Iterator[Row]:
    for width, height in ((1, 1), (1, 50), (33, 1), (17, 15), (16, 16)):
        yield diffc(
            f"size-{width}x{height}",
            "3.3 4.1",
            "sides that are no multiples of anything, the surplus dropped",
            width=width,
            height=height,
        )
    yield diffc("size-wide", "3.3", "a width of two bytes", width=300, height=2, payload=120)
    for mode in PICTURES:
        yield diffc(f"mode-{mode.lower()}", "3.3 3.5", f"mode {mode}", mode=mode)
    yield previewed("preview-webp", "WEBP")
    yield previewed("preview-jpeg", "JPEG")
    for number in range(len(alpha.FILTERS)):
        yield Row(
            f"alpha-filter-{number}",
            "3.5",
            f"alpha by filter {number} of table 3.4",
            partial(
                file, (b"H", body(mode=MODES.index("RGBA"))), (b"A", filtered(number)), (b"D", bits(f"alpha{number}"))
            ),
        )


def schedules() -> Iterator[Row]:
    yield diffc("law-one-step", "4.2.1", "one step, whose level is `end`", law=dict(steps=1, end=-10))
    yield diffc(
        "law-many-steps", "4.2.1", "40 steps, the first one without a bit", law=dict(steps=40, end=60, slope=30, bend=0)
    )
    yield diffc("law-negative-bend", "4.2.1", "a negative end and bend", law=dict(steps=5, end=-20, slope=90, bend=-10))
    for number in sorted(schedule.registry()):
        name = schedule.registry()[number]["name"]
        yield diffc(
            f"registered-{number}",
            "4.2.2",
            f"table {number}, {name}",
            form=schedule.REGISTERED,
            table=dict(table=number, gain=schedule.REGISTERED_GAIN * 60),
        )
    yield diffc(
        "registered-gain",
        "4.2.2",
        "a gain of 2.5, and a last step that gets less than it was granted",
        form=schedule.REGISTERED,
        table=dict(table=1, gain=160),
        payload=50,
    )
    yield diffc(
        "inline",
        "4.2.3",
        "steps of 0, 1, 300 and 179 bits",
        form=schedule.INLINE,
        table=inline([0, 1, 300, 179], -200, [64, 128, 200]),
    )
    yield diffc("inline-one", "4.2.3", "one step", form=schedule.INLINE, table=inline([480], 30, []))


def coders() -> Iterator[Row]:
    for number, name in parameters.CODERS.items():
        for parameter in (0, 4, 10):
            yield diffc(
                f"{name}-{parameter + parameters.CODER_FIRST}",
                {"trellis": "6.3", "pfr": "6.4", "tree": "6.5"}[name],
                f"coder {name}, parameter {parameter}",
                coder=(number, parameter),
            )
    for number, name in parameters.CODERS.items():
        yield diffc(
            f"{name}-dense",
            "6.3.1",
            "steps of a third as many bits as dimensions, of trellis in two walks",
            coder=(number, 4),
            form=schedule.INLINE,
            table=inline([1400, 1440], -100, [160]),
            payload=355,
        )
    for name in ("trellis", "tree"):
        yield diffc(
            f"{name}-walks",
            {"trellis": "6.3.1", "tree": "6.5.1"}[name],
            "a step of 3000 bits, in several walks",
            coder=(next(n for n, called in parameters.CODERS.items() if called == name), 4),
            form=schedule.INLINE,
            table=inline([296, 3000], -100, [160]),
            payload=412,
        )
    yield diffc(
        "tree-full",
        "6.3",
        "a step of as many bits as dimensions",
        coder=(parameters.TREE, 2),
        form=schedule.INLINE,
        table=inline([8, 4608], -100, [160]),
        payload=577,
    )
    yield diffc("seed", "6.1.1", "another seed", seed=1234567)
    yield diffc("seed-last", "6.1.1", "the last seed", seed=2**32 - 1)


def denoisers() -> Iterator[Row]:
    for number, name in parameters.DENOISERS.items():
        for steps in (1,) if number == parameters.MEAN else (1, 4):
            yield diffc(f"denoiser-{name}-{steps}", "7.2", f"{name}, {steps} step(s)", denoiser=(number, steps))
    yield diffc("denoiser-seed", "7.2 6.1.1", "ancestral, of another seed", seed=99, denoiser=(parameters.ANCESTRAL, 4))


def models() -> Iterator[Row]:
    """Header and structure alone: the weights are not everybody's."""
    yield diffc("model-sd15", "3.3 4.4", "a registered model", model=dict(model=2, weights=bytes(4)), pixels=False)
    yield diffc(
        "model-unregistered",
        "3.3",
        "a model named by its whole hash",
        model=dict(model=0, weights=bytes(range(32)), channels=16, cell=8),
        pixels=False,
    )
    yield diffc(
        "prompt",
        "5.2",
        "a prompt and two guidances",
        model=dict(model=2, weights=bytes(4)),
        pixels=False,
        conditioning=parameters.Conditioning("a lighthouse in fog, Føroyar", 1.5, 7.25),
    )
    yield diffc(
        "prompt-long",
        "5.2",
        "a prompt of 8192 bytes, compressed",
        model=dict(model=4, weights=bytes(4)),
        pixels=False,
        conditioning=parameters.Conditioning("so " * 2730 + "on", 0.0, 31.875),
    )


def encodings() -> Iterator[Row]:
    yield encoded("scene", "7.1 7.2", "a picture by our encoder", 64, 48, target_bytes=400)
    yield encoded("scene-large", "7.1 7.2", "a larger picture by our encoder", 256, 256, target_bytes=900)
    yield encoded("scene-fine", "7.1", "more bits, and the posterior mean", 48, 48, quality=90)
    yield encoded("scene-grey", "7.1 4.3", "grey", 48, 32, grey=True, target_bytes=200)
    yield encoded(
        "scene-trellis", "7.1 6.3", "by the trellis", 48, 32, target_bytes=200, coder="trellis", coder_bits=12
    )
    yield encoded(
        "scene-pfr", "7.1 6.4", "by the Poisson functional representation", 48, 32, target_bytes=200, coder="pfr"
    )
    yield encoded("scene-table", "7.1 4.2.2", "with a registered table", 48, 32, target_bytes=200, table=1)
