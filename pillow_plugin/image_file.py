"""Opening: header and chunk heads at once, metadata when small or asked for, pixels when touched, few of them
faster.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

from PIL import Image, ImageFile

from pillow_plugin import options, preview
from pillow_plugin.denoisers import denoiser_ids
from pillow_plugin.save import FORMAT, KEYWORDS_OF_CODING, UNMARKED, edited
from sdf_format import atomic
from sdf_format.container.magic import MEDIA_TYPE, SIGNATURE

# bytes of metadata read by open; more waits until `info` is asked for, so that open reads at most 4 KiB
EAGER = 2048
EAGER_UNPACKED = 1 << 18  # the same decompressed: a bomb waits, too
REDUCTIONS = (8, 4, 2)
PREVIEW = "preview"
CANVAS = 8  # bytes a pixel: Pillow's own picture, and the samples that it is made from
CHANGED = "the file has changed since it was opened, and is of another picture; open it again"


def accept(prefix: bytes) -> bool:
    """Whether a file that begins so is ours."""
    return bytes(prefix[: len(SIGNATURE)]) == SIGNATURE


class SdfDecoder(ImageFile.PyDecoder):
    """Runs the model over the whole file, once.

    args: what `draft` chose, a reduction or the preview; then what is told the file and its pixels where they are whole
    """

    _pulls_fd = True

    def decode(self, buffer: Any) -> tuple[int, int]:
        from sdf_format.container import chunks

        assert self.fd is not None
        stream: Any = self.fd
        file = chunks.scan(stream)
        how, told = self.args if len(self.args) == 2 else (1, *self.args)
        size = (self.state.xsize, self.state.ysize)
        reduce = 1 if how == PREVIEW else how
        small = preview.read(stream, file) if how == PREVIEW else None
        full = (-(-file.header.width // reduce), -(-file.header.height // reduce))
        if file.header.mode != self.mode or size != (small.size if small else full):
            raise OSError(CHANGED)
        self.set_as_raw(small.tobytes() if small else self._pixels(stream, file, reduce, told))
        return -1, 0

    def _pixels(self, stream: Any, file: Any, reduce: int, told: Callable[[bytes, bytes], None]) -> bytes:
        import numpy as np

        from sdf_format.container import chunks
        from sdf_format.errors import Truncated
        from sdf_format.host import need_torch

        need_torch()
        from sdf_format import codec

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
        samples = (pixels if alpha is None else np.dstack([pixels, alpha])).tobytes()
        if reduce == 1 and not isinstance(file.problem, Truncated):
            told(chunks.fetch(stream, 0, file.chunks[-1].end), samples)
        return samples


class SdfImageFile(ImageFile.ImageFile):
    """An SDF file.

    `info` has exif, dpi, icc_profile, text and comment where the file has them, and xmp with the mark of §3.7.
    """

    format = FORMAT
    format_description = "SDF, stored diffusion image"
    fp: Any = None  # an open file, or None; copies and unpickled images have none
    _exclusive_fp = False
    _file: Any = None  # what the scan of fp found
    _unread = False  # whether the metadata are still to be read
    _stored: dict[Any, Any] = {}  # `info` as it was read  # noqa: RUF012
    _source = b""  # the file that the pixels were decoded from, and their hash then
    _pixels = b""

    def _open(self) -> None:
        from sdf_format.container import chunks
        from sdf_format.container.metadata import TYPES
        from sdf_format.errors import SdfError

        self._process = os.getpid()
        stream: Any = self.fp
        if not accept(chunks.fetch(stream, stream.tell(), len(SIGNATURE))):
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
        self.decoderconfig = (self._decoded,)
        self._unread = True
        if sum(c.length for c in file.chunks if c.type in TYPES) <= EAGER:
            with contextlib.suppress(SdfError):  # size and mode are known; load(), verify() and info say what is wrong
                self._read_metadata(file, EAGER_UNPACKED)

    def _decoded(self, source: bytes, samples: bytes) -> None:
        """What the decoder tells: the whole file, and the whole picture."""
        self._source, self._pixels = source, hashlib.sha256(samples).digest()

    @property
    def _lock(self) -> Any:
        """Of this process: a child of a fork never sees the thread again that held its parent's."""
        return self.__dict__.setdefault("_locks", {}).setdefault(os.getpid(), threading.RLock())

    def _scanned(self) -> Any:
        """The file as it is now: its chunks may have moved since it was opened. OSError if it is another picture."""
        from sdf_format.container import chunks

        self._own_handle()
        now, before = chunks.scan(self.fp), self._file
        payloads = [data and data.length for data in (file.find(chunks.DATA_CHUNK) for file in (now, before))]
        if now.header != before.header or (None not in payloads and payloads[0] != payloads[1]):
            raise OSError(CHANGED)
        self._file = now
        return now

    def _own_handle(self) -> None:
        """A child of a fork opens the file anew, since an open one's place is the same for it and its parent."""
        if self._process == os.getpid() or not self._exclusive_fp:
            return
        with contextlib.suppress(OSError, ValueError, AttributeError):
            fresh = open(self.filename, "rb")  # noqa: SIM115  (it stays open)
            if os.path.samestat(os.fstat(fresh.fileno()), os.fstat(self.fp.fileno())):
                # The parent's stays referenced: a thread that is not here may hold its lock for ever.
                self._parents, self.fp = self.fp, fresh
            else:
                fresh.close()
        self._process = os.getpid()

    def _read_metadata(self, file: Any = None, most: int | None = None) -> None:
        """file: as it is now, if that is known; most: bytes, decompressed, None for what a file may have"""
        from sdf_format import limits
        from sdf_format.container import compression, exif, mark, metadata
        from sdf_format.errors import BadInput

        if not self._unread or self.fp is None:
            return
        if getattr(self.fp, "closed", False):
            raise BadInput("the file was closed before its metadata were read: ask for info, or load, while it is open")
        file = file or self._scanned()
        with limits.enough_memory("reading metadata"):
            found = metadata.read(self.fp, file, False, most or compression.TOTAL_LIMIT)
        raw = found.get("xmp", b"")
        assert isinstance(raw, bytes)
        if options.current.mark:
            found["xmp"] = mark.added(raw)
        block = found.get("exif")
        dpi = exif.resolution(block) if isinstance(block, bytes) else None
        stored = {**found, **({"dpi": dpi} if dpi else {})}
        text: Any = stored.get("text", {})
        self._stored = {**stored, UNMARKED: raw, **({"text": dict(text)} if text else {})}
        self._info = {**self.__dict__.get("_info", {}), **stored}
        self._unread = False

    def _read_before_closing(self) -> None:
        """Metadata that `info` may still be asked for."""
        from sdf_format.errors import SdfError

        with self._lock, contextlib.suppress(SdfError, OSError, ValueError):
            self._read_metadata()

    @property
    def info(self) -> dict[Any, Any]:
        if self._unread:
            with self._lock:
                self._read_metadata()
        return self.__dict__.setdefault("_info", {})

    @info.setter
    def info(self, value: dict[Any, Any]) -> None:
        self._info, self._unread = value, False

    def load(self) -> Any:
        with self._lock:
            if self.tile and self.fp is not None:
                self._read_metadata(self._scanned())
                self._afford()
            return super().load()

    def _afford(self) -> None:
        """TooMuch before Pillow allocates the picture."""
        from sdf_format import limits

        if self.tile[0].args != (PREVIEW,):
            allowed = limits.resolved(**options.limits())
            limits.check_pixels(self._file.header.width, self._file.header.height, allowed)
            limits.check_memory(CANVAS * self.width * self.height, allowed, f"a picture of {self.width}x{self.height}")

    def __exit__(self, *args: object) -> None:
        self._read_before_closing()
        super().__exit__(*args)

    def close(self) -> None:
        """As of every image; `info` stays."""
        self._read_before_closing()
        super().close()

    def __getstate__(self) -> list[Any]:
        state = super().__getstate__()  # which loads
        return [*state, (self._source, self._pixels, self._stored)]

    def __setstate__(self, state: list[Any]) -> None:
        *base, own = state
        if isinstance(own, tuple):  # not so in what an older version pickled
            self._source, self._pixels, self._stored = own
            state = base
        super().__setstate__(state)

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

    def _getexif(self) -> dict[int, Any] | None:
        """The EXIF's tags by number, of all directories in one, or None: what older programs ask other formats for."""
        if "exif" not in self.info:
            return None
        try:
            return self.getexif()._get_merged_dict()
        except Exception:  # a directory that the first one points to
            return dict(self.getexif())

    @property
    def text(self) -> dict[str, str]:
        """The file's texts by key, as those of a PNG."""
        return dict(self.info.get("text", {}))

    @property
    def preview(self) -> Image.Image | None:
        """The preview that the file brings along, or None; before the image is loaded."""
        with self._lock:
            return preview.read(self.fp, self._scanned()) if self.fp is not None else None

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Make loading fast where `size`, a box in pixels, needs few of them: from the preview if it fills the box,
        otherwise an eighth, a quarter or half of the sides, at least as large as the box, from the first steps of the
        payload. `thumbnail` comes here. mode is ignored.
        """
        if size is None or min(size) < 1:
            return None
        with self._lock:
            if self.fp is None or not self.tile or self.tile[0].args is not None:
                return None
            full = self.size
            small = preview.read(self.fp, self._scanned())
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
        """As `Image.save`; to SDF, of a picture that is the file's still, without coding it again unless a keyword asks
        for that. A file that has a name is written whole or not at all.
        """
        if fp is sys.stdout and isinstance(sys.stdout, io.TextIOWrapper):
            fp = sys.stdout.buffer
        path = os.fspath(fp) if isinstance(fp, (str, bytes, os.PathLike)) else None
        name = path if path is not None else getattr(fp, "name", "")  # a number, of a file without one
        ending = os.path.splitext(os.fsdecode(name))[1].lower() if isinstance(name, (str, bytes, os.PathLike)) else ""
        if (format.upper() if format else Image.EXTENSION.get(ending)) != FORMAT:
            return super().save(fp, format, **params)
        if path is not None:
            atomic.check(path)
        place = fp.tell() if self.fp is not None and fp is self.fp else None
        data = self._copied({**params, **getattr(self, "encoderinfo", {})})
        if data is None:
            buffer = io.BytesIO()
            super().save(buffer, FORMAT, **params)
            data = buffer.getvalue()
        if path is not None:
            self._let_go(path)
            atomic.write(path, data)
            return
        if place is not None:
            fp.seek(place)
        fp.write(data)

    def _copied(self, given: dict[str, Any]) -> bytes | None:
        """The file with other metadata and preview, or None where the picture is another, or is to be coded again."""
        from sdf_format.container import chunks

        if any(given.get(key) is not None for key in KEYWORDS_OF_CODING) or given.get("append_images"):
            return None
        with self._lock:
            if self.tile and preview.checked(given.get("preview")):
                self.load()
            if self.tile:
                if self.fp is None or self.tile[0].args is not None or self._broken():
                    return None
                return edited(self, self.fp, self._scanned(), given)
            if not self._source or hashlib.sha256(self.tobytes()).digest() != self._pixels:
                return None
            stream = io.BytesIO(self._source)
            file = chunks.scan(stream)
            if (file.header.mode, (file.header.width, file.header.height)) != (self.mode, self.size):
                return None
            return edited(self, stream, file, given)

    def _broken(self) -> bool:
        """Whether the file ends early, so that loading has to say so, or shows what is there where that is wanted."""
        from sdf_format.errors import Truncated

        return isinstance(self._scanned().problem, Truncated)

    def _let_go(self, path: str | bytes) -> None:
        """Keep the own file in memory, so that another can take its name: some systems let none go that is open."""
        with self._lock, contextlib.suppress(OSError, ValueError, TypeError):
            if self.fp is not None and self._exclusive_fp and os.path.samefile(path, self.filename):
                self.fp.seek(0)
                kept = io.BytesIO(self.fp.read())
                self.fp.close()
                self.fp = kept

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
            validate.check(self.fp, self._scanned(), options.current.most_pixels)
            self._read_before_closing()
            if self._exclusive_fp:
                self.fp.close()
            self.fp = None
