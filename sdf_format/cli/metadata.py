"""What pictures bring along, on the way into SDF and out of it: kept, or said."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sdf_format.container import mark
from sdf_format.container.exif import resolution
from sdf_format.container.metadata import COMMENT
from sdf_format.errors import BadInput
from sdf_format.inspect.printable import printable
from sdf_format.terminal import reason

if TYPE_CHECKING:
    from PIL import Image

NAMES = {
    "exif": "EXIF",
    "icc_profile": "colour profile",
    "xmp": "XMP",
    "comment": "comment",
    "text": "texts",
    "dpi": "resolution",
}
ALL = frozenset(NAMES)
# What Pillow writes into files of a format; of formats that are not listed, nothing.
KEPT = {
    "PNG": ALL,
    "JPEG": frozenset({"exif", "icc_profile", "xmp", "comment", "dpi"}),
    "TIFF": frozenset({"exif", "icc_profile", "xmp", "dpi"}),
    "WEBP": frozenset({"exif", "icc_profile", "xmp"}),
    "AVIF": frozenset({"exif", "icc_profile", "xmp"}),
    "JXL": frozenset({"exif", "icc_profile", "xmp"}),
    "JPEG2000": frozenset({"comment"}),
    "GIF": frozenset({"comment"}),
    "BMP": frozenset({"dpi"}),
}
# Tags of a TIFF's directory that speak of the picture and not of where its pixels lie: description, make, model,
# software, date, artist, copyright, and the directories of EXIF and GPS.
OF_THE_PICTURE = frozenset({0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, 0x8769, 0x8825})
SPACES = (b"CMYK", b"Lab ", b"RGB ", b"GRAY")  # what a profile may be for; ours are for what the picture is stored as
GREY = ("1", "L", "LA", "La")
XMP_TEXT = "XML:com.adobe.xmp"  # key of PNG's text that is XMP
EXIF_TEXTS = frozenset({"Raw profile type exif", "Raw profile type APP1"})  # ImageMagick's: what Pillow takes for EXIF
SIDE, LONG = 16, 8192  # pixels: of a trial; from where a format's limit on sides is tried too


def inherited(image: Image.Image) -> tuple[dict[str, Any], list[str]]:
    """Keywords with which `image.save` writes what a loaded picture brings along, and names of what is not kept."""
    from pillow_plugin.resolution import checked, is_tiff

    info = image.info
    if image.format == "SDF":
        return {}, []  # our own plugin hands everything on
    left_out = ["IPTC (in Photoshop's block)"] if info.get("photoshop") else []
    space = (info.get("icc_profile") or b"")[16:20]
    if space in SPACES and space != (b"GRAY" if image.mode in GREY else b"RGB "):
        left_out.append(f"the colour profile, which is for {space.decode().strip()},")
    exif = _exif(image)
    if exif and not is_tiff(exif):
        left_out.append("EXIF (it does not begin as a TIFF file does)")
        exif = None
    found: dict[str, Any] = {"exif": exif, "xmp": info.get("xmp")}
    texts = {
        key: value
        for key, value in _texts(image).items()
        if key and "\0" not in key and key not in EXIF_TEXTS | {XMP_TEXT}
    }
    if texts:
        found["text"] = {str(key): str(value) for key, value in texts.items()}
    if (comment := info.get("comment")) and COMMENT not in texts:
        found["comment"] = comment if isinstance(comment, str) else _decoded(comment)
    if (dpi := info.get("dpi")) and not _says(found["exif"], dpi):
        try:
            found["dpi"] = checked(dpi)
        except BadInput:
            left_out.append(f"resolution ({printable(str(dpi))})")
    return {key: value for key, value in found.items() if value is not None} | {"exif": found["exif"]}, left_out


def _exif(image: Image.Image) -> bytes | None:
    """EXIF as it stands in the file, or made of a TIFF's own tags; None if there is none or Pillow cannot read it."""
    from PIL import Image

    stored = image.info.get("exif")
    if isinstance(stored, bytes):
        return stored or None
    try:
        tags = image.getexif()
        if not hasattr(image, "tag_v2"):
            return tags.tobytes() if EXIF_TEXTS & image.info.keys() else None
        own = Image.Exif()
        own.endian = tags.endian
        for tag in OF_THE_PICTURE & tags.keys():
            own[tag] = tags.get_ifd(tag) if tag in (0x8769, 0x8825) else tags[tag]
        return own.tobytes() if own else None
    except Exception:  # of a lazy reader of somebody's bytes; the picture is what was asked for
        return None


def _texts(image: Image.Image) -> Mapping[str, Any]:
    """A PNG's texts, those behind its pixels too."""
    texts = getattr(image, "text", None)
    return texts if isinstance(texts, Mapping) else {}


def _decoded(comment: bytes) -> str:
    """A comment says nothing of its encoding: UTF-8 if it can be, otherwise Latin-1, which everything can be."""
    body = comment.rstrip(b"\0")
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode("latin-1")


def _says(exif: bytes | None, dpi: tuple[float, float]) -> bool:
    """Whether EXIF gives this resolution already."""
    known = resolution(exif) if exif else None
    return known is not None and all(abs(a - b) < 0.01 for a, b in zip(known, dpi, strict=False))


class Named(io.BytesIO):
    """A file in memory with a name: some of Pillow's formats look at its ending."""

    def __init__(self, name: str):
        super().__init__()
        self.name = name


class Export:
    """How a picture that is not decoded yet is written to `name`. Everything that cannot be is found here.

    info      what the picture brings along, as Pillow's `info`; empty for nothing
    left_out  names of what the format does not take, with the reason if it is not the format's own

    Raises BadInput for an ending that says no format, and for a mode or size that the format does not take.
    """

    def __init__(self, name: str, mode: str, size: tuple[int, int], info: Mapping[str, Any]):
        from pillow_plugin.export import carried

        self.name, self.format = name, format_of(name)
        self._try(mode, size)
        self.left_out = _unwritten(info, self.format)
        kept: dict[str, Any] = {}
        for key in NAMES.keys() & info.keys():
            piece = {key: info[key]}
            try:
                self._write(mode, (SIDE, SIDE), carried(piece, name))
                kept |= piece
            except Exception as error:  # whatever a format's writer has to say of somebody's bytes
                self.left_out.append(f"{NAMES[key]} ({reason(error)})")
        self.keywords = carried(kept, name)

    def _try(self, mode: str, size: tuple[int, int]) -> None:
        """A small picture of this mode, and thin ones where sides might be too long."""
        width, height = size
        trials = [(min(width, SIDE), min(height, SIDE))]
        if max(size) > LONG:
            trials += [(width, min(height, SIDE)), (min(width, SIDE), height)]
        for trial in trials:
            try:
                self._write(mode, trial, {})
            except Exception as error:
                shown = "" if trial == trials[0] else f" of {width}x{height} pixels"
                raise BadInput(
                    f"{printable(self.name)}: a picture of mode {mode}{shown} cannot be written as {self.format} "
                    f"({reason(error)})"
                ) from error

    def _write(self, mode: str, size: tuple[int, int], keywords: Mapping[str, Any]) -> None:
        from PIL import Image

        Image.new(mode, size).save(Named(self.name), format=self.format, **keywords)

    def data(self, image: Image.Image) -> bytes:
        """The file. The image's `info` is emptied, as Pillow's formats write some of it unasked."""
        target = Named(self.name)
        image.info = {}
        image.save(target, format=self.format, **self.keywords)
        return target.getvalue()

    def notes(self) -> list[str]:
        """A line on what is left out, or none."""
        return (
            [f"{printable(self.name)}: {self.format} does not take, and it is left out: {', '.join(self.left_out)}"]
            if self.left_out
            else []
        )


def format_of(name: str) -> str:
    """Pillow's name of the format that a file name's ending says. BadInput if it says none that Pillow writes."""
    from PIL import Image

    ending = os.path.splitext(name)[1].lower()
    if not ending:
        raise BadInput(f"{printable(name)} has no ending, which would say the format, as .png does")
    found = Image.registered_extensions().get(ending)
    if found == "SDF":
        raise BadInput(
            f"{printable(name)}: this writes other formats than SDF; `sdf encode` copies SDF files, and codes them "
            "again if that is asked for"
        )
    if found is None or found not in Image.SAVE:
        raise BadInput(f"{printable(name)}: Pillow writes no format that ends in {printable(ending)}")
    return found


def _unwritten(info: Mapping[str, Any], format: str) -> list[str]:
    """Names of what is there and what files of a format do not hold."""
    from pillow_plugin.export import is_keyword

    kept = KEPT.get(format, frozenset())
    names = [NAMES[key] for key in ("exif", "icc_profile", "xmp", "comment") if info.get(key) and key not in kept]
    if "xmp" not in kept and info.get("xmp") == mark.PACKET:
        names[names.index(NAMES["xmp"])] = "the mark of a generative model (XMP)"
    texts = info.get("text", {}).keys() - {COMMENT}
    if "text" not in kept:
        return names + ([NAMES["text"]] if texts else [])
    return names + [f"the text {key!r}, which is no keyword" for key in sorted(texts) if not is_keyword(key)]
