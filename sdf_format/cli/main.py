"""The command `sdf`: encode, decode, thumbnail, info, dump, verify, conformance, bench, calibrate."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from sdf_format.bench import BENCHES
from sdf_format.container import parameters
from sdf_format.errors import BadInput, SdfError

GOOD, BAD = 0, 1
QUANTISED = {  # options of kinds other than diffc: type, what they are
    "colours": (int, "of kind palette: vectors of a palette, 1 to 4096; default 256, or the most that fit a budget"),
    "groups": (int, "of kind palette: groups of channels with a palette each; chosen to suit if not given"),
    "dithering": (float, "of kind palette: strength of error diffusion, 0 (default) to 1"),
    "bits": (
        int,
        "of kind lowbit: bits a value before entropy coding, 1 to 8; default 2, or the most that fit a budget",
    ),
    "levels": (int, "of kind lowbit, instead of bits: 2 to 256"),
    "cleanup": (
        int,
        "of kinds palette and lowbit: steps of the model's clean-up, 0 (none) to 31; one where it helps if not given",
    ),
}


def _progress(label: str) -> Callable[[int, int], None] | None:
    """A line that counts model calls, on a terminal only."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        sys.stderr.write(f"\r{label} {done}/{total}" + ("\n" if done == total else ""))
        sys.stderr.flush()

    return show


def _encode(args: argparse.Namespace) -> int:
    from sdf_format import sound_file
    from sdf_format.cli import sound

    own = {name: getattr(args, name) for name in QUANTISED}
    if sound_file.is_sound(args.image):
        return sound.encode(args, _progress, own)
    from PIL import Image

    import pillow_plugin  # noqa: F401  (registers the format)

    with Image.open(args.image) as image:
        info = image.info
        rate = {k: v for k in ("quality", "bpp", "target_bytes") if (v := getattr(args, k)) is not None}
        if args.caption:
            from sdf_format.codec import pick_device
            from sdf_format.models.captions import caption

            args.prompt = caption(image, pick_device(args.device))
            print(f"caption: {args.prompt}")
        image.save(
            args.sdf,
            format="SDF",
            **rate,
            model=args.model,
            seed=args.seed,
            device=args.device,
            steps=args.steps,
            table=args.table,
            coder=args.coder,
            effort=args.effort,
            denoiser=args.denoiser,
            progress=_progress("encoding"),
            prompt=args.prompt,
            guidance=_guidance(args.guidance),
            preview=args.preview,
            kind=args.kind,
            **own,
            exif=None if args.strip else info.get("exif"),
            xmp=None if args.strip else info.get("xmp"),
            **({"icc_profile": None} if args.strip else {}),
        )
        size = Path(args.sdf).stat().st_size
        print(f"{args.sdf}: {size} bytes, {8 * size / (image.width * image.height):.4f} bits per pixel")
    return GOOD


def _guidance(given: list[float] | None) -> tuple[float, float] | None:
    if given and len(given) > 2:
        raise BadInput(f"{len(given)} numbers of guidance; wanted one, or one for coding and one for denoising")
    return (given[0], given[-1]) if given else None


def _decode(args: argparse.Namespace) -> int:
    from sdf_format.cli import decode

    return decode.run(args, _progress)


def _thumbnail(args: argparse.Namespace) -> int:
    from PIL import Image

    import pillow_plugin  # noqa: F401  (registers the format)

    with Image.open(args.sdf, formats=["SDF"]) as image:
        image.thumbnail((args.size, args.size))
        image.save(args.image, format="PNG")
    return GOOD


def _info(args: argparse.Namespace) -> int:
    from sdf_format.inspect import report

    worst = GOOD
    for path in args.files:
        with open(path, "rb") as stream:
            try:
                facts = report.describe(stream, os.stat(path).st_size)
            except SdfError as error:
                facts = None
                print(
                    json.dumps({"file": path, "valid": False, "errors": [str(error)]})
                    if args.json
                    else f"{path}: {error}"
                )
        if facts is not None:
            print(json.dumps({"file": path, **facts}) if args.json else report.as_text(path, facts))
        worst = max(worst, GOOD if facts and facts["valid"] else BAD)
    return worst


def _dump(args: argparse.Namespace) -> int:
    from sdf_format.inspect import dump

    for path in args.files:
        with open(path, "rb") as stream:
            found = dump.rows(stream, os.stat(path).st_size if args.all else dump.SHOWN)
            if len(args.files) > 1:
                print(f"{path}:")
            print(dump.as_text(found))
    return GOOD


def _verify(args: argparse.Namespace) -> int:
    from sdf_format.container import chunks
    from sdf_format.inspect import validate

    worst = GOOD
    for path in args.files:
        try:
            with open(path, "rb") as stream:
                validate.check(stream, chunks.scan(stream))
            print(f"{path}: ok")
        except OSError as error:
            print(f"{path}: {error}")
            worst = BAD
    return worst


def _bench(args: argparse.Namespace) -> int:
    import_module(f"sdf_format.bench.{args.name}").main(args.arguments)
    return GOOD


def _calibrate(args: argparse.Namespace) -> int:
    from sdf_format.training import calibrate

    print("\n".join(calibrate.from_arguments(args, _progress("measuring") or (lambda *_: None))))
    return GOOD


def _conformance(args: argparse.Namespace) -> int:
    from sdf_format.cli import conformance
    from sdf_format.inspect.conformance import SUITE

    return conformance.run(
        conformance.in_process(main), args.suite or SUITE, args.decoder, args.info, args.only, args.json, args.timeout
    )


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="sdf",
        description="SDF image files: what a diffusion model cannot guess, and nothing else.",
        epilog="Exit codes: 0 done; 1 a bad file or request; 3 unsupported; 4 the model is missing; 5 truncated.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    encode = commands.add_parser("encode", help="write a picture or a sound as SDF")
    encode.add_argument(
        "image", help="any file that Pillow opens, or a sound: WAV, FLAC, Ogg, MP3 and others of libsndfile"
    )
    encode.add_argument("sdf", help="file to write")
    rate = encode.add_mutually_exclusive_group()
    rate.add_argument("--quality", type=float, help="1 to 100, default 50")
    rate.add_argument("--bpp", type=float, help="bits per pixel that the file may take")
    rate.add_argument("--target-bytes", type=int, help="bytes that the file may take")
    encode.add_argument("--model", default=None, help="default sdf-tiny-1, which comes with the package")
    encode.add_argument(
        "--kind",
        choices=parameters.KINDS.values(),
        help="of payload, default diffc, of sound lowbit; palette and lowbit need a --model with an autoencoder",
    )
    for name, (form, what) in QUANTISED.items():
        encode.add_argument(f"--{name}", type=form, help=what)
    encode.add_argument("--seed", type=int, default=None, help="of the shared randomness, default 0")
    encode.add_argument("--steps", type=int, default=None, help="1 to 255; chosen from the size if not given")
    encode.add_argument(
        "--coder",
        default=None,
        help="reverse channel coder: tree (default on a CPU), trellis (default on a CUDA device) or pfr",
    )
    encode.add_argument(
        "--effort", type=int, default=None, help="0 (default) to 2: how long the tree's sender looks for a better walk"
    )
    encode.add_argument(
        "--table", type=int, default=None, help="a registered schedule (table 4.3) instead of one fitted to the picture"
    )
    encode.add_argument(
        "--denoiser",
        choices=parameters.DENOISERS.values(),
        help="what decoders do by default: mean has the highest fidelity, balanced is the most realistic, flow the "
        "sharpest",
    )
    encode.add_argument(
        "--prompt", help="what the model is told of the picture; kept in the file; models of diffusers only"
    )
    encode.add_argument(
        "--caption", action="store_true", help="have BLIP write the prompt; its weights must be here, or SDF_DOWNLOAD=1"
    )
    encode.add_argument(
        "--guidance",
        type=float,
        nargs="+",
        metavar="G",
        help="how closely the model follows the prompt, 0 to 31.875; 1 as it stands; two numbers: for coding and for "
        "denoising",
    )
    encode.add_argument("--strip", action="store_true", help="leave EXIF, XMP and colour profile out")
    encode.add_argument(
        "--preview",
        nargs="?",
        type=int,
        const=256,
        metavar="PIXELS",
        help="add a small copy for file managers, 256 pixels long or PIXELS",
    )
    encode.add_argument("--device", help="torch device; default: SDF_DEVICE, or the fastest there is")
    encode.set_defaults(run=_encode)

    decode = commands.add_parser(
        "decode",
        help="turn SDF files into another format",
        usage="sdf decode [OPTIONS] SDF IMAGE\n       sdf decode [OPTIONS] --to DIR SDF [SDF ...]",
    )
    decode.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="file to read, and the one to write, whose ending says the format; with --to, all to read",
    )
    decode.add_argument(
        "--to",
        type=Path,
        metavar="DIR",
        help="folder for the pictures of several files, which go through the model together",
    )
    decode.add_argument("--type", default="png", help="with --to: ending, and so format, of the pictures; default png")
    decode.add_argument(
        "--at-once",
        type=int,
        help="with --to: files in the works at a time, default 8; fewer if the device's memory is short",
    )
    decode.add_argument("--denoiser", choices=parameters.DENOISERS.values(), help="instead of the file's own choice")
    decode.add_argument(
        "--realism", type=float, help="0, highest fidelity, to 1, most realistic, instead of the file's own choice"
    )
    decode.add_argument(
        "--uncertainty",
        metavar="MAP",
        help="also write how far decoders may differ where the file does not say: a grey picture of the "
        "standard deviation over eight samples, four grey levels for each level of 255; with one file only",
    )
    decode.add_argument("--truncated", action="store_true", help="decode what there is of a file that ends early")
    decode.add_argument("--device", help="torch device; default: SDF_DEVICE, or the fastest there is")
    decode.set_defaults(run=_decode)

    thumbnail = commands.add_parser(
        "thumbnail", help="write a small PNG, as file managers ask for: the preview, or the first steps"
    )
    thumbnail.add_argument("sdf", help="file to read")
    thumbnail.add_argument("image", help="PNG to write")
    thumbnail.add_argument("--size", type=int, default=256, help="pixels a side at most, default 256")
    thumbnail.set_defaults(run=_thumbnail)

    info = commands.add_parser("info", help="show header, chunks and schedule; needs no model")
    info.add_argument("files", nargs="+", metavar="FILE")
    info.add_argument("--json", action="store_true", help="one JSON object a line")
    info.set_defaults(run=_info)

    dump = commands.add_parser("dump", help="show every byte, annotated with fields and clauses; damaged files too")
    dump.add_argument("files", nargs="+", metavar="FILE")
    dump.add_argument("--all", action="store_true", help="all of long fields too, not only their first 256 bytes")
    dump.set_defaults(run=_dump)

    verify = commands.add_parser("verify", help="check every byte; exit code 0 if all files are sound, 1 if not")
    verify.add_argument("files", nargs="+", metavar="FILE")
    verify.set_defaults(run=_verify)

    conformance = commands.add_parser("conformance", help="judge a decoder by the files of spec/conformance")
    conformance.add_argument(
        "--decoder", metavar="CMD", help='as in "mydecoder {in} {out}", which writes a PNG; default: sdf decode'
    )
    conformance.add_argument(
        "--info",
        metavar="CMD",
        help='as in "mydecoder --header {in}", which prints JSON as sdf info --json does; '
        "default with --decoder: headers are not compared",
    )
    conformance.add_argument(
        "--suite", type=Path, metavar="DIR", help="folder of the suite; default: the one in the sources"
    )
    conformance.add_argument("--only", default="*", metavar="PATTERN", help="names of files, as in 'alpha-*'")
    conformance.add_argument("--timeout", type=float, default=300, help="seconds a file; default 300")
    conformance.add_argument("--json", action="store_true", help="the report as JSON")
    conformance.set_defaults(run=_conformance)

    bench = commands.add_parser(
        "bench",
        help="run a benchmark",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"{name:8} {what}" for name, what in BENCHES.items()),
    )
    bench.add_argument("name", choices=BENCHES)
    bench.add_argument("arguments", nargs=argparse.REMAINDER, help="`sdf bench NAME --help` lists them")
    bench.set_defaults(run=_bench)

    calibrate = commands.add_parser("calibrate", help="make schedules and tables of bits for a model (table 4.3)")
    calibrate.add_argument(
        "--model", default="sdf-tiny-1", help="of table 4.1, or the folder of a pipeline of diffusers"
    )
    calibrate.add_argument(
        "--images", type=Path, required=True, help="folder of photographs, none of them used for evaluation"
    )
    calibrate.add_argument(
        "--out", type=Path, required=True, help="JSON file to write; measurements are kept beside it"
    )
    calibrate.add_argument("--steps", default="10,20,50,unlimited", help="schedules to make")
    calibrate.add_argument("--size", default="256", help="sides of the crops, in pixels")
    calibrate.add_argument("--end", type=float, default=6.0, help="log-SNR of the last step, in nat")
    calibrate.add_argument("--count", type=int, default=32, help="photographs")
    calibrate.add_argument(
        "--table", default="mean", help="what pictures are granted: mean, half, double, min or max of what these need"
    )
    calibrate.add_argument("--state-bits", type=int, default=14, help="L of the trellis that the bits are for")
    calibrate.add_argument("--device", help="torch device; default: SDF_DEVICE, or the fastest there is")
    calibrate.set_defaults(run=_calibrate)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    try:
        return args.run(args)
    except (OSError, ValueError) as error:
        print(f"sdf {args.command}: {error}", file=sys.stderr)
        return error.status if isinstance(error, SdfError) else BAD
