"""`sdf decode`: SDF files into other formats. What cannot be written is found before a model runs."""

from __future__ import annotations

import argparse
import io
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from sdf_format import files, terminal
from sdf_format.cli import options
from sdf_format.container import parameters
from sdf_format.errors import BadInput, IsSound, SdfError

if TYPE_CHECKING:
    from pillow_plugin import Options
    from sdf_format.cli.metadata import Export

TYPE = "png"
WAVES = 8  # times as many files as are in the works at a time, then what there is gets written: nothing piles up


def add(commands: argparse._SubParsersAction[Any]) -> None:
    command = commands.add_parser(
        "decode",
        help="turn SDF files into another format",
        usage="sdf decode [OPTIONS] SDF IMAGE\n       sdf decode [OPTIONS] --to DIR SDF [SDF ...]",
    )
    command.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="file to read, and the one to write, whose ending says the format; - for standard input or output; "
        "with --to, all to read",
    )
    options.add_force(command)
    command.add_argument(
        "--to",
        type=Path,
        metavar="DIR",
        help="folder for the pictures of several files, which go through the model together",
    )
    command.add_argument(
        "--type",
        type=options.ending,
        help="with --to, and for standard output: ending, and so format, of the pictures; default png, of sound wav",
    )
    command.add_argument(
        "--strip",
        action="store_true",
        help="leave out everything but the picture: EXIF, XMP, colour profile, texts, comment",
    )
    command.add_argument(
        "--truncated",
        action="store_true",
        help="decode what there is of a file that ends early, or that other bytes follow",
    )

    look = command.add_argument_group("what the picture looks like")
    look.add_argument("--denoiser", choices=parameters.DENOISERS.values(), help="instead of the file's own choice")
    look.add_argument(
        "--realism",
        type=options.number,
        help="0, highest fidelity, to 1, most realistic, instead of the file's own choice",
    )
    look.add_argument(
        "--uncertainty",
        metavar="MAP",
        help="also write how far decoders may differ where the file does not say: a grey picture of the standard "
        "deviation over eight samples, four grey levels for each level of 255; with one file only",
    )

    machine = command.add_argument_group("machine")
    options.add_device(machine)
    machine.add_argument(
        "--at-once",
        type=options.count,
        help="with --to: files in the works at a time, default 8; fewer if the device's memory is short",
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.to:
        if args.uncertainty:
            raise BadInput("--uncertainty is for one file, without --to")
        return _several(args)
    if len(args.files) != 2:
        raise BadInput(
            f"{len(args.files)} names: wanted one SDF file and the file to write, or --to and a folder for several"
        )
    source, target = args.files
    return _one(source, target, args)


def _one(source: str, target: str, args: argparse.Namespace) -> int:
    from PIL import Image

    from pillow_plugin import Options
    from sdf_format.cli import sound
    from sdf_format.cli.metadata import format_of
    from sdf_format.container import chunks
    from sdf_format.inspect import validate

    files.check_output(target, [source], args.force)
    if args.uncertainty:
        files.check_output(args.uncertainty, [source], args.force)
        if files.same(args.uncertainty, target):
            raise BadInput(f"{terminal.shown(target)} cannot be the picture and the map of --uncertainty")
        format_of(args.uncertainty)
    with files.reading(source) as stream:
        file = chunks.scan(stream)  # Pillow would say no more than that it cannot identify the file
        if file.header.sound:
            sound.decode(stream, file.header, source, target, args)
            return 0
        validate.check_header(file)  # before Pillow looks at metadata and size
        with terminal.progress("decoding") as progress, Image.open(stream, formats=["SDF"]) as image:
            export = _export(image, target, args)
            chosen = Options(device=args.device, denoiser=args.denoiser, realism=args.realism, progress=progress)
            with decoding(chosen, args.truncated):
                image.load()
            data = export.data(image)
        files.put(target, data, args.force)
        if args.uncertainty:
            _write_uncertainty(stream, args)
    return 0


@contextmanager
def decoding(chosen: Options, truncated: bool = False) -> Iterator[None]:
    """Pictures that are loaded meanwhile are decoded so."""
    from PIL import ImageFile

    from pillow_plugin import options

    before = options.current, ImageFile.LOAD_TRUNCATED_IMAGES
    options.change(chosen)
    ImageFile.LOAD_TRUNCATED_IMAGES = truncated
    try:
        yield
    finally:
        options.change(before[0])
        ImageFile.LOAD_TRUNCATED_IMAGES = before[1]


def _export(image: Any, target: str, args: argparse.Namespace) -> Export:
    """How the opened picture is to be written; says what will be missing."""
    from sdf_format.cli.metadata import Export

    nameless = target == files.STANDARD or (files.is_special(target) and not os.path.splitext(target)[1])
    name = f"stdout.{args.type or TYPE}" if nameless else target
    export = Export(name, image.mode, image.size, {} if args.strip else image.info)
    for note in export.notes():
        terminal.say(note)
    if not args.strip and _gave_way(image):
        terminal.say(
            f"{terminal.shown(target)}: the file's XMP is no RDF in UTF-8 and cannot take the mark (§3.7), "
            "which is written in its place; the SDF file keeps it"
        )
    return export


def _gave_way(image: Any) -> bool:
    """Whether the mark stands in the place of a packet that the file has (§3.7)."""
    from sdf_format.container import chunks, mark, metadata

    if image.info.get("xmp") != mark.PACKET:
        return False
    at = image.fp.tell()
    stored = metadata.read(image.fp, chunks.scan(image.fp), marked=False).get("xmp", b"")
    image.fp.seek(at)
    return stored not in (b"", mark.PACKET)


@dataclass(frozen=True)
class Job:
    """One of several files.

    held   what a pipe held, which cannot be read again; None of a file
    alike  a key that puts files of one model and one size next to each other
    """

    source: str
    target: str
    held: BinaryIO | None
    export: Export
    alike: tuple[object, ...]


def _several(args: argparse.Namespace) -> int:
    """All files through the model together; one that fails does not keep the others from being written."""
    from sdf_format.cli.metadata import format_of

    ending = args.type or TYPE
    format_of(f"x.{ending}")
    args.to.mkdir(parents=True, exist_ok=True)
    names = [str(args.to / f"{'stdin' if s == files.STANDARD else Path(s).stem}.{ending}") for s in args.files]
    taken = Counter(map(os.path.normcase, names))
    several = terminal.Several()
    jobs: list[Job] = []
    for source, target in zip(args.files, names, strict=True):
        with several.each(source):
            if (pictures := taken[os.path.normcase(target)]) > 1:
                raise BadInput(
                    f"{pictures} pictures would be called {terminal.shown(target)}: decode them into different folders"
                )
            jobs.append(_job(source, target, args))
    if not jobs:
        return several.status
    from sdf_format import batch

    jobs.sort(key=lambda job: job.alike)
    at_once = args.at_once or batch.AT_ONCE
    step = at_once * WAVES
    with terminal.progress("decoding") as progress:
        for first in range(0, len(jobs), step):
            part = jobs[first : first + step]

            def watched(done: int, total: int) -> None:
                progress(first + done, len(jobs))

            _decode_together(part, at_once, args, several, watched)
    return several.status


def _job(source: str, target: str, args: argparse.Namespace) -> Job:
    """What is to be done with one of several files, as far as it can be told without a model."""
    from PIL import Image

    import pillow_plugin  # noqa: F401  (registers the format)
    from sdf_format.container import chunks
    from sdf_format.container.header import not_a_picture

    files.check_output(target, args.files, args.force)
    with files.reading(source) as stream:
        header = chunks.scan(stream).header
        if header.sound:
            raise IsSound(not_a_picture(header))
        stream.seek(0)
        with Image.open(stream, formats=["SDF"]) as image:
            export = _export(image, target, args)
        held = stream if isinstance(stream, io.BytesIO) else None
    return Job(source, target, held, export, (header.model, header.weights, header.width, header.height))


def _decode_together(
    jobs: list[Job], at_once: int, args: argparse.Namespace, several: terminal.Several, progress: terminal.Progress
) -> None:
    """Decode these and write each."""
    import numpy as np
    from PIL import Image

    from pillow_plugin.denoisers import denoiser_ids
    from sdf_format import batch

    with ExitStack() as stack:
        opened: list[tuple[Job, BinaryIO]] = []
        for job in jobs:
            with several.each(job.source):
                opened.append((job, job.held or stack.enter_context(open(job.source, "rb"))))
        results = batch.decode_many(
            [stream for _, stream in opened],
            at_once=at_once,
            device=args.device,
            denoiser=denoiser_ids(args.denoiser),
            realism=args.realism,
            truncated=args.truncated,
            progress=progress,
        )
    for (job, _), result in zip(opened, results, strict=True):
        with several.each(job.source):
            if isinstance(result, SdfError):
                raise result
            pixels, alpha = result
            image = Image.fromarray(pixels if alpha is None else np.dstack([pixels, alpha]))
            files.put(job.target, job.export.data(image), args.force)


def _write_uncertainty(stream: BinaryIO, args: argparse.Namespace) -> None:
    from PIL import Image

    from sdf_format import uncertainty
    from sdf_format.cli.metadata import Export

    stream.seek(0)
    with terminal.progress("sampling") as progress:
        deviation = uncertainty.spread(stream, device=args.device, truncated=args.truncated, progress=progress)
    image = Image.fromarray(uncertainty.as_grey(deviation))
    files.put(args.uncertainty, Export(args.uncertainty, image.mode, image.size, {}).data(image), args.force)
    terminal.say(
        f"{terminal.shown(args.uncertainty)}: standard deviation {(deviation**2).mean() ** 0.5:.2f} of 255 over the "
        f"picture, {deviation.max():.2f} where it is highest; {uncertainty.SCALE} grey levels for each"
    )
