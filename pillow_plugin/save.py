"""`image.save("x.sdf", ...)`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import IO, Any

from PIL import Image

from pillow_plugin import preview, resolution
from pillow_plugin.denoisers import denoiser_ids

FORMAT = "SDF"
KEYWORDS_OF_METADATA = frozenset({"exif", "icc_profile", "xmp", "text", "comment", "dpi"})
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
    profile = image.info.get("icc_profile") or b""
    space = profile[16:20]
    if space in (b"RGB ", b"GRAY", b"CMYK", b"Lab ") and space != (b"GRAY" if mode.startswith("L") else b"RGB "):
        return b""
    if profile:
        from PIL import ImageCms

        try:
            if ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).startswith("sRGB"):
                return b""
        except (OSError, ImageCms.PyCMSError):
            pass  # not a profile that lcms reads: kept as it is
    return profile


def metadata_chunks(image: Image.Image, mode: str, given: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """Chunks for the keywords of metadata, and for what is inherited: everything from an SDF file, the colour profile
    from others.

    A keyword that is None or empty drops what would be inherited.
    """
    from sdf_format.container import metadata

    own: Mapping[Any, Any] = image.info if image.format == FORMAT else {"icc_profile": inherited_profile(image, mode)}
    exif, icc, xmp = (given.get(key, own.get(key)) or b"" for key in ("exif", "icc_profile", "xmp"))
    if isinstance(exif, Image.Exif):
        exif = exif.tobytes()
    if given.get("dpi"):
        exif = resolution.written(exif, given["dpi"])
    text = dict(given.get("text", own.get("text")) or {})
    if "comment" in given:
        text.pop(metadata.COMMENT, None)
        if comment := given["comment"]:
            text[metadata.COMMENT] = comment if isinstance(comment, str) else comment.decode()
    return metadata.build(exif, icc, xmp.encode() if isinstance(xmp, str) else xmp, text)


def edited(image: Image.Image, stream: Any, file: Any, given: Mapping[str, Any]) -> bytes | None:
    """The bytes of an SDF file that was not decoded, with other metadata if any is given; None if it is damaged:
    decoding says how.
    """
    from sdf_format.container import chunks, metadata
    from sdf_format.errors import SdfError

    try:
        chunks.verify(stream, file)
        if given:
            return metadata.replaced(stream, file, metadata_chunks(image, image.mode, given))
    except SdfError:
        return None
    stream.seek(0)
    return stream.read()


def save_all(image: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    """SDF holds one picture: `save` for one, OSError for more."""
    from sdf_format.errors import BadInput

    frames = getattr(image, "n_frames", 1) + sum(
        getattr(i, "n_frames", 1) for i in image.encoderinfo.get("append_images") or ()
    )
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
    Image.Exif), dpi (x, y), icc_profile, xmp (bytes), text (str by str), comment (str or bytes): see `metadata_chunks`.
    """
    import numpy as np

    from sdf_format import codec
    from sdf_format.container import parameters

    given: dict[str, Any] = dict(image.encoderinfo)
    if 0 in image.size:
        raise ValueError("cannot write empty image as SDF")
    native = to_native(image)
    chunks = preview.make(native, given.get("preview")) + metadata_chunks(image, native.mode, given)
    planes = np.array(native)
    alpha = np.ascontiguousarray(planes[..., -1]) if native.mode.endswith("A") else None
    pixels = planes if alpha is None else planes[..., 0] if native.mode == "LA" else planes[..., :3]
    names = {"model": "model_name"}
    options = {
        names.get(k, k): given[k]
        for k in (
            "quality",
            "bpp",
            "target_bytes",
            "model",
            "kind",
            "seed",
            "steps",
            "table",
            "coder",
            "coder_bits",
            "effort",
            "device",
            "progress",
            "colours",
            "groups",
            "dithering",
            "levels",
            "bits",
            "cleanup",
        )
        if given.get(k) is not None
    }
    if given.get("prompt") or given.get("guidance") is not None:
        guidance = 1.0 if given.get("guidance") is None else given["guidance"]
        coding, denoising = (guidance, guidance) if isinstance(guidance, (int, float)) else guidance
        options["conditioning"] = parameters.Conditioning(given.get("prompt") or "", coding, denoising)
    if given.get("denoiser") is not None:
        options["denoiser"] = denoiser_ids(given["denoiser"])
    fp.write(codec.encode(np.ascontiguousarray(pixels), alpha, chunks=chunks, **options).data)
