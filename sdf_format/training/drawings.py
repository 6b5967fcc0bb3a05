"""Made-up pictures to train on: text, flat shapes, gradients, user interfaces and line drawings, as web sites and
screenshots have them.

Everything is drawn from a seed; the fonts are those of the machine (matplotlib's search, which also knows those it
brings along).
"""

from __future__ import annotations

import colorsys
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LETTERS = "etaoinshrdlucmfwypvbgkjqxzETAOINSHRDLUCMFWYPVBGKJQXZ0123456789"
MARKS = ".,:;!?-()/'&%+=@#*"
Colour = tuple[int, int, int]


@lru_cache(maxsize=1)
def font_files() -> tuple[str, ...]:
    """TrueType and OpenType files that can draw Latin letters, sorted."""
    from matplotlib import font_manager

    usable = []
    for path in sorted(set(font_manager.findSystemFonts()) | {f.fname for f in font_manager.fontManager.ttflist}):
        try:
            face = ImageFont.truetype(path, 20)
            # A font without Latin letters draws the same box for each of them.
            if len({bytes(face.getmask(letter)) for letter in "Hamburg"}) == 7:
                usable.append(path)
        except (OSError, ValueError):
            continue
    return tuple(usable)


@lru_cache(maxsize=512)
def font(path: str, size: int) -> ImageFont.FreeTypeFont:
    """A font of `size` pixels, loaded once."""
    return ImageFont.truetype(path, size)


def some_font(rng: np.random.Generator, least: int = 8, most: int = 48) -> ImageFont.FreeTypeFont:
    """A random font; small sizes are more frequent."""
    files = font_files()
    size = int(np.exp(rng.uniform(np.log(least), np.log(most))))
    return font(files[rng.integers(len(files))], size)


def colour(rng: np.random.Generator) -> Colour:
    """Often grey, black or white; otherwise of any hue."""
    kind = rng.random()
    if kind < 0.2:
        return (255, 255, 255)
    if kind < 0.35:
        return (0, 0, 0)
    if kind < 0.5:
        return (int(rng.integers(256)),) * 3
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.random() ** 0.7, rng.random() ** 0.5)
    return int(255 * red), int(255 * green), int(255 * blue)


def contrasting(rng: np.random.Generator, other: Colour) -> Colour:
    """A colour whose luma differs from another's by at least a quarter of the range."""
    while True:
        own = colour(rng)
        if abs(sum(own) - sum(other)) > 192:
            return own


def words(rng: np.random.Generator, count: int) -> str:
    """Words of letters about as frequent as in English; some are numbers or have marks."""
    said = []
    for _ in range(count):
        length = int(rng.integers(1, 11))
        if rng.random() < 0.1:
            word = str(int(rng.integers(10**length)))
        else:
            word = "".join(LETTERS[min(int(rng.exponential(7)), 25)] for _ in range(length))
            word = word.upper() if rng.random() < 0.08 else word.capitalize() if rng.random() < 0.2 else word
        said.append(word + (MARKS[rng.integers(len(MARKS))] if rng.random() < 0.15 else ""))
    return " ".join(said)


def text(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, box: tuple[int, int, int, int], ink: Colour, most: int = 40
) -> None:
    """A paragraph in one font that fills a box, ragged."""
    face = some_font(rng, most=most)
    height = int(face.size * rng.uniform(1.1, 1.6)) + 1
    left, top, right, bottom = box
    for y in range(top, bottom - height, height):
        if rng.random() < 0.08:
            continue
        line = words(rng, max(1, int((right - left) / (face.size * 3))))
        draw.text((left, y), line, ink, face)


def box_in(rng: np.random.Generator, size: int, least: int = 8) -> tuple[int, int, int, int]:
    """A random box within a square of `size`."""
    left, top = (int(rng.integers(0, size - least)) for _ in range(2))
    return left, top, left + int(rng.integers(least, size - left + 1)), top + int(rng.integers(least, size - top + 1))


def page(rng: np.random.Generator, size: int) -> Image.Image:
    """Text on paper, with a heading and rules."""
    paper = (255, 255, 255) if rng.random() < 0.5 else colour(rng)
    image = Image.new("RGB", (size, size), paper)
    draw = ImageDraw.Draw(image)
    ink = contrasting(rng, paper)
    columns = int(rng.integers(1, 4))
    wide = size // columns
    for column in range(columns):
        left = column * wide + int(rng.integers(0, 12))
        head = int(rng.integers(0, size // 3))
        text(draw, rng, (left, 4, left + wide - 8, head), contrasting(rng, paper), most=64)
        text(draw, rng, (left, head, left + wide - 8, size), ink, most=24)
        if rng.random() < 0.3:
            draw.line((left, head, left + wide - 8, head), ink, int(rng.integers(1, 4)))
    return image


def shapes(rng: np.random.Generator, size: int) -> Image.Image:
    """Flat shapes, a logo with a name perhaps; drawn four times as large, so that edges are smooth, or not."""
    factor = 1 if rng.random() < 0.3 else 3
    image = Image.new("RGB", (size * factor, size * factor), colour(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(0, 9))):
        box = box_in(rng, size * factor)
        fill = colour(rng) if rng.random() < 0.8 else None
        outline = colour(rng) if fill is None or rng.random() < 0.3 else None
        width = int(rng.integers(1, 8)) * factor
        kind = rng.integers(5)
        if kind == 0:
            draw.rectangle(box, fill, outline, width)
        elif kind == 1:
            draw.ellipse(box, fill, outline, width)
        elif kind == 2:
            draw.rounded_rectangle(box, min(box[2] - box[0], box[3] - box[1]) // 3, fill, outline, width)
        elif kind == 3:
            draw.polygon(
                [tuple(int(v) for v in rng.integers(0, size * factor, 2)) for _ in range(int(rng.integers(3, 7)))],
                fill or outline,
            )
        else:
            first, last = sorted(rng.uniform(0, 360, 2))
            draw.pieslice(box, first, last, fill, outline, width)
    if factor > 1:
        image = image.resize((size, size), Image.Resampling.BOX)
    if rng.random() < 0.4:
        text(ImageDraw.Draw(image), rng, box_in(rng, size, 40), colour(rng), most=90)
    return image


def gradient(rng: np.random.Generator, size: int) -> Image.Image:
    """A linear or round gradient between two colours, perhaps with a sharp border somewhere."""
    first, second = (np.array(colour(rng), float) for _ in range(2))
    across, down = np.meshgrid(*[np.linspace(-1, 1, size)] * 2)
    angle = rng.uniform(0, 2 * np.pi)
    if rng.random() < 0.7:
        ramp = across * np.cos(angle) + down * np.sin(angle)
    else:
        ramp = np.hypot(across - rng.uniform(-1, 1), down - rng.uniform(-1, 1))
    share = np.clip(ramp * rng.uniform(0.2, 1.5) + 0.5, 0, 1)[:, :, None]
    image = Image.fromarray(np.uint8(np.round(first + (second - first) * share)))
    if rng.random() < 0.4:
        image.paste(colour(rng), box_in(rng, size))
    return image


def interface(rng: np.random.Generator, size: int) -> Image.Image:
    """A mock-up of a window: bars, lists, buttons, labels, fields."""
    back = (int(rng.integers(225, 256)),) * 3 if rng.random() < 0.6 else colour(rng)
    image = Image.new("RGB", (size, size), back)
    draw = ImageDraw.Draw(image)
    accent, ink = colour(rng), contrasting(rng, back)
    bar = int(rng.integers(16, 48))
    draw.rectangle((0, 0, size, bar), accent)
    draw.text((8, bar // 4), words(rng, 3), contrasting(rng, accent), some_font(rng, 9, 18))
    row, left = int(rng.integers(18, 44)), int(rng.integers(0, size // 3))
    if left > 30:
        draw.rectangle((0, bar, left, size), colour(rng))
    face = some_font(rng, 9, 18)
    for y in range(bar + 4, size, row):
        kind = rng.random()
        if kind < 0.5:
            draw.text((left + 8, y), words(rng, int(rng.integers(1, 7))), ink, face)
        elif kind < 0.7:
            right = left + int(rng.integers(40, 140))
            fill = colour(rng)
            draw.rounded_rectangle((left + 8, y, right, y + row - 5), int(rng.integers(0, 8)), fill)
            draw.text((left + 14, y + 3), words(rng, 1), contrasting(rng, fill), face)
        elif kind < 0.85:
            draw.rectangle((left + 8, y, size - 8, y + row - 5), (255, 255, 255), ink)
        if rng.random() < 0.5:
            draw.line((left, y + row - 3, size, y + row - 3), tuple((a + b) // 2 for a, b in zip(back, ink)))
    return image


def lines(rng: np.random.Generator, size: int) -> Image.Image:
    """A drawing of lines: polygons, curves, hatching, charts."""
    paper = (255, 255, 255) if rng.random() < 0.6 else colour(rng)
    factor = 1 if rng.random() < 0.3 else 3
    image = Image.new("RGB", (size * factor, size * factor), paper)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(2, 12))):
        ink, width = contrasting(rng, paper), int(rng.integers(1, 4)) * factor
        if rng.random() < 0.3:
            left, top, right, bottom = box_in(rng, size * factor)
            pitch = int(rng.integers(3, 16)) * factor
            for x in range(left, right, pitch):
                draw.line((x, top, x + int(rng.integers(0, 2)) * (bottom - top) // 2, bottom), ink, width)
        else:
            steps = np.cumsum(rng.normal(0, size * factor / 12, (int(rng.integers(2, 40)), 2)), axis=0) + rng.uniform(
                0, size * factor, 2
            )
            draw.line([tuple(p) for p in steps], ink, width, joint="curve")
    return image.resize((size, size), Image.Resampling.BOX) if factor > 1 else image


def flat(rng: np.random.Generator, size: int) -> Image.Image:
    """One colour, or two with a border."""
    image = Image.new("RGB", (size, size), colour(rng))
    if rng.random() < 0.5:
        image.paste(colour(rng), box_in(rng, size))
    return image


KINDS = ((page, 0.3), (shapes, 0.22), (interface, 0.18), (lines, 0.12), (gradient, 0.1), (flat, 0.08))


def drawing(rng: np.random.Generator, size: int = 320) -> Image.Image:
    """A made-up picture of size x size pixels, RGB."""
    kinds, shares = zip(*KINDS)
    return kinds[rng.choice(len(kinds), p=shares)](rng, size)
