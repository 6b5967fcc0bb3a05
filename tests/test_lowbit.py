"""Payload kind lowbit (§5.4): read a second time from the specification, and through whole files with tiny
autoencoders.
"""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import opened, picture, psnr, saved
from pipelines import autoencoder, save
from test_entropy import Plain

from sdf_format import codec
from sdf_format.coding.entropy import Numbers, Sender
from sdf_format.container import chunks, parameters
from sdf_format.container.header import Header
from sdf_format.container.parameters import Cleanup, Lowbit
from sdf_format.errors import BadFile, BadInput, Unsupported
from sdf_format.inspect import report
from sdf_format.models import loading
from sdf_format.payloads import lowbit

clause = pytest.mark.clause


def quiet(done: int, total: int) -> None:
    """No progress wanted."""


def smooth(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """Cells that resemble their neighbours, channels of different scales and offsets."""
    rng = np.random.default_rng(seed)
    cells = rng.normal(size=(height, width, channels)).cumsum(axis=1).cumsum(axis=0)
    return cells / cells.std() * 2.0 ** rng.normal(size=channels) + rng.normal(size=channels)


def decoded(
    fields: Lowbit, payload: bytes, shape: tuple[int, ...], declared: int | None = None, loaded: object = object()
) -> np.ndarray:
    height, width, channels = shape
    latent = lowbit.decode(
        payload, declared or len(payload), (1, channels, height, width), fields, loaded, None, None, None, quiet
    )
    return latent[0].permute(1, 2, 0).numpy()


def plain_decode(fields: Lowbit, payload: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """§5.4 with a dictionary of values, and §5.6 with fractions."""
    (height, width, channels), n = shape, fields.levels
    coder, scales = Plain(payload), []
    for c in range(channels):
        mean = sum(k for k, _ in scales) // c if c else 0
        scales.append((mean + coder.number(("scales", 0), ("scales", 0)), coder.number(("scales", 1), ("scales", 1))))
    v: dict[tuple[int, int, int], int] = {}
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                a = b = 0
                if fields.contexts == 0:
                    w = v.get((y, x - 1, c))
                    above = v.get((y - 1, x, c)) if y else v.get((y, x - 2, c))
                    if above is None:
                        above = (n - 1) // 2 if w is None else w
                    w = above if w is None else w
                    nw, ne = v.get((y - 1, x - 1, c), above), v.get((y - 1, x + 1, c), above)
                    s = 6 * n - 5
                    k = min(s, 25)
                    q = (2 * w + 2 * above + nw + ne) * k // s
                    e = min(3, 8 * (abs(w - above) + abs(above - nw) + abs(above - ne)) // (3 * n - 2))
                    a, b = 5 * c + 5 * q // k, 5 * channels + 4 * q + e
                low, high, sought = 0, n, "1"
                while fields.contexts != 2 and high - low > 1 and len(sought) < 5:
                    middle, f = (low + high) // 2, int(sought, 2)
                    bit = coder.bit(16 * a + f, 16 * b + f)
                    low, high, sought = (middle, high, sought + "1") if bit else (low, middle, sought + "0")
                if high - low > 1:
                    low += coder.symbol([(i, 1) for i in range(high - low)], high - low)
                v[y, x, c] = low
    return np.array(
        [
            [
                [(scales[c][1] / 4 + v[y, x, c] - (n - 1) / 2) * 2 ** (scales[c][0] / 4) for c in range(channels)]
                for x in range(width)
            ]
            for y in range(height)
        ]
    )


@clause("5.4", "5.4.1", "5.4.2")
@pytest.mark.parametrize("shape", [(6, 7, 3), (1, 40, 5), (9, 1, 2)])
@pytest.mark.parametrize("levels", [2, 3, 4, 16, 17, 100, 256])
def test_a_payload_is_read_a_second_time_from_the_specification(levels, shape):
    cells = smooth(*shape)
    scales = lowbit.fitted(cells.reshape(-1, shape[2]), levels)
    places = lowbit.places_of(cells, scales, levels)
    for contexts, thrift in zip(parameters.CONTEXTS, (0.1, 0.0, 0.1)):
        coder = Sender()
        lowbit.code_scales(coder, shape[2], scales)
        values = lowbit.code_values(coder, shape, levels, contexts, places, thrift)
        assert np.abs(values - places.clip(0, levels - 1)).max() <= (1 if contexts == parameters.NEIGHBOURS else 0.5)
        fields, payload = Lowbit(levels, contexts), coder.finish()
        found = decoded(fields, payload, shape)
        np.testing.assert_allclose(found, plain_decode(fields, payload, shape), rtol=1e-6)
        np.testing.assert_allclose(found, lowbit.arriving(values, scales, levels), rtol=1e-6)
    fields, shortest, _ = lowbit.send(cells, levels)
    assert len(shortest) <= len(payload) and lowbit.send(cells, levels)[:2] == (fields, shortest)


@pytest.mark.parametrize(("levels", "error"), [(2, 0.3634), (3, 0.1902), (4, 0.1188), (8, 0.03744), (16, 0.01154)])
def test_levels_suit_a_normal_distribution(levels, error):
    """Against the least error of evenly spaced levels (Max 1960)."""
    cells = np.random.default_rng(1).normal(size=(1, 6000, 1)) * 3 + 40
    scales = lowbit.fitted(cells.reshape(-1, 1), levels)
    nearest = np.rint(lowbit.places_of(cells, scales, levels)).clip(0, levels - 1).astype(int)
    found = np.square(lowbit.arriving(nearest, scales, levels) - cells).mean() / 9
    assert found < 1.07 * error


def test_thrift_buys_bytes_with_error():
    cells = smooth(24, 24, 3)
    sent = [lowbit.send(cells, 3, thrift) for thrift in (0.0, 0.1, 0.3)]
    sizes, errors = [len(s[1]) for s in sent], [np.square(s[2] - cells).mean() for s in sent]
    assert sizes == sorted(sizes, reverse=True) and errors == sorted(errors) and sizes[2] < 0.9 * sizes[0]


def test_levels_follow_a_skewed_and_a_constant_channel():
    skewed = np.random.default_rng(2).exponential(size=(1, 3000, 1))
    cells = np.concatenate([skewed, np.full_like(skewed, 7.3), np.zeros_like(skewed)], axis=2)
    _, payload, arriving = lowbit.send(cells, 4, 0.0)
    errors = np.square(arriving - cells).mean(axis=(0, 1))
    assert errors[0] < 0.25 and errors[1] < 1e-5 and errors[2] < 1e-9
    assert len(payload) < 900


def test_one_bit_of_an_audio_latent_takes_what_it_should():
    """161 positions of 64 channels, 1,288 bytes of bits: nothing to be saved if they are independent; much if they are
    not.
    """
    rng = np.random.default_rng(3)
    cells = rng.normal(size=(1, 161, 64))
    header = Header(0, 0, "stereo", parameters.LOWBIT, 0, bytes(32), b"", 64, 2048, 329728, 44100)
    sizes = []
    for share in (0.0, 0.9):
        for t in range(1, 161):
            cells[:, t] = share * cells[:, t - 1] + (1 - share**2) ** 0.5 * cells[:, t]
        fields, payload, arriving = lowbit.send(cells, 2)
        sizes.append(len(chunks.build(dataclasses.replace(header, parameters=parameters.build(fields)), payload)))
        assert np.square(arriving - cells).mean() < 0.39
    assert sizes[0] <= 1288 + 100 and sizes[1] < 0.8 * 1288


@clause("5.4")
def test_header_fields():
    for fields, body in (
        (Lowbit(2), "00 02"),
        (Lowbit(256, 2), "08 80 02"),
        (Lowbit(4, 1, Cleanup((parameters.FLOW, 3), -5, 64), b"new"), "07 04 23 fb 40 03 6e 65 77"),
    ):
        assert parameters.build(fields) == bytes.fromhex(body)
        header = Header(8, 8, "RGB", parameters.LOWBIT, 0, bytes(32), bytes.fromhex(body), 4, 8)
        assert parameters.parse(header) == fields
        data = chunks.build(header, b"payload")
        facts = report.describe(io.BytesIO(data), len(data))
        assert facts["levels"] == fields.levels and facts["contexts"] == parameters.CONTEXTS[fields.contexts]
    for body, error in (
        ("10 02", Unsupported),
        ("0c 02", Unsupported),
        ("00 01", BadFile),
        ("00 81 02", BadFile),
        ("00", BadFile),
        ("", BadFile),
        ("00 02 00", BadFile),
        ("01 02 20 00 00", BadFile),
        ("02 02 05 00", BadFile),
    ):
        with pytest.raises(error, match="§5.[45]"):
            parameters.parse(Header(8, 8, "RGB", parameters.LOWBIT, 0, bytes(32), bytes.fromhex(body), 4, 8))


@clause("5.4.1", "5.4.2")
def test_payloads_that_break_a_rule():
    shape = (4, 5, 3)
    fields, payload, _ = lowbit.send(smooth(*shape), 16)
    for wrong in ([[128, 0]] * 3, [[0, 0], [-129, 0], [0, 0]], [[0, 0], [0, 0], [0, 32768]]):
        coder, numbers, mean = Sender(), Numbers(2), 0
        for k, m in wrong:
            numbers.code(coder, 0, 0, k - mean)
            numbers.code(coder, 1, 1, m)
        with pytest.raises(BadFile, match=r"§5.4.1 channel \d: scale"):
            decoded(fields, coder.finish() + bytes(40), shape)
    for cut in (0, 1, len(payload) // 2, len(payload) - 1):
        with pytest.raises(BadFile, match="§5.6.1"):
            decoded(fields, payload[:cut], shape)
    with pytest.raises(BadFile, match="follow"):
        decoded(fields, payload + b"\0\0\0\0", shape)
    with pytest.raises(BadFile, match="§5.6.1|§5.4"):  # as if the latent had more channels
        decoded(fields, payload, (4, 5, 9))
    with pytest.raises(Unsupported, match="§4.5 clean-up"):
        decoded(Lowbit(16, fields.contexts, Cleanup((parameters.MEAN, 1), 0, 64)), payload, shape)


@clause("5.4.2")
def test_of_a_truncated_payload_the_values_that_are_there_are_right():
    cells = smooth(1, 300, 4)
    fields, payload, arriving = lowbit.send(cells, 16)
    found = decoded(fields, payload[: len(payload) // 2], cells.shape, len(payload))
    right = np.isclose(found, arriving, rtol=1e-5).all(axis=2)[0]
    first = int(np.argmin(right))
    assert 100 < first < 200 and np.unique(found[0, first + 1 :], axis=0).shape == (1, 4)
    with pytest.raises(BadFile, match="inside its scales"):
        decoded(fields, payload[:1], cells.shape, len(payload))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("autoencoders")
    for channels in (4, 16, 32):
        torch.manual_seed(channels)
        autoencoder(channels, scaling_factor=0.5, shift_factor=0.1).save_pretrained(base / str(channels))
    save("epsilon", base / "pipeline")
    return {path.name: path for path in base.iterdir()}


@clause("5.1", "5.4")
@pytest.mark.parametrize(
    ("name", "size"), [("4", (33, 20)), ("16", (21, 12)), ("32", (21, 12)), ("4", (1, 1)), ("32", (1, 1))]
)
def test_pictures_of_any_size_through_any_autoencoder(name, size, folders):
    image = picture(*size)
    found = loading.find(folders[name])
    loaded = loading.load(found, "cpu")
    plain = loaded.decode(loaded.encode(codec.pad_to_model(np.array(image), found.spec)))[: image.height, : image.width]
    errors = []
    for bits in (1, 4, 8):
        data = saved(image, kind="lowbit", model=str(folders[name]), bits=bits, device="cpu")
        header = chunks.scan(io.BytesIO(data)).header
        assert (header.kind, header.channels, parameters.parse(header).levels) == (
            parameters.LOWBIT,
            int(name),
            1 << bits,
        )
        out = opened(data)
        assert out.size == image.size
        errors.append(np.square(np.asarray(out, float) - plain).mean())
    assert errors[2] < 1 and errors[2] <= errors[1] <= errors[0]
    assert saved(image, kind="lowbit", model=str(folders[name]), bits=8, device="cpu") == data


@pytest.mark.parametrize("target", [600, 2500])
def test_a_budget_is_kept_and_used(target, folders):
    data = saved(picture(80, 60), kind="lowbit", model=str(folders["4"]), target_bytes=target, device="cpu")
    assert 0.8 * target < len(data) <= target and opened(data).load()


def test_requests_that_make_no_sense(folders):
    own = str(folders["4"])
    for options, said in (
        (dict(bits=0), "bits 0 is outside 1..8"),
        (dict(levels=257), "levels 257 is outside 2..256"),
        (dict(bits=1, levels=2), "exclude"),
        (dict(cleanup=2), "needs a diffusion model"),
        (dict(colours=16), "colours means nothing to kind lowbit"),
        (dict(target_bytes=110), "more than the budget|too few"),
    ):
        with pytest.raises(BadInput, match=said):
            saved(picture(40, 24), **dict(kind="lowbit", model=own, device="cpu") | options)
    with pytest.raises(BadInput, match="needs the latent of an autoencoder"):
        saved(picture(40, 24), kind="lowbit")
    with pytest.raises(BadInput, match="thrift -1 is outside"):
        lowbit.EncodeOptions(thrift=-1)


@clause("5.5")
def test_a_pipelines_network_cleans_up(folders):
    options = dict(kind="lowbit", model=str(folders["pipeline"]), bits=1, device="cpu")
    data = [saved(picture(40, 24), cleanup=steps, **options) for steps in (0, 2)]
    assert len(data[1]) == len(data[0]) + 3 and psnr(opened(data[0]), opened(data[1])) < 60
