"""Opening: header and chunk heads at once, metadata when small or asked for, pixels when touched, few of them
faster.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import warnings
from typing import Any

from PIL import Image, ImageFile

from pillow_plugin import options, preview
from pillow_plugin.denoisers import denoiser_ids
from pillow_plugin.save import FORMAT, KEYWORDS_OF_METADATA, edited
from sdf_format.container.magic import MEDIA_TYPE, SIGNATURE

# bytes of metadata read by open; more waits until `info` is asked for, so that open reads at most 4 KiB
EAGER = 2048
EAGER_UNPACKED = 1 << 18  # the same decompressed: a bomb waits, too
REDUCTIONS = (8, 4, 2)
PREVIEW = "preview"
CANVAS = 8  # bytes a pixel: Pillow's own picture, and the samples that it is made from


def accept(prefix: bytes) -> bool:
    """Whether a file that begins so is ours."""
    return prefix.startswith(SIGNATURE)


class SdfDecoder(ImageFile.PyDecoder):
    """Runs the model over the whole file, once.  args: what `draft` chose, a reduction or the preview."""

    _pulls_fd = True

    def decode(self, buffer: Any) -> tuple[int, int]:
        from sdf_format.container import chunks

        assert self.fd is not None
        stream: Any = self.fd
        file = chunks.scan(stream)
        (how,) = self.args or (1,)
        if how == PREVIEW:
            small = preview.read(stream, file)
            if small is None:  # draft has read it
                raise OSError("§3.6 chunk p: the file has changed since it was opened; open it again")
            self.set_as_raw(small.tobytes())
        else:
            self.set_as_raw(self._pixels(stream, file, how))
        return -1, 0

    def _pixels(self, stream: Any, file: Any, reduce: int) -> bytes:
        import numpy as np

        from sdf_format import codec
        from sdf_format.errors import Truncated

        settings = options.current
        watched: dict[str, Any] = {"progress": settings.progress} if settings.progress else {}
        try:
            pixels, alpha = codec.decode(
                stream,
                file,
                device=settings.device,
                denoiser=denoiser_ids(settings.denoiser),
                realism=settings.realism,
                truncated=ImageFile.LOAD_TRUNCATED_IMAGES,
                reduce=reduce,
                **options.limits(),
                **watched,
            )
        except Truncated:
            small = preview.read(stream, file) if ImageFile.LOAD_TRUNCATED_IMAGES else None
            if small is None:
                raise
            size = tuple(-(-n // reduce) for n in (file.header.width, file.header.height))
            return small.resize(size, Image.Resampling.BICUBIC).tobytes()
        return (pixels if alpha is None else np.dstack([pixels, alpha])).tobytes()


class SdfImageFile(ImageFile.ImageFile):
    """An SDF file.

    `info` has exif, dpi, icc_profile, text and comment where the file has them, and xmp with the mark of §3.7.
    """

    format = FORMAT
    format_description = "SDF, stored diffusion image"
    fp: Any  # an open file, or None

    def _open(self) -> None:
        from sdf_format.container import chunks
        from sdf_format.container.metadata import TYPES
        from sdf_format.errors import SdfError

        self._lock = threading.RLock()
        self._unread = False
        self._info: dict[Any, Any] = {}
        stream: Any = self.fp
        if not accept(stream.read(len(SIGNATURE))):
            raise SyntaxError("not an SDF file")
        self._file = file = chunks.scan(stream)
        if file.header.sound:
            from sdf_format.container.header import not_a_picture
            from sdf_format.errors import IsSound

            raise IsSound(not_a_picture(file.header))
        self._size = (file.header.width, file.header.height)
        self._mode = file.header.mode
        self.custom_mimetype = MEDIA_TYPE
        self.tile = [ImageFile._Tile("sdf", (0, 0, *self._size), 0, None)]
        self._unread = True
        if sum(c.length for c in file.chunks if c.type in TYPES) <= EAGER:
            with contextlib.suppress(SdfError):  # size and mode are known; load(), verify() and info say what is wrong
                self._read_metadata(EAGER_UNPACKED)

    def _read_metadata(self, most: int | None = None) -> None:
        """most: bytes, decompressed; None: what a file may have"""
        from sdf_format import limits
        from sdf_format.container import compression, exif, metadata

        if self._unread and self.fp is not None:
            with limits.enough_memory("reading metadata"):
                found = metadata.read(self.fp, self._file, options.current.mark, most or compression.TOTAL_LIMIT)
            block = found.get("exif")
            dpi = exif.resolution(block) if isinstance(block, bytes) else None
            self._info.update(found, **({"dpi": dpi} if dpi else {}))
            self._unread = False

    @property
    def info(self) -> dict[Any, Any]:
        if self.__dict__.get("_unread"):
            with self._lock:
                self._read_metadata()
        return self.__dict__.setdefault("_info", {})

    @info.setter
    def info(self, value: dict[Any, Any]) -> None:
        self._info = value

    def load(self) -> Any:
        lock = self.__dict__.get("_lock")  # a copy or an unpickled image has pixels and no file
        if lock is None:
            return super().load()
        with lock:
            if self.tile:
                self._read_metadata()
                self._afford()
            return super().load()

    def _afford(self) -> None:
        """TooMuch before Pillow allocates the picture."""
        from sdf_format import limits

        if self.tile[0].args != (PREVIEW,):
            allowed = limits.resolved(**options.limits())
            limits.check_pixels(self._file.header.width, self._file.header.height, allowed)
            limits.check_memory(CANVAS * self.width * self.height, allowed, f"a picture of {self.width}x{self.height}")

    def getexif(self) -> Image.Exif:
        """As of every image; with a warning no tags of EXIF that costs its reader far more than it holds, or that it
        cannot read.
        """
        from sdf_format.container import exif

        block = self.info.get("exif")
        if not isinstance(block, bytes) or (self._exif is not None and self._exif._loaded) or exif.harmless(block):
            try:
                return super().getexif()
            except (
                OSError,
                ValueError,
                SyntaxError,
                LookupError,
                TypeError,
                ArithmeticError,
                EOFError,
                struct.error,
            ) as error:
                why = f"cannot be read ({error})"
        else:
            why = "claims more than it holds"
        warnings.warn(f"the EXIF of this file {why}; its tags are left out", stacklevel=2)
        self._exif = Image.Exif()
        self._exif._loaded = True
        return self._exif

    @property
    def text(self) -> dict[str, str]:
        """The file's texts by key, as those of a PNG."""
        return dict(self.info.get("text", {}))

    @property
    def preview(self) -> Image.Image | None:
        """The preview that the file brings along, or None; before the image is loaded."""
        lock = self.__dict__.get("_lock")
        if lock is None:
            return None
        with lock:
            return preview.read(self.fp, self._file) if self.fp is not None else None

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Make loading fast where `size`, a box in pixels, needs few of them: from the preview if it fills the box,
        otherwise an eighth, a quarter or half of the sides, at least as large as the box, from the first steps of the
        payload. `thumbnail` comes here. mode is ignored.
        """
        lock = self.__dict__.get("_lock")
        if size is None or lock is None or min(size) < 1:
            return None
        with lock:
            if self.fp is None or not self.tile or self.tile[0].args is not None:
                return None
            full = self.size
            small = preview.read(self.fp, self._file)
            box: tuple[float, float]
            if small and (small.width >= size[0] or small.height >= size[1]):
                chosen: Any = PREVIEW
                self._size = box = small.size
            else:
                chosen = next((r for r in REDUCTIONS if full[0] // size[0] >= r and full[1] // size[1] >= r), None)
                if chosen is None:
                    return None
                self._size = (-(-full[0] // chosen), -(-full[1] // chosen))
                box = (full[0] / chosen, full[1] / chosen)
            self._im = None
            self.tile = [ImageFile._Tile("sdf", (0, 0, *self._size), 0, (chosen,))]
            return self._mode, (0, 0, *box)

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:
        """As `Image.save`; to SDF, of pixels not yet touched and with keywords for metadata alone, without coding the
        picture again.
        """
        name = os.fspath(fp) if isinstance(fp, (str, bytes, os.PathLike)) else None
        extension = os.fsdecode(name if name is not None else getattr(fp, "name", None) or "").lower()
        target = format.upper() if format else Image.EXTENSION.get(os.path.splitext(extension)[1])
        lock = self.__dict__.get("_lock")
        if target != FORMAT or lock is None or not params.keys() <= KEYWORDS_OF_METADATA:
            return super().save(fp, format, **params)
        with lock:
            data = (
                edited(self, self.fp, self._file, params)
                if self.fp and self.tile and self.tile[0].args is None
                else None
            )
        if data is None:
            return super().save(fp, format, **params)
        if name is None:
            fp.write(data)
            return
        with open(name, "wb") as stream:
            stream.write(data)

    def load_seek(self, pos: int) -> None:
        """Tells ImageFile.Parser to collect the whole file before it calls the decoder."""
        assert self.fp is not None
        self.fp.seek(pos)

    def verify(self) -> None:
        """Every byte of the file, by its checksums and rules, without a model.

        The image must be opened again afterwards.
        """
        from sdf_format.inspect import validate

        with self._lock:
            if self.fp is None:
                raise RuntimeError("verify must be called directly after open")
            validate.check(self.fp, self._file, options.current.most_pixels)
            if self._exclusive_fp:
                self.fp.close()
            self.fp = None
