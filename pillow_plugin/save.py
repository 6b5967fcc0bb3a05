"""`image.save("x.sdf", ...)`."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from PIL import Image, ImageFile

from pillow_plugin import preview, resolution
from pillow_plugin.denoisers import denoiser_ids
from sdf_format import arguments, atomic
from sdf_format.errors import BadInput

FORMAT = "SDF"
UNMARKED = "xmp as it is stored"  # beside what was read of a file: without the mark of §3.7
KEYWORDS_OF_METADATA = frozenset({"exif", "icc_profile", "xmp", "text", "comment", "dpi"})
# What asks for a picture to be coded anew. Others, known or not, do not.
RATES = ("quality", "bpp", "target_bytes")
OF_DIFFC = ("seed", "steps", "table", "coder", "coder_bits", "effort")
OF_KINDS = (*OF_DIFFC, "colours", "groups", "dithering", "levels", "bits", "cleanup")
KEYWORDS_OF_CODING = frozenset({*RATES, *OF_KINDS, "model", "kind", "denoiser", "prompt", "guidance"})
OPTIONS = (*RATES, *OF_KINDS, "model", "kind", "device", "progress")
NATIVE = ("L", "LA", "RGB", "RGBA")
DEEP = ("I", "F")  # and I;16 and its kin: more than 8 bits, which the format does not hold


def to_native(image: Image.Image) -> Image.Image:
    """The image in one of the modes L, LA, RGB, RGBA.

    1 becomes L, L with a transparent value LA; everything else of 8 bits becomes RGBA if it has transparency and RGB if
    not, as with Pillow's WebP plugin. Raises OSError for I, I;16 and F: converting them would lose data silently.
    """
    if image.mode in NATIVE and "transparency" not in image.info:
        return image
    if image.mode.startswith(DEEP):
        raise OSError(f"cannot write mode {image.mode} as SDF; it holds 8 bits a channel: scale the image to L first")
    if image.mode in ("1", "L"):
        return image.convert("LA" if "transparency" in image.info else "L")
    if image.mode in ("LA", "La", "RGBa"):
        return image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode))
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def inherited_profile(image: Image.Image, mode: str) -> bytes:
    """The image's ICC profile, unless it is for other colours than those of `mode`, to which the image was converted,
    or sRGB: that is what a file without one means (§3.3), and 2.5 kB would be half the file.
    """
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes):
        return b""
    space = profile[16:20]
    if space in (b"RGB ", b"GRAY", b"CMYK", b"Lab ") and space != (b"GRAY" if mode.startswith("L") else b"RGB "):
        return b""
    return b"" if profile and is_srgb(profile) else profile


def is_srgb(profile: bytes) -> bool:
    """Whether a profile is named so, as far as LittleCMS can tell: Pillow may be without it."""
    from PIL import ImageCms

    try:
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).startswith("sRGB")
    except (ImportError, OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return False


def metadata_of(image: Image.Image, mode: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the file is to hold: exif, icc_profile and xmp, b"" for none, and text, str by str; arguments of
    `container.metadata.build`.

    Keywords first, of which None and what is empty drop what would be inherited. Then `info`: of an image that was
    opened from SDF all that it has and nothing that was taken out of it, of others the colour profile alone.
    """
    if image.format == FORMAT:
        own = of_info(image.info, getattr(image, "_stored", {}))
    else:
        own = {"exif": b"", "icc_profile": inherited_profile(image, mode), "xmp": b"", "text": {}}
    exif = exif_bytes(given["exif"]) if "exif" in given else own["exif"]
    if "dpi" in given:
        dpi = given["dpi"]
        exif = resolution.changed(exif, None if dpi is None else resolution.checked(dpi))
    text = texts(given["text"]) if "text" in given else own["text"]
    if "comment" in given:
        text = commented(text, given["comment"])
    return {
        "exif": exif,
        "icc_profile": octets("icc_profile", given["icc_profile"]) if "icc_profile" in given else own["icc_profile"],
        "xmp": octets("xmp", given["xmp"]) if "xmp" in given else own["xmp"],
        "text": text,
    }


def of_info(info: Mapping[Any, Any], stored: Mapping[Any, Any]) -> dict[str, Any]:
    """The metadata that the `info` of an image of an SDF file stands for.

    stored  `info` as it was read from the file: of two entries that say the same thing, the comment and the text of its
            key, the resolution and its tags in the EXIF, the one that was changed since counts
    """
    from sdf_format.container.metadata import COMMENT

    exif, old = info.get("exif"), stored.get("exif")
    if exif != old:
        exif = exif_bytes(exif)
    dpi, before = info.get("dpi"), stored.get("dpi")
    if dpi != before and dpi is not None:
        exif = resolution.changed(exif or b"", resolution.checked(dpi))
    elif dpi != before and exif == old and exif:
        exif = resolution.changed(exif, None)
    text = texts(info.get("text"))
    comment, before = info.get("comment"), stored.get("comment")
    told = stored.get("text", {}).get(COMMENT)
    if comment != before or (comment is not None and "text" not in info):
        text = commented(text, comment)
    elif comment is None and text.get(COMMENT) == told:
        text.pop(COMMENT, None)
    return {
        "exif": exif or b"",
        "icc_profile": octets("icc_profile", info.get("icc_profile")),
        # What the file has, where it is untouched: a packet that cannot take the mark gave way to one in `info`.
        "xmp": stored.get(UNMARKED, b"") if info.get("xmp") == stored.get("xmp") else octets("xmp", info.get("xmp")),
        "text": text,
    }


def octets(name: str, value: Any) -> bytes:
    """Bytes, of a str in UTF-8 if it is for XMP; b"" for None."""
    if value is None:
        return b""
    if name == "xmp" and isinstance(value, str):
        return arguments.text(name, value).encode()
    return arguments.octets(name, value)


def exif_bytes(exif: Any) -> bytes:
    """EXIF that a caller gives; b"" for None and for what has not one tag. BadInput for what readers would not take."""
    if isinstance(exif, Image.Exif):
        try:
            exif = exif.tobytes()
        except Exception as error:  # what Pillow raises depends on the tag
            raise BadInput(f"exif: a tag cannot be written: {type(error).__name__}: {error}") from error
        return b"" if resolution.is_empty(exif) else exif
    data = octets("exif", exif)
    if data and not resolution.is_tiff(data):
        raise BadInput(
            f"exif {data[:16]!r}: wanted an Image.Exif, or bytes that begin as a TIFF file does, behind 'Exif' or not"
        )
    return data


def texts(text: Any) -> dict[str, str]:
    """Texts by key; {} for None."""
    if text is None:
        return {}
    if not isinstance(text, Mapping):
        raise BadInput(f"text {text!r:.100}: wanted a dict, str by str")
    return {arguments.text("key of text", key): arguments.text("text", value) for key, value in text.items()}


def commented(text: dict[str, str], comment: Any) -> dict[str, str]:
    """The texts with this comment, str or bytes in UTF-8, or without one if it is None or empty."""
    from sdf_format.container.metadata import COMMENT

    if comment is not None and not isinstance(comment, str):
        try:
            comment = arguments.octets("comment", comment).decode()
        except UnicodeDecodeError as error:
            raise BadInput(f"comment: bytes that are not UTF-8: {error}") from error
    others = {key: value for key, value in text.items() if key != COMMENT}
    return {**others, COMMENT: arguments.text("comment", comment)} if comment else others


def edited(image: Image.Image, stream: Any, file: Any, given: Mapping[str, Any]) -> bytes:
    """The bytes of an SDF file whose picture is that of the image: copied, with the metadata that `metadata_of` says
    and another preview if `given` asks for one. Nothing is decoded but for that.

    Raises BadFile if the file is damaged.
    """
    from sdf_format.container import chunks, metadata

    chunks.verify(stream, file, trailing=ImageFile.LOAD_TRUNCATED_IMAGES)
    replaced: dict[bytes, list[tuple[bytes, bytes]]] = {}
    if "preview" in given and (preview.checked(given["preview"]) or file.find(chunks.PREVIEW_CHUNK)):
        replaced[chunks.PREVIEW_CHUNK] = preview.make(image, given["preview"])
    if KEYWORDS_OF_METADATA & given.keys() or not getattr(image, "_unread", False):
        wanted = metadata_of(image, image.mode, given)
        stored = metadata.read(stream, file, marked=False)
        for kind, key in {**metadata.KEYS, chunks.TEXT_CHUNK: "text"}.items():
            if wanted[key] != (stored.get(key) or type(wanted[key])()):
                replaced[kind] = metadata.build(**{key: wanted[key]})
    return metadata.replaced(stream, file, replaced)


def save_atomic(
    image: Image.Image, path: str | bytes | os.PathLike[Any], format: str | None = None, **params: Any
) -> None:
    """`image.save(path, format, **params)`, of any image to any format, but whole or not at all.

    Where saving fails or is interrupted, by a full disk, a signal or a wrong keyword, `path` is what it was: a new file
    is written beside it and renamed when it is complete (rules: `sdf_format.atomic.replacing`). A target that cannot be
    written is refused before the picture is coded. Raises what `Image.save` raises.
    """
    atomic.check(path)
    target = format or Image.registered_extensions().get(os.path.splitext(os.fsdecode(path))[1].lower())
    if target is None:
        raise ValueError(f"unknown file extension: {os.path.splitext(os.fsdecode(path))[1]}")
    buffer = io.BytesIO()
    if params.get("append"):
        with open(path, "rb") as old:
            buffer.write(old.read())
        buffer.seek(0)
    image.save(buffer, target, **params)
    atomic.write(path, buffer.getvalue())


def save_all(image: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    """SDF holds one picture: `save` for one, BadInput for more."""
    others = image.encoderinfo.get("append_images") or ()
    if not isinstance(others, Sequence) or not all(isinstance(i, Image.Image) for i in others):
        raise BadInput(f"append_images {others!r:.100}: wanted a list of images")
    frames = getattr(image, "n_frames", 1) + sum(getattr(i, "n_frames", 1) for i in others)
    if frames > 1:
        raise BadInput(
            f"an SDF file holds one picture, not {frames} frames: save each to a file of its own (the model is loaded "
            "once), or leave save_all out"
        )
    save(image, fp, filename)


def save(image: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    """Encode completely, then write once: a save that fails leaves the file as Pillow opened it.

    Keywords, all optional: quality (1..100, 50) or bpp or target_bytes; model, seed, steps, table, coder ("tree",
    "trellis" or "pfr"), coder_bits, effort (0..2), denoiser ("mean", "flow", "balanced" or "ancestral", or ("flow",
    steps)), prompt (str) and guidance (a number, or one for coding and one for denoising) for models that take them,
    device, progress; kind ("diffc", "palette" or "lowbit"), for the second colours, groups, dithering (0..1), for the
    third bits or levels, for both cleanup (steps); preview (True or pixels of the longer side); exif (bytes or
    Image.Exif), dpi (x, y), icc_profile, xmp (bytes), text (str by str), comment (str or bytes): see `metadata_of`.
    """
    import numpy as np

    from sdf_format.container import metadata
    from sdf_format.host import need_torch

    need_torch()
    from sdf_format import codec

    given: dict[str, Any] = dict(image.encoderinfo)
    if 0 in image.size:
        raise BadInput("cannot write empty image as SDF")
    new = _is_new(fp)
    native = to_native(image)
    chunks = preview.make(native, given.get("preview"))
    chunks += metadata.build(**metadata_of(image, native.mode, given))
    planes = np.array(native)
    alpha = np.ascontiguousarray(planes[..., -1]) if native.mode.endswith("A") else None
    pixels = planes if alpha is None else planes[..., 0] if native.mode == "LA" else planes[..., :3]
    names = {"model": "model_name"}
    options = {names.get(k, k): given[k] for k in OPTIONS if given.get(k) is not None}
    if given.get("prompt") is not None or given.get("guidance") is not None:
        options["conditioning"] = conditioning(given.get("prompt"), given.get("guidance"))
    if given.get("denoiser") is not None:
        options["denoiser"] = denoiser_ids(given["denoiser"])
    _put(fp, codec.encode(np.ascontiguousarray(pixels), alpha, chunks=chunks, **options).data, new)


def conditioning(prompt: Any, guidance: Any) -> Any:
    """Prompt and guidance as the header has them.  guidance: one number, or one for coding and one for denoising"""
    from sdf_format.container.parameters import Conditioning

    both = 1.0 if guidance is None else arguments.plain(guidance)
    pair = list(both) if isinstance(both, (tuple, list)) else [both, both]
    if len(pair) != 2:
        raise BadInput(f"guidance {guidance!r}: wanted a number, or one for coding and one for denoising")
    return Conditioning("" if prompt is None else prompt, *pair)


def _is_new(fp: IO[bytes]) -> bool:
    """Whether this is an empty file on a disk, as Pillow leaves the file that it was given the name of."""
    try:
        state = os.fstat(fp.fileno())
        return stat.S_ISREG(state.st_mode) and state.st_size == 0 and fp.tell() == 0
    except (AttributeError, OSError, ValueError):
        return False


def _put(fp: IO[bytes], data: bytes, new: bool) -> None:
    """Write.  new: that the file was empty when coding began

    What it has now was written meanwhile by somebody who saved to the same name: Pillow had emptied the file for both.
    The later one replaces it, or the tail of a longer file would stay behind a shorter one.
    """
    if not new:
        fp.write(data)
        return
    with _alone(fp):
        fp.seek(0)
        fp.truncate()
        fp.write(data)
        fp.flush()


@contextlib.contextmanager
def _alone(fp: IO[bytes]) -> Iterator[None]:
    """No other of our writers is in the file. Who waits a second for a lock goes on: it may be the caller's own."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    for _ in range(100):
        try:
            fcntl.flock(fp, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:  # a file system without locks
            break
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(fp, fcntl.LOCK_UN)
