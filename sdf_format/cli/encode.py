"""`sdf encode`: a picture or a sound as SDF; an SDF file as it is, unless something about its coding is asked for."""

from __future__ import annotations

import argparse
import io
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, BinaryIO

from sdf_format import files, terminal
from sdf_format.cli import options
from sdf_format.container import parameters
from sdf_format.container.magic import SIGNATURE
from sdf_format.errors import BadInput

if TYPE_CHECKING:
    from PIL import Image

QUANTISED = {  # options of kinds other than diffc: type, what they are
    "colours": (int, "of kind palette: vectors of a palette, 1 to 4096; default 256, or the most that fit a budget"),
    "groups": (int, "of kind palette: groups of channels with a palette each; chosen to suit if not given"),
    "dithering": (options.number, "of kind palette: strength of error diffusion, 0 (default) to 1"),
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
PLAIN = ("quality", "bpp", "target_bytes", "model", "kind", "denoiser", "seed", "steps", "table", "coder", "effort")
CODING = (*PLAIN, *QUANTISED, "prompt", "caption", "guidance")  # whoever gives one of these wants the picture coded
METADATA = ("exif", "icc_profile", "xmp", "text", "comment")


def add(commands: argparse._SubParsersAction[Any]) -> None:
    command = commands.add_parser("encode", help="write a picture or a sound as SDF")
    command.add_argument(
        "image",
        help="any file that Pillow opens, or a sound: WAV, FLAC, Ogg, MP3 and others of libsndfile; an SDF file is "
        "copied, and coded again only if an option about its coding is given; - for standard input",
    )
    command.add_argument("sdf", help="file to write, which ends in .sdf; - for standard output")
    options.add_force(command)

    size = command.add_argument_group("quality or size").add_mutually_exclusive_group()
    size.add_argument("--quality", type=options.number, help="1 to 100, default 50")
    size.add_argument("--bpp", type=options.number, help="bits per pixel that the file may take")
    size.add_argument("--target-bytes", type=int, help="bytes that the file may take")

    along = command.add_argument_group("what goes along")
    along.add_argument(
        "--preview",
        nargs="?",
        type=options.pixels,
        const=True,
        metavar="PIXELS",
        help="add a small copy for file managers, 256 pixels long or PIXELS",
    )
    along.add_argument(
        "--strip",
        action="store_true",
        help="leave out everything but the picture: EXIF, XMP, colour profile, texts, comment",
    )

    model = command.add_argument_group("model")
    model.add_argument("--model", help="default sdf-tiny-1, which comes with the package")
    options.add_device(model)
    model.add_argument("--prompt", help="a text that conditions the model; kept in the file; models of diffusers only")
    model.add_argument(
        "--caption", action="store_true", help="have BLIP write the prompt; its weights must be here, or SDF_DOWNLOAD=1"
    )
    model.add_argument(
        "--guidance",
        type=options.number,
        nargs="+",
        metavar="G",
        help="how closely the model follows the prompt, 0 to 31.875; 1 as it stands; two numbers: for coding and for "
        "denoising",
    )
    model.add_argument(
        "--denoiser",
        choices=parameters.DENOISERS.values(),
        help="what decoders do by default: mean has the highest fidelity, balanced is the most realistic, "
        "flow the sharpest",
    )

    kinds = command.add_argument_group("other kinds of payload")
    kinds.add_argument(
        "--kind",
        choices=parameters.KINDS.values(),
        help="default diffc, of sound lowbit; palette and lowbit need a --model with an autoencoder",
    )
    for name, (form, what) in QUANTISED.items():
        kinds.add_argument(f"--{name}", type=form, help=what)

    dials = command.add_argument_group("the coder's own dials")
    dials.add_argument(
        "--coder", help="reverse channel coder: tree (default on a CPU), trellis (default on a CUDA device) or pfr"
    )
    dials.add_argument(
        "--effort", type=int, help="0 (default) to 2: how long the tree's sender looks for a better walk"
    )
    dials.add_argument("--steps", type=int, help="1 to 255; chosen from the size if not given")
    dials.add_argument(
        "--table", type=int, help="a registered schedule (table 4.3) instead of one fitted to the picture"
    )
    dials.add_argument("--seed", type=int, help="of the shared randomness, default 0")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from sdf_format import sound_file
    from sdf_format.cli import sound

    if not args.sdf.lower().endswith(files.ENDING) and not files.is_special(args.sdf):
        raise BadInput(
            f"{terminal.shown(args.sdf)} does not end in {files.ENDING}: name the file to write behind the one to read"
        )
    files.check_output(args.sdf, [args.image], args.force)
    if args.guidance and len(args.guidance) > 2:
        raise BadInput(f"{len(args.guidance)} numbers of guidance; wanted one, or one for coding and one for denoising")
    with files.reading(args.image) as stream:
        front = stream.read(sound_file.FRONT)
        stream.seek(0)
        if front.startswith(SIGNATURE) and not coding_wanted(args):
            data, said = _copy(stream, args), ""
        elif sound_file.is_sound(args.image) or (args.image == files.STANDARD and sound_file.has_signature(front)):
            data, said = sound.encode(stream, args, {name: getattr(args, name) for name in QUANTISED})
        else:
            data, said = _picture(stream, args)
    files.put(args.sdf, data, args.force)
    name = "<stdout>" if args.sdf == files.STANDARD else terminal.shown(args.sdf)
    terminal.say(f"{name}: {len(data)} bytes{said}")
    return 0


def coding_wanted(args: argparse.Namespace) -> bool:
    """Whether an option asks for a coding of its own."""
    return any(getattr(args, name) not in (None, False) for name in CODING)


def _picture(stream: BinaryIO, args: argparse.Namespace) -> tuple[bytes, str]:
    """The file, and what its size comes to."""
    from PIL import Image, UnidentifiedImageError

    import pillow_plugin  # noqa: F401  (registers the format)
    from sdf_format.cli import metadata

    with ExitStack() as stack:
        try:
            image = stack.enter_context(Image.open(stream))
            frames = getattr(image, "n_frames", 1)
            image.load()  # what stands behind the pixels of a file is known then
        except UnidentifiedImageError as error:
            raise BadInput(f"{terminal.shown(args.image)} is no picture of a format that Pillow knows") from error
        except Exception as error:  # of a damaged file each of Pillow's readers raises something else
            if terminal.expected(error):
                raise
            raise BadInput(
                f"{terminal.shown(args.image)}: Pillow cannot read it: {type(error).__name__}: {error}"
            ) from error
        if frames > 1:
            terminal.say(f"{terminal.shown(args.image)} holds {frames} pictures; SDF holds one: the first is taken")
        brought: dict[str, Any] = dict.fromkeys(METADATA)
        if not args.strip:
            brought, left_out = metadata.inherited(image)
            for what in left_out:
                terminal.say(f"{terminal.shown(args.image)}: {what} is not kept")
        if args.caption:
            args.prompt = _caption(image, args.device)
        given = {
            name: value
            for name in (*PLAIN, *QUANTISED, "prompt", "device", "preview")
            if (value := getattr(args, name)) is not None
        }
        if args.guidance:
            given["guidance"] = (args.guidance[0], args.guidance[-1])
        buffer = io.BytesIO()
        with terminal.progress("encoding") as progress:
            image.save(buffer, format="SDF", **given, **brought, progress=progress)
        return buffer.getvalue(), f", {8 * buffer.tell() / (image.width * image.height):.4f} bits per pixel"


def _caption(image: Image.Image, device: str | None) -> str:
    from sdf_format.codec import pick_device
    from sdf_format.models.captions import caption

    words = caption(image, pick_device(device))
    terminal.say(f"caption: {words}")
    return words


def _copy(stream: BinaryIO, args: argparse.Namespace) -> bytes:
    """An SDF file, picture or sound, whose payload stays to the byte."""
    from sdf_format.container import chunks

    file = chunks.scan(stream)
    chunks.verify(stream, file)
    if not args.strip and args.preview is None:
        stream.seek(0)
        return stream.read()
    kept = [
        c
        for c in file.chunks
        if c.type not in (chunks.HEADER_CHUNK, chunks.DATA_CHUNK) and not (args.strip and c.ancillary)
    ]
    others = [(c.type, chunks.read(stream, c)) for c in kept if args.preview is None or c.type != chunks.PREVIEW_CHUNK]
    if args.preview is not None:
        others = _preview(stream, args) + others
    conditioning = getattr(parameters.parse(file.header), "conditioning", None)  # of kind diffc alone
    if args.strip and conditioning and conditioning.prompt:
        terminal.say(f"{terminal.shown(args.image)}: its prompt stays, as the picture cannot be decoded without it")
    payload = file.find(chunks.DATA_CHUNK)
    assert payload is not None  # verify has seen it
    return chunks.build(file.header, chunks.read(stream, payload), others)


def _preview(stream: BinaryIO, args: argparse.Namespace) -> list[tuple[bytes, bytes]]:
    """A new preview, of what the file decodes to."""
    from PIL import Image

    from pillow_plugin import Options, preview
    from sdf_format.cli.decode import decoding

    stream.seek(0)
    with terminal.progress("decoding") as progress, Image.open(stream, formats=["SDF"]) as image:
        with decoding(Options(device=args.device, progress=progress)):
            image.load()
        return preview.make(image, args.preview)
