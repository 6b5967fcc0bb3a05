"""Opening: header and chunk heads at once, metadata when small or asked for, pixels when touched."""

from __future__ import annotations

import threading
from typing import Any

from PIL import Image, ImageFile

from pillow_plugin import options
from sdf_format.magic import MEDIA_TYPE, SIGNATURE

FORMAT = "SDF"
EAGER = 2048        # bytes of metadata read by open; more waits until `info` is asked for, so that open reads at most 4 KiB


def accept(prefix: bytes) -> bool:
    """Whether a file that begins so is ours."""
    return prefix.startswith(SIGNATURE)


def denoiser_ids(wanted: str | tuple[str, int] | None) -> tuple[int, int] | None:
    """"mean", "flow" or ("flow", steps) as the ids of spec table 5.3; None stays None. BadInput for anything else."""
    from sdf_format.errors import BadInput
    from sdf_format.kinds import DENOISERS, FLOW_STEPS, MEAN

    if wanted is None:
        return None
    name, steps = (wanted, None) if isinstance(wanted, str) else wanted
    for number, known in DENOISERS.items():
        if name == known:
            steps = steps if steps is not None else 1 if number == MEAN else FLOW_STEPS
            if isinstance(steps, int) and (steps == 1 if number == MEAN else 1 <= steps <= 31):
                return number, steps
    raise BadInput(f"denoiser {wanted!r}: wanted one of {', '.join(DENOISERS.values())}, or one of the latter three with steps, ('flow', 1..31)")


class SdfDecoder(ImageFile.PyDecoder):
    """Runs the model over the whole file, once."""

    _pulls_fd = True

    def decode(self, buffer: bytes | Image.SupportsArrayInterface) -> tuple[int, int]:
        import numpy as np

        from sdf_format import codec, container

        assert self.fd is not None
        stream: Any = self.fd
        settings = options.current
        pixels, alpha = codec.decode(
            stream, container.scan(stream),
            device=settings.device, denoiser=denoiser_ids(settings.denoiser), realism=settings.realism,
            truncated=ImageFile.LOAD_TRUNCATED_IMAGES,
            most_pixels=2**32,                      # Pillow's own limit was applied by open
            most_work=settings.most_work,
            **({"progress": settings.progress} if settings.progress else {}),
        )
        self.set_as_raw((pixels if alpha is None else np.dstack([pixels, alpha])).tobytes())
        return -1, 0


class SdfImageFile(ImageFile.ImageFile):
    """An SDF file. `info` has exif, icc_profile, xmp and text where the file has them."""

    format = FORMAT
    format_description = "SDF, stored diffusion image"

    def _open(self) -> None:
        from sdf_format import container
        from sdf_format.container import HEADER_CHUNK
        from sdf_format.errors import SdfError

        self._lock = threading.RLock()
        self._unread = False
        self._info: dict[Any, Any] = {}
        stream: Any = self.fp
        if not accept(stream.read(len(SIGNATURE))):
            raise SyntaxError("not an SDF file")
        self._file = file = container.scan(stream)
        self._size = (file.header.width, file.header.height)
        self._mode = file.header.mode
        self.custom_mimetype = MEDIA_TYPE
        self.tile = [ImageFile._Tile("sdf", (0, 0, *self._size), 0, None)]
        metadata = [c.length for c in file.chunks if c.ancillary and c.type != HEADER_CHUNK]
        self._unread = bool(metadata)
        if sum(metadata) <= EAGER:
            try:
                self._read_metadata()
            except SdfError:
                pass        # size and mode are known; load(), verify() and info say what is wrong

    def _read_metadata(self) -> None:
        from sdf_format import metadata

        if self._unread and self.fp is not None:
            self._info.update(metadata.read(self.fp, self._file))
            self._unread = False

    @property
    def info(self) -> dict[Any, Any]:                   # type: ignore[override]
        if self.__dict__.get("_unread"):
            with self._lock:
                self._read_metadata()
        return self.__dict__.setdefault("_info", {})

    @info.setter
    def info(self, value: dict[Any, Any]) -> None:
        self._info = value

    def load(self) -> Any:
        lock = self.__dict__.get("_lock")               # a copy or an unpickled image has pixels and no file
        if lock is None:
            return super().load()
        with lock:
            if self.tile:
                self._read_metadata()
            return super().load()

    def load_seek(self, pos: int) -> None:
        """Tells ImageFile.Parser to collect the whole file before it calls the decoder."""
        assert self.fp is not None
        self.fp.seek(pos)

    def verify(self) -> None:
        """Every byte of the file, by its checksums and rules, without a model. The image must be opened again afterwards."""
        from sdf_format import container, kinds

        with self._lock:
            if self.fp is None:
                raise RuntimeError("verify must be called directly after open")
            container.verify(self.fp, self._file)
            kinds.parse(self._file.header)
            if self._exclusive_fp:
                self.fp.close()
            self.fp = None


