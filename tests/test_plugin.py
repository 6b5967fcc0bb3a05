"""Pillow's side: opening, loading, saving, metadata, threads, errors."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from pictures import opened, picture, psnr, saved
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

import pillow_plugin
from sdf_format.container import chunks, mark
from sdf_format.errors import BadFile, BadInput, MissingModel, SdfError, Truncated, Unsupported


@pytest.fixture(scope="module")
def data() -> bytes:
    return saved(picture(), target_bytes=400)


def modules_after(code: str) -> set[str]:
    """Names of the modules that a fresh interpreter has loaded after `code`."""
    out = subprocess.run(
        [sys.executable, "-c", code + "\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(out.stdout.split())


def test_import_loads_nothing_heavy():
    assert not modules_after("import pillow_plugin") & {"torch", "numpy", "diffusers", "construct", "zstandard"}


@pytest.mark.clause("3.3")
def test_open_size_and_verify_load_construct_alone(data, tmp_path):
    (tmp_path / "x.sdf").write_bytes(data)
    loaded = modules_after(
        f"import pillow_plugin\nfrom PIL import Image\nim = Image.open({str(tmp_path / 'x.sdf')!r})\n"
        "assert im.size == (96, 64) and im.mode == 'RGB' and [*im.info] == ['xmp']\nim.verify()"
    )
    assert "construct" in loaded and not loaded & {"torch", "numpy", "diffusers"}


class Counting(io.BytesIO):
    read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        result = super().read(size)
        self.read_bytes += len(result)
        return result


def test_open_reads_at_most_4_kib():
    stream = Counting(saved(picture(), target_bytes=30_000, icc_profile=np.random.default_rng(0).bytes(20_000)))
    with Image.open(stream) as image:
        assert image.size == (96, 64)
        assert stream.read_bytes <= 4096
        assert len(image.info["icc_profile"]) == 20_000  # read when asked for


@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA"])
@pytest.mark.clause("3.5")
def test_native_modes_round_trip_and_alpha_is_lossless(mode):
    image = picture().convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 96), dtype=np.uint8)))
    again = opened(saved(image, quality=70))
    assert (again.mode, again.size, again.format) == (mode, image.size, "SDF")
    if mode.endswith("A"):
        assert again.getchannel("A").tobytes() == image.getchannel("A").tobytes()
    base = "L" if mode.startswith("L") else "RGB"
    assert psnr(again.convert(base), image.convert(base)) > 22


@pytest.mark.parametrize(
    ("mode", "becomes"), [("1", "L"), ("P", "RGB"), ("CMYK", "RGB"), ("YCbCr", "RGB"), ("HSV", "RGB"), ("RGBa", "RGBA")]
)
def test_other_modes_are_converted(mode, becomes):
    image = picture(32, 32).convert("RGBA" if mode == "RGBa" else "RGB").convert(mode)
    assert opened(saved(image, quality=30)).mode == becomes


def test_palette_transparency_becomes_alpha():
    image = picture(32, 32).convert("P")
    image.info["transparency"] = 0
    assert opened(saved(image, quality=30)).mode == "RGBA"


@pytest.mark.parametrize("mode", ["I", "F", "I;16"])
def test_deep_modes_are_refused(mode):
    with pytest.raises(OSError, match="cannot write mode"):
        saved(Image.new(mode, (8, 8)))


def test_metadata_both_ways():
    exif = Image.Exif()
    exif[0x0112] = 6
    icc, xmp = b"profile" * 40, b"<x:xmpmeta/>"
    again = opened(saved(picture(), quality=20, exif=exif, icc_profile=icc, xmp=xmp, text={"Comment": "grün"}))
    assert again.getexif()[0x0112] == 6
    assert again.size == (96, 64)  # orientation is kept as metadata, not applied
    assert (again.info["icc_profile"], again.info["xmp"]) == (icc, mark.added(xmp))
    assert again.info["text"] == {"Comment": "grün"}


def test_colour_profile_is_inherited_and_exif_is_not():
    image = picture()
    image.info.update(icc_profile=b"p" * 99, exif=b"Exif\0\0MM")
    assert set(opened(saved(image, quality=20)).info) == {"icc_profile", "xmp"}
    assert "icc_profile" not in opened(saved(image, quality=20, icc_profile=None)).info


def test_an_srgb_profile_is_not_inherited_and_takes_no_bytes():
    image = picture()
    image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert "icc_profile" not in opened(saved(image, quality=20)).info
    assert "icc_profile" in opened(saved(image, quality=20, icc_profile=image.info["icc_profile"])).info


@pytest.mark.parametrize("budget", [120, 333, 1000, 4000])
def test_target_bytes_is_a_promise(budget):
    assert 0.97 * budget <= len(saved(picture(200, 150), target_bytes=budget)) <= budget


def test_bpp_counts_the_whole_file():
    assert len(saved(picture(), bpp=0.5)) <= 0.5 * 96 * 64 / 8


def test_quality_buys_fidelity_with_bytes():
    files = [saved(picture(), quality=q) for q in (10, 40, 70, 100)]
    assert [len(f) for f in files] == sorted(len(f) for f in files)
    quality = [psnr(opened(f), picture()) for f in files]
    assert quality == sorted(quality) and quality[-1] > 26


def test_same_input_gives_the_same_bytes():
    assert saved(picture(), quality=40) == saved(picture(), quality=40)
    assert saved(picture(), quality=40, seed=1) != saved(picture(), quality=40)


@pytest.mark.parametrize(
    "options",
    [
        dict(quality=0),
        dict(quality=101),
        dict(quality="high"),
        dict(bpp=0),
        dict(bpp=-1),
        dict(target_bytes=0),
        dict(target_bytes=30),
        dict(bpp=0.1, quality=5),
        dict(model="sd99"),
        dict(steps=0),
        dict(steps=256),
        dict(seed=-1),
        dict(coder_bits=7),
        dict(coder="zipf"),
        dict(effort=3),
        dict(effort=1.0),
        dict(effort=1, coder="trellis"),
        dict(denoiser="magic"),
        dict(denoiser=("flow", 0)),
        dict(table=99),
        dict(device="abacus"),
    ],
    ids=str,
)
def test_bad_parameters_are_value_errors_and_os_errors(options):
    with pytest.raises(BadInput) as caught:
        saved(picture(), **options)
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, OSError)


def test_a_failing_save_leaves_no_file(tmp_path):
    with pytest.raises(BadInput):
        picture().save(tmp_path / "x.sdf", quality=1000)
    assert not (tmp_path / "x.sdf").exists()


def test_an_exception_from_the_progress_callback_ends_the_save(tmp_path):
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        picture().save(tmp_path / "x.sdf", quality=50, progress=stop)
    assert not (tmp_path / "x.sdf").exists()
    assert psnr(opened(saved(picture(), quality=50)), picture()) > 20  # nothing was left broken


def test_load_twice_copy_pickle(data):
    image = opened(data)
    once = image.load() and image.tobytes()
    assert image.load() and image.tobytes() == once
    for other in (copy.deepcopy(image), pickle.loads(pickle.dumps(image)), image.copy()):
        assert other.tobytes() == once and other.size == image.size


def test_pickling_an_image_that_was_not_loaded(data):
    assert pickle.loads(pickle.dumps(opened(data))).tobytes() == opened(data).tobytes()


def test_file_pointer_can_be_reused(data, tmp_path):
    (tmp_path / "x.sdf").write_bytes(data)
    with open(tmp_path / "x.sdf", "rb") as stream, warnings.catch_warnings():
        warnings.simplefilter("error")
        first = Image.open(stream).tobytes()
        assert not stream.closed
        assert Image.open(stream).tobytes() == first
    with Image.open(tmp_path / "x.sdf") as image:
        image.load()
        assert image.fp is None


def test_one_image_in_sixteen_threads(data):
    image, results, errors = opened(data), [], []

    def work() -> None:
        try:
            image.load()
            results.append(image.tobytes())
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors and len(set(results)) == 1 and len(results) == 16


def test_two_threads_decode_at_once(data):
    results: dict[int, bytes] = {}
    threads = [threading.Thread(target=lambda i=i: results.__setitem__(i, opened(data).tobytes())) for i in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results[0] == results[1] == opened(data).tobytes()


def test_parser_in_pieces(data):
    parser = ImageFile.Parser()
    for start in range(0, len(data), 100):
        parser.feed(data[start : start + 100])
    assert parser.close().tobytes() == opened(data).tobytes()


def test_registration_can_be_undone_and_options_changed(data):
    pillow_plugin.unregister_sdf_opener()
    try:
        assert "SDF" not in Image.SAVE and ".sdf" not in Image.registered_extensions()
        with pytest.raises(UnidentifiedImageError):
            opened(data)
        pillow_plugin.register_sdf_opener(denoiser="mean")
        smooth = opened(data).tobytes()
        pillow_plugin.register_sdf_opener(denoiser=("flow", 4))
        assert opened(data).tobytes() != smooth
    finally:
        pillow_plugin.register_sdf_opener()
    assert Image.MIME["SDF"] == opened(data).get_format_mimetype()


def test_wrong_magic_is_unidentified(data):
    for other in (b"", b"\x89SDF", b"\x89SDF\n\x1a\n" + data[8:], b"PNG" + data):
        with pytest.raises(UnidentifiedImageError):
            opened(other)
    with pytest.raises(SyntaxError):
        pillow_plugin.SdfImageFile(io.BytesIO(b"\x89PNG\r\n\x1a\n" + data))


def test_every_truncation_is_reported(data):
    for length in range(8, len(data), 7):
        with pytest.raises(Truncated):
            opened(data[:length]).load()
        with pytest.raises(Truncated):
            opened(data[:length]).verify()


@pytest.mark.clause("6.2")
def test_a_truncated_file_decodes_to_a_coarser_picture_where_allowed(data, monkeypatch):
    whole = picture(160, 128)
    data = saved(whole, target_bytes=1500)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    quality = [psnr(opened(data[:n]), whole) for n in (250, 600, 1000, 1500)]
    assert quality == sorted(quality) and quality[0] > 10
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
    broken = opened(data[:1000])
    for _ in range(2):
        with pytest.raises(Truncated):
            broken.load()


def test_flipped_bits_are_found_by_load_and_verify(data):
    for position in range(8, len(data), 5):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        for act in (lambda im: im.load(), lambda im: im.verify()):
            with pytest.raises(SdfError):
                act(opened(bytes(damaged)))


def remade(data: bytes, **changes) -> bytes:
    """The file with other header fields and sound checksums."""
    import dataclasses

    file = chunks.scan(io.BytesIO(data))
    payload = chunks.read(io.BytesIO(data), file.find(b"D"))
    return chunks.build(dataclasses.replace(file.header, **changes), payload)


@pytest.mark.clause("3.3", "4.2", "5.2")
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (dict(weights=b"1234"), MissingModel),
        (dict(model=77), Unsupported),
        (dict(model=0, weights=bytes(32), channels=4, cell=8), MissingModel),
        (dict(kind=9), Unsupported),
        (dict(mode="RGBA"), BadFile),
        (dict(parameters=b""), BadFile),
        (dict(parameters=b"\x00\x00\x00\x00\x00"), BadFile),  # no steps
        (dict(parameters=b"\x00\x05\x00\x00\x00"), BadFile),  # levels that do not rise
        (dict(parameters=b"\x00\x05\x00\xff\xff\xff\x7f\x00"), BadFile),  # levels out of range
        (dict(parameters=b"\x80\x05\x10\x30\x00"), Unsupported),  # a reserved flag
        (dict(parameters=b"\x03\x05\x10\x30\x00"), Unsupported),  # a schedule form of tomorrow
        (dict(parameters=b"\x08\x50\x05\x10\x30\x00"), Unsupported),  # a coder of tomorrow
        (dict(parameters=b"\x01\x63\x40"), Unsupported),  # a table of tomorrow
        (dict(parameters=b"\x02\x01\x00\x07"), BadFile),  # a table shorter than the payload
        (dict(parameters=b"\x02\x01\x00\xff\x7f"), BadFile),  # and one longer
        (dict(parameters=b"\x00\x05\x10\x30\x00\x00"), BadFile),  # a byte too many
        (dict(width=1, height=1, parameters=b"\x00\x01\x10\x30\x00"), BadFile),  # more bits than latent values
    ],
    ids=str,
)
def test_headers_that_cannot_be_decoded(data, changes, error):
    with pytest.raises(error) as caught:
        opened(remade(data, **changes)).load()
    assert "§" in str(caught.value) or "table" in str(caught.value)


def test_absurd_sizes_meet_pillows_bomb_check(data):
    with pytest.raises(Image.DecompressionBombError):
        opened(remade(data, width=65535, height=65535))


@pytest.mark.clause("6.5.4")
def test_effort_is_the_encoders_alone():
    image = picture()
    one, other = saved(image, bpp=0.5), saved(image, bpp=0.5, effort=1)
    assert one != other and len(one) == len(other) and psnr(opened(other), image) > psnr(opened(one), image) - 0.3


@pytest.mark.clause("7.2")
def test_realism_is_a_dial_of_the_decoder():
    data = saved(picture(), bpp=0.5)
    try:
        shown = []
        for realism in (0, 0.5, 1):
            pillow_plugin.register_sdf_opener(realism=realism)
            shown.append(np.asarray(opened(data), float))
        pillow_plugin.register_sdf_opener(denoiser="mean")
        assert (shown[0] == np.asarray(opened(data))).all()
        pillow_plugin.register_sdf_opener(denoiser=("balanced", 4))
        assert (shown[2] == np.asarray(opened(data))).all()
        assert np.abs(shown[1] - (shown[0] + shown[2]) / 2).mean() < 1  # but for rounding and clipping
        with pytest.raises(BadInput, match="realism 1.5"):
            pillow_plugin.register_sdf_opener(realism=1.5)
    finally:
        pillow_plugin.register_sdf_opener()
