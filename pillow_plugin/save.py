"""`image.save("x.sdf", ...)`."""

from __future__ import annotations

import io
from typing import IO, Any

from PIL import Image

NATIVE = ("L", "LA", "RGB", "RGBA")
DEEP = ("I", "F")       # and I;16 and its kin: more than 8 bits, which the format does not hold


def to_native(image: Image.Image) -> Image.Image:
    """The image in one of the modes L, LA, RGB, RGBA.

    1 becomes L; everything else of 8 bits becomes RGBA if it has transparency and RGB if not, as Pillow's WebP plugin does.
    Raises OSError for I, I;16 and F: converting them would lose data silently.
    """
    if image.mode in NATIVE and "transparency" not in image.info:
        return image
    if image.mode.startswith(DEEP):
        raise OSError(f"cannot write mode {image.mode} as SDF; convert it to L first")
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("LA", "La", "RGBa"):
        return image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode))
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def inherited_profile(image: Image.Image) -> bytes | None:
    """The image's ICC profile, unless it is sRGB: that is what a file without one means (§3.3), and 2.5 kB would be half the file."""
    profile = image.info.get("icc_profile")
    if profile:
        from PIL import ImageCms

        try:
            if ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).startswith("sRGB"):
                return None
        except (OSError, ImageCms.PyCMSError):
            pass        # not a profile that lcms reads: kept as it is
    return profile


def save(image: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    """Encode completely, then write once: a save that fails leaves the file as Pillow opened it.

    Keywords, all optional: quality (1..100, 50) or bpp or target_bytes; model, seed, steps, table, coder ("tree", "trellis" or "pfr"), coder_bits, denoiser ("mean",
    "flow", "balanced" or "ancestral", or ("flow", steps)), prompt (str) and guidance (a number, or one for coding and one for denoising) for
    models that take them, device, progress; exif (bytes or Image.Exif), icc_profile (bytes; the image's own unless
    given or sRGB, None drops it), xmp (bytes), text (str by str).
    """
    import numpy as np

    from pillow_plugin.image_file import denoiser_ids
    from sdf_format import codec, kinds, metadata

    given: dict[str, Any] = dict(image.encoderinfo)
    if 0 in image.size:
        raise ValueError("cannot write empty image as SDF")
    native = to_native(image)
    exif = given.get("exif") or b""
    chunks = metadata.build(
        exif=exif.tobytes() if isinstance(exif, Image.Exif) else exif,
        icc_profile=(given["icc_profile"] if "icc_profile" in given else inherited_profile(image)) or b"",
        xmp=given.get("xmp") or b"",
        text=given.get("text"),
    )
    planes = np.array(native)
    alpha = np.ascontiguousarray(planes[..., -1]) if native.mode.endswith("A") else None
    pixels = planes if alpha is None else planes[..., 0] if native.mode == "LA" else planes[..., :3]
    names = {"model": "model_name"}
    options = {names.get(k, k): given[k]
               for k in ("quality", "bpp", "target_bytes", "model", "seed", "steps", "table", "coder", "coder_bits", "device", "progress")
               if given.get(k) is not None}
    if given.get("prompt") or given.get("guidance") is not None:
        guidance = 1.0 if given.get("guidance") is None else given["guidance"]
        coding, denoising = (guidance, guidance) if isinstance(guidance, (int, float)) else guidance
        options["conditioning"] = kinds.Conditioning(given.get("prompt") or "", coding, denoising)
    if given.get("denoiser") is not None:
        options["denoiser"] = denoiser_ids(given["denoiser"])
    fp.write(codec.encode(np.ascontiguousarray(pixels), alpha, chunks=chunks, **options).data)
