"""The Pillow plugin: `sdf bench plugin IMAGE... [--bpp 0.1] [--runs 3]`.

First table: every image's thumbnail against its full decoding, from the preview and from the payload, in CPU seconds.
Second: opening, verifying, damage, threads, truncation and imports, with the first image. Times are the shortest of
several.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

import pillow_plugin  # noqa: F401  (registers the format)
from sdf_format.bench import metrics
from sdf_format.inspect.table import Table

THUMBNAIL = (128, 128)
SMALL = (48, 48)  # what an eighth of a photograph of half a megapixel is enough for
FLIPS = 64
THREADS = 16
HEAVY = ("torch", "numpy", "diffusers")


class Counting(io.BytesIO):
    """A file that counts the bytes read from it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def shortest(work: Callable[[], object], runs: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of the fastest of `runs` runs after one that is not counted."""
    work()
    times = []
    for _ in range(runs):
        start = clock()
        work()
        times.append(clock() - start)
    return min(times)


def saved(image: Image.Image, **options) -> bytes:
    """The bytes of an SDF file."""
    buffer = io.BytesIO()
    image.save(buffer, "SDF", **options)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    """The image of a file, not yet loaded."""
    return Image.open(io.BytesIO(data))


def thumbnail(data: bytes, size: tuple[int, int]) -> Image.Image:
    """As `Image.thumbnail`."""
    image = opened(data)
    image.thumbnail(size)
    return image


def thumbnails(name: str, plain: bytes, runs: int) -> dict[str, object]:
    """One row of the first table. PSNR: of the small picture against that of the full decoding."""
    whole = opened(plain)
    whole.load()
    full = shortest(lambda: opened(plain).load(), runs, time.process_time)
    shown: dict[str, object] = {"image": name, "size": f"{whole.width}x{whole.height}", "full s": full}
    for size in (SMALL, THUMBNAIL):
        name = "x".join(map(str, size))
        took = shortest(lambda: thumbnail(plain, size), runs, time.process_time)
        expected = whole.copy()
        expected.thumbnail(size, reducing_gap=None)
        shown |= {
            f"{name} s": took,
            f"{name} times faster": full / took,
            f"{name} PSNR": metrics.psnr(thumbnail(plain, size), expected),
        }
    return shown


def damaged(data: bytes, act: Callable[[Image.Image], object]) -> int:
    """In how many of FLIPS files with one flipped bit each `act` notices it."""
    found = 0
    for k in range(FLIPS):
        bad = bytearray(data)
        bad[8 + k * (len(data) - 8) // FLIPS] ^= 1 << k % 8
        try:
            act(opened(bytes(bad)))
        except (OSError, SyntaxError):
            found += 1
    return found


def errors_of_threads(works: Sequence[Callable[[], object]]) -> int:
    """How many of them raise when all run at once."""
    errors: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # counted, whatever it is
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(errors)


@contextlib.contextmanager
def truncated_allowed():
    """Pillow loads files that end early."""
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def import_milliseconds(code: str, runs: int = 7) -> float:
    """CPU time of `code` in a fresh interpreter, the least of several."""
    program = f"import time\nstart = time.process_time()\n{code}\nprint(1000 * (time.process_time() - start))"
    return min(
        float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
        for _ in range(runs)
    )


def heavy_after(code: str) -> str:
    """Which heavy modules a fresh interpreter has loaded after `code`."""
    program = f"{code}\nimport sys\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    return (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
        or "none"
    )


def rows(image: Image.Image, data: bytes, bpp: float, folder: Path) -> list[tuple[str, str]]:
    """The second table."""
    laden = saved(image.resize((32, 32)), quality=1, icc_profile=np.random.default_rng(0).bytes(4 << 20))
    path = folder / "x.sdf"
    path.write_bytes(saved(image, quality=10, preview=True))
    stream = Counting(laden)
    Image.open(stream).size  # noqa: B018  (what is read for it counts)
    small = saved(image.resize((160, 120)), bpp=bpp)
    shared = opened(small)
    use = f"import pillow_plugin\nfrom PIL import Image\nim = Image.open({str(path)!r})\n"
    with truncated_allowed():
        quality = [
            f"{100 * part // 4} %: {metrics.psnr(opened(data[: len(data) * part // 4]).convert('RGB'), image):.1f}"
            for part in (1, 2, 3)
        ]
    verifying = shortest(lambda: opened(laden).verify(), 5)

    def on_disk(act: Callable[[Image.Image], object]) -> None:
        with Image.open(path) as file:
            act(file)

    return [
        (f"bytes read by open, of a file of {len(laden)}", f"{stream.count}"),
        ("open and size, from disk, ms", f"{1000 * shortest(lambda: on_disk(lambda i: i.size), 300):.3f}"),
        ("open and verify, from disk, ms", f"{1000 * shortest(lambda: on_disk(lambda i: i.verify()), 300):.3f}"),
        ("verify, MB/s", f"{len(laden) / verifying / 1e6:.0f}"),
        (
            "thumbnail from the preview, from disk, ms",
            f"{1000 * shortest(lambda: on_disk(lambda i: i.thumbnail(THUMBNAIL)), 100):.2f}",
        ),
        ("saving an untouched file again, ms", f"{1000 * shortest(lambda: saved(opened(data)), 100):.3f}"),
        (f"flipped bits found by verify, of {FLIPS}", f"{damaged(data, lambda i: i.verify())}"),
        (f"flipped bits found by load, of {FLIPS}", f"{damaged(data, lambda i: i.load())}"),
        (f"errors of {THREADS} threads that load one image", f"{errors_of_threads([shared.load] * THREADS)}"),
        (
            f"errors of {THREADS} threads with an image each",
            f"{errors_of_threads([lambda: opened(small).load()] * THREADS)}",
        ),
        ("PSNR of a part of the file", ", ".join(quality)),
        ("import PIL.Image and ImageFile, CPU ms", f"{import_milliseconds('from PIL import Image, ImageFile'):.0f}"),
        (
            "the same and pillow_plugin, CPU ms",
            f"{import_milliseconds('from PIL import Image, ImageFile; import pillow_plugin'):.0f}",
        ),
        ("heavy modules after open, size and verify", heavy_after(use + "im.size\nim.verify()")),
        ("heavy modules after a thumbnail from the preview", heavy_after(use + f"im.thumbnail({THUMBNAIL})")),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """`sdf bench plugin`."""
    parser = argparse.ArgumentParser(
        prog="sdf bench plugin", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--bpp", type=float, default=0.1)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args(arguments)
    files = []
    with Table(total=len(args.images)) as table:
        for path in args.images:
            with Image.open(path) as image:
                files.append(saved(image.convert("RGB"), bpp=args.bpp))
            table.add_named(thumbnails(path.name, files[-1], args.runs), ".2f")
    print()
    with (
        tempfile.TemporaryDirectory() as folder,
        Image.open(args.images[0]) as image,
        Table("what", "figure") as table,
    ):
        for what, figure in rows(image.convert("RGB"), files[0], args.bpp, Path(folder)):
            table.add(what, figure)
