"""Payload kind palette (§5.3): read a second time from the specification, and through whole files with tiny
autoencoders.
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from pictures import opened, picture, psnr, saved
from PIL import ImageFile
from pipelines import autoencoder, save
from test_autoencoders import oobleck
from test_entropy import Plain

from sdf_format import batch, codec, sound
from sdf_format.cli import main as cli
from sdf_format.coding.entropy import Sender
from sdf_format.container import chunks, parameters
from sdf_format.container.header import Header
from sdf_format.container.parameters import Cleanup, Palette
from sdf_format.errors import BadFile, BadInput, MissingModel, Unsupported
from sdf_format.inspect import dump, report
from sdf_format.models import loading
from sdf_format.payloads import palette

clause = pytest.mark.clause
SHAPE = (7, 9, 5)  # rows, columns, channels


def quiet(done: int, total: int) -> None:
    """No progress wanted."""


def smooth(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Cells that resemble their neighbours."""
    return np.random.default_rng(seed).normal(size=shape).cumsum(axis=0).cumsum(axis=1)


def sent(
    cells: np.ndarray, colours: int, groups: int = 1, dithering: int = 0, thrift: float = 0.1
) -> tuple[Palette, bytes, np.ndarray]:
    made = palette.send(cells, palette.made(cells, colours, groups), dithering, thrift, quiet)
    return made.fields, made.payload, made.arriving


def decoded(fields: Palette, payload: bytes, shape: tuple[int, ...] = SHAPE, declared: int | None = None) -> np.ndarray:
    height, width, channels = shape
    latent = palette.decode(
        payload, declared or len(payload), (1, channels, height, width), fields, object(), None, None, None, quiet
    )
    return latent[0].permute(1, 2, 0).numpy()


def plain_decode(fields: Palette, payload: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """§5.3 with lists of integers and §5.6 with fractions."""
    height, width, channels = shape
    coder = Plain(payload)
    groups = [range(channels * g // fields.groups, channels * (g + 1) // fields.groups) for g in range(fields.groups)]
    palettes = []
    for g, group in enumerate(groups):
        vectors: list[list[int]] = []
        for _ in range(fields.colours):
            vector = [coder.number((g, c), (g, len(group) if c else 0)) for c in range(len(group))]
            if vectors:
                vector[0] += vectors[-1][0]
            vectors.append(vector)
        palettes.append(vectors)

    def distance(a: list[int], b: list[int]) -> int:
        return sum((x - y) ** 2 for x, y in zip(a, b))

    counts = [[1] * fields.colours for _ in groups]
    usual = []
    for vectors in palettes:
        count, total = len(vectors), [sum(v) for v in zip(*vectors)]
        usual.append(
            max(1, 2 * (count * sum(x * x for v in vectors for x in v) - sum(x * x for x in total)) // count**2 // 2)
        )
    numbers: dict[tuple[int, int, int], int] = {}
    cells = np.zeros(shape)
    for y in range(height):
        for x in range(width):
            for g, vectors in enumerate(palettes):
                near = [
                    (numbers[place], w)
                    for place, w in (
                        ((y, x - 1, g), 3),
                        ((y - 1, x, g), 3),
                        ((y - 1, x - 1, g), 1),
                        ((y - 1, x + 1, g), 1),
                    )
                    if place in numbers
                ]
                frequencies = []
                for i, seen in enumerate(counts[g]):
                    w = sum(weight for _, weight in near)
                    f = sum(weight * distance(vectors[i], vectors[j]) for j, weight in near)
                    c = 65536 * usual[g] * w // (usual[g] * w + f) if near else 0
                    for _ in range(3):
                        c = c * c // 65536
                    frequencies.append(1 + seen * c // 256 if near else seen)
                starts = [sum(frequencies[:i]) for i in range(len(frequencies))]
                number = coder.symbol(list(zip(starts, frequencies)), sum(frequencies))
                counts[g][number] += 3
                if sum(counts[g]) > 2**19:
                    counts[g] = [(n + 1) // 2 for n in counts[g]]
                numbers[y, x, g] = number
                cells[y, x, groups[g]] = vectors[number]
    return cells * 2 ** (fields.step / 8)


@clause("5.3", "5.3.1", "5.3.2")
@pytest.mark.parametrize(
    ("colours", "groups", "dithering"), [(1, 1, 0), (16, 1, 0), (16, 1, 64), (20, 2, 0), (17, 5, 32)]
)
def test_a_payload_is_read_a_second_time_from_the_specification(colours, groups, dithering):
    cells = smooth()
    fields, payload, arriving = sent(cells, colours, groups, dithering)
    assert (fields.colours, fields.groups, fields.dithering) == (colours, groups, dithering)
    found = decoded(fields, payload)
    np.testing.assert_allclose(found, arriving, rtol=1e-6)
    np.testing.assert_allclose(found, plain_decode(fields, payload, SHAPE), rtol=1e-6)
    assert sent(cells, colours, groups, dithering)[1] == payload
    if colours > 1:
        assert np.square(found - cells).mean() < np.var(cells)


@clause("5.3.2")
def test_counts_are_halved_alike_on_both_sides(monkeypatch):
    monkeypatch.setattr(palette, "MOST_SEEN", 40)
    cells = smooth(3)
    fields, payload, arriving = sent(cells, 8)
    np.testing.assert_allclose(decoded(fields, payload), arriving, rtol=1e-6)


def test_more_colours_and_less_thrift_are_nearer_to_the_picture():
    cells = smooth(1, (24, 32, 4))
    errors = [np.square(sent(cells, colours)[2] - cells).mean() for colours in (4, 16, 64, 256)]
    assert errors == sorted(errors, reverse=True) and errors[3] < errors[0] / 8
    sizes = [
        (len(payload), np.square(arriving - cells).mean())
        for _, payload, arriving in (sent(cells, 64, thrift=t) for t in (0.0, 0.1, 0.5))
    ]
    assert [s for s, _ in sizes] == sorted((s for s, _ in sizes), reverse=True) and [e for _, e in sizes] == sorted(
        e for _, e in sizes
    )


def test_refining_takes_the_means_of_cells_and_drops_vectors_that_none_chose():
    cells = smooth(5, (24, 32, 6))
    own = palette.made(cells, 64, 1)
    first = palette.send(cells, own, 0, 1.0, quiet)
    numbers = first.numbers[..., 0]
    better = palette.refined(own, cells, first).vectors[0]
    assert len(better) == len(np.unique(numbers)) < 64
    means = {tuple(cells[numbers == n].mean(axis=0).round(9)) for n in np.unique(numbers)}
    assert {tuple(v) for v in better.round(9)} == means


def test_dithering_keeps_the_mean_of_an_area():
    """Where a palette lacks a value, error diffusion shows it as a mixture."""
    cells = np.full((16, 16, 1), 0.3)
    cells[0, 0] = 0
    cells[0, 1] = 1
    own = palette.Made([np.array([[0.0], [1.0]])], [0.05])
    means = [palette.send(cells, own, strength, 0.0, quiet).arriving[1:].mean() for strength in (0, 64)]
    assert abs(means[0]) < 1e-6 and abs(means[1] - 0.3) < 0.03


def test_latents_with_few_different_cells():
    for cells in (np.zeros((1, 1, 4)), np.full((3, 2, 3), 7.5), np.array([[[1e-9, 0.0]], [[300.0, -300.0]]])):
        fields, payload, arriving = sent(cells, 16)
        np.testing.assert_allclose(decoded(fields, payload, cells.shape), arriving, rtol=1e-6)
        np.testing.assert_allclose(arriving, cells, rtol=0.02, atol=1e-6)


@clause("5.3", "5.5")
def test_header_fields():
    def header(body: bytes, **change) -> Header:
        return Header(
            **dict(
                width=8,
                height=8,
                mode="RGB",
                kind=parameters.PALETTE,
                model=0,
                weights=bytes(32),
                parameters=body,
                channels=4,
                cell=8,
            )
            | change
        )

    for fields, data in (
        (Palette(256, 1, -4), "00 80 02 01 fc"),
        (Palette(16, 4, 5, 32), "02 10 04 05 20"),
        (Palette(1, 2, 0, 0, Cleanup((parameters.FLOW, 4), -3, 90), b"new"), "05 01 02 00 24 fd 5a 03 6e 65 77"),
    ):
        assert (
            parameters.build(fields) == bytes.fromhex(data) and parameters.parse(header(bytes.fromhex(data))) == fields
        )
    for data, error, said in (
        ("08 10 01 00", Unsupported, "reserved"),
        ("80 10 01 00", Unsupported, "reserved"),
        ("00 00 01 00", BadFile, "colours: 0"),
        ("00 81 20 01 00", BadFile, "colours: 4097"),
        ("00 10 00 00", BadFile, "groups: 0"),
        ("00 10 05 00", BadFile, "groups: 5 for 4"),
        ("02 10 01 00 00", BadFile, "dithering: 0"),
        ("02 10 01 00 41", BadFile, "dithering: 65"),
        ("00 10 01", BadFile, "parameters"),
        ("00 10 01 00 00", BadFile, "parameters"),
        ("01 10 01 00 44 00 40", Unsupported, "denoiser 2"),
        ("", BadFile, "flags"),
    ):
        with pytest.raises(error, match=said):
            parameters.parse(header(bytes.fromhex(data)))


@clause("5.3", "5.3.1", "5.6.1")
def test_payloads_that_break_a_rule():
    fields, payload, _ = sent(smooth(), 16)
    with pytest.raises(BadFile, match="groups: 6 for 5"):
        decoded(Palette(16, 6, 0), payload)
    with pytest.raises(BadFile, match="bytes follow"):
        decoded(fields, payload + b"\0")
    with pytest.raises(BadFile, match=r"§5\.[36]"):
        decoded(fields, payload[:40])
    for vectors in ([[0, 127], [0, 128]], [[-129, 0], [0, 0]], [[5, 0], [4, 0]]):
        coder = Sender()
        with contextlib.suppress(BadFile):  # the receiver below says the same
            palette.code_vectors(coder, 2, 2, np.array(vectors))
        with pytest.raises(BadFile, match="outside -128..127 or falls"):
            palette.code_vectors(coder, 2, 2, np.array(vectors))
    rng = np.random.default_rng(0)
    for _ in range(60):  # whatever the payload is, an error of ours or a latent
        damaged = bytearray(payload)
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        with contextlib.suppress(BadFile):
            assert np.isfinite(decoded(fields, bytes(damaged))).all()


@clause("5.3.2", "5.6.1")
def test_of_a_truncated_payload_the_cells_that_are_there_are_right():
    cells = smooth(2, (24, 24, 3))
    fields, payload, arriving = sent(cells, 32)
    found = decoded(fields, payload[: 3 * len(payload) // 4], cells.shape, len(payload))
    right = np.isclose(found, arriving, rtol=1e-5).all(axis=2).flatten()
    first = int(np.argmin(right))
    assert 24 * 6 < first < 24 * 24 and np.unique(found.reshape(-1, 3)[first:], axis=0).shape == (1, 3)
    with pytest.raises(BadFile, match="inside its palettes"):
        decoded(fields, payload[:20], cells.shape, len(payload))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Autoencoders alone by channels, "tiny" of another class, and a pipeline."""
    base = tmp_path_factory.mktemp("autoencoders")
    for channels in (4, 16, 32):
        torch.manual_seed(channels)
        autoencoder(channels, scaling_factor=0.5, shift_factor=0.1).save_pretrained(base / str(channels))
    torch.manual_seed(0)
    diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        latent_channels=6,
    ).save_pretrained(base / "tiny")
    save("epsilon", base / "pipeline")
    return {path.name: path for path in base.iterdir()}


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setattr(loading, "_folders", [])
    monkeypatch.delenv("SDF_MODEL_DIR", raising=False)


def through(image, folder: Path) -> np.ndarray:
    """What the autoencoder alone makes of a picture."""
    found = loading.find(folder)
    loaded = loading.load(found, "cpu")
    return loaded.decode(loaded.encode(codec.pad_to_model(np.array(image), found.spec)))[: image.height, : image.width]


@clause("5.1", "5.3", "4.5")
@pytest.mark.parametrize("name", ["4", "16", "32", "tiny"])
@pytest.mark.parametrize(
    ("size", "options"), [((33, 20), {}), ((1, 1), {}), ((40, 24), dict(colours=16, dithering=0.5, groups=3))]
)
def test_an_autoencoder_alone_is_model_enough(name, size, options, folders, monkeypatch):
    image = picture(*size)
    data = saved(image, kind="palette", model=str(folders[name]), device="cpu", **options)
    header = chunks.scan(io.BytesIO(data)).header
    assert (header.kind, header.model, header.channels, header.cell) == (
        parameters.PALETTE,
        0,
        6 if name == "tiny" else int(name),
        2,
    )
    first = opened(data)
    assert first.size == image.size and first.mode == "RGB" and first.load()
    if not options:  # 256 vectors for at most 170 cells
        assert np.abs(np.asarray(first, float) - through(image, folders[name])).mean() < 3
    monkeypatch.setattr(loading, "_folders", [])  # as in another process, which is told where models are
    with pytest.raises(MissingModel, match="SDF_MODEL_DIR"):
        opened(data).load()
    monkeypatch.setenv("SDF_MODEL_DIR", str(folders[name].parent))
    assert (np.asarray(opened(data)) == np.asarray(first)).all()
    assert saved(image, kind="palette", model=str(folders[name]), device="cpu", **options) == data


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_modes(mode, folders):
    image = picture(22, 14).convert(mode)
    if mode.endswith("A"):
        image.putalpha(picture(22, 14, 1).convert("L"))
    out = opened(saved(image, kind="palette", model=str(folders["4"]), device="cpu"))
    assert (out.mode, out.size) == (mode, image.size)
    if mode.endswith("A"):
        assert (np.asarray(out.getchannel("A")) == np.asarray(image.getchannel("A"))).all()


@pytest.mark.parametrize("target", [130, 300, 900])
def test_a_budget_is_kept_and_used(target, folders):
    data = saved(picture(80, 60), kind="palette", model=str(folders["4"]), target_bytes=target, device="cpu")
    assert 0.6 * target < len(data) <= target and opened(data).load()


@clause("5.5")
def test_a_pipelines_network_cleans_up(folders, monkeypatch):
    image, options = picture(40, 24), dict(kind="palette", model=str(folders["pipeline"]), colours=16, device="cpu")
    data = [saved(image, cleanup=steps, **options) for steps in (0, 1, 3)]
    fields = [parameters.parse(chunks.scan(io.BytesIO(d)).header).cleanup for d in data]
    assert (
        fields[0] is None and fields[1].denoiser == (parameters.MEAN, 1) and fields[2].denoiser == (parameters.FLOW, 3)
    )
    assert [len(d) - len(data[0]) for d in data] == [0, 3, 3]
    pictures = [np.asarray(opened(d)) for d in data]
    assert (pictures[0] != pictures[1]).any() and (pictures[1] != pictures[2]).any()
    calls = []
    codec.decode_bytes(data[2], device="cpu", progress=lambda done, total: calls.append((done, total)))
    assert calls[0] == (0, 3) and calls[-1] == (3, 3)
    assert (codec.decode_bytes(data[2], device="cpu", realism=0.0)[0] != pictures[2]).any()
    assert (
        len(saved(image, kind="palette", model=str(folders["pipeline"]), target_bytes=400, cleanup=2, device="cpu"))
        <= 400
    )


def test_requests_that_make_no_sense(folders):
    image, own = picture(40, 24), str(folders["4"])
    for options, said in (
        (dict(colours=0), "colours 0 is outside 1..4096"),
        (dict(colours=4097), "4097"),
        (dict(dithering=1.5), "dithering 1.5 is outside 0..1"),
        (dict(groups=0), "groups 0"),
        (dict(groups=5), "the latent has 4 channels"),
        (dict(cleanup=2), "needs a diffusion model"),
        (dict(quality=50), "quality means nothing to kind palette"),
        (dict(steps=3), "steps means nothing"),
        (dict(target_bytes=60), "bytes are too few"),
        (dict(colours=256, target_bytes=150), "more than the budget"),
    ):
        with pytest.raises(BadInput, match=said):
            saved(image, **dict(kind="palette", model=own, device="cpu") | options)
    with pytest.raises(BadInput, match="needs the latent of an autoencoder, and sdf-tiny-1 has none; name a model"):
        saved(image, kind="palette")
    with pytest.raises(Unsupported, match="autoencoder alone, which kind palette does with"):
        saved(image, model=own)
    with pytest.raises(BadInput, match="known: diffc, palette"):
        saved(image, kind="pallete", model=own)


def test_values_that_are_not_finite_are_refused(folders):
    found = loading.find(folders["4"])
    latent = torch.zeros(1, 4, 3, 3)
    latent[0, 1, 2, 2] = float("nan")
    with pytest.raises(BadInput, match="not finite"):
        palette.encode(latent, object(), found.spec, palette.EncodeOptions(), None, quiet)


@clause("5.1", "3.3", "4.5")
def test_files_whose_kind_and_model_do_not_go_together(folders):
    data = saved(picture(40, 24), kind="palette", model=str(folders["4"]), device="cpu")
    file = chunks.scan(io.BytesIO(data))
    payload = chunks.read(io.BytesIO(data), file.find(b"D"))

    def changed(**change) -> bytes:
        return chunks.build(Header(**vars(file.header) | change), payload, [])

    cleaned = parameters.build(Palette(256, 1, 0, 0, Cleanup((parameters.MEAN, 1), 0, 64)))
    tiny = loading.MODELS[1]
    diffc = parameters.build(parameters.Diffc(0, dict(steps=1, end=0, slope=1, bend=0)))
    for change, said in (
        (dict(channels=5), "a latent of 5 channels, cells of 2: the model has 4 and 2"),
        (dict(cell=8), "cells of 8"),
        (dict(parameters=cleaned), "clean-up needs a model that predicts"),
        (
            dict(model=1, weights=bytes.fromhex(tiny.sha256)[:4], channels=None, cell=None),
            "needs the latent of an autoencoder",
        ),
        (dict(kind=parameters.DIFFC, parameters=diffc), "autoencoder alone"),
    ):
        with pytest.raises((BadFile, Unsupported), match=said):
            codec.decode_bytes(changed(**change), device="cpu")
    failed, shown = batch.decode_many([io.BytesIO(changed(parameters=cleaned)), io.BytesIO(data)], device="cpu")
    assert isinstance(failed, Unsupported) and (shown[0] == codec.decode_bytes(data, device="cpu")[0]).all()


def test_a_truncated_file_gives_what_is_there_if_asked(folders, monkeypatch):
    data = saved(picture(80, 60), kind="palette", model=str(folders["4"]), colours=16, device="cpu")
    cut = data[:-200]
    with pytest.raises(OSError, match="truncated|ends"):
        opened(cut).load()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    whole, part = (np.asarray(opened(d)).astype(int) for d in (data, cut))
    assert part.shape == whole.shape and (part != whole).any()


def test_the_command_line(folders, tmp_path, capsys):
    image, sdf, out = tmp_path / "in.png", tmp_path / "a.sdf", tmp_path / "out.png"
    picture(40, 24).save(image)
    assert (
        cli.main(
            [
                "encode",
                str(image),
                str(sdf),
                "--kind",
                "palette",
                "--model",
                str(folders["4"]),
                "--colours",
                "32",
                "--dithering",
                "0.25",
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    assert cli.main(["decode", str(sdf), str(out), "--device", "cpu"]) == 0 and out.stat().st_size
    capsys.readouterr()
    assert cli.main(["info", "--json", str(sdf)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["valid"] and (
        facts["kind"],
        facts["colours"],
        facts["groups"],
        facts["dithering"],
        facts["cleanup"],
    ) == ("palette", 32, 1, 0.25, None)
    assert cli.main(["info", str(sdf)]) == 0 and "colours 32" in " ".join(capsys.readouterr().out.split())
    assert cli.main(["verify", str(sdf)]) == 0
    assert cli.main(["encode", str(image), str(sdf), "--force", "--kind", "palette"]) == 1
    assert "needs the latent of an autoencoder" in capsys.readouterr().err


@clause("5.3", "5.5")
def test_dump_shows_the_fields(folders):
    data = saved(picture(40, 24), kind="palette", model=str(folders["pipeline"]), colours=16, cleanup=2, device="cpu")
    text = dump.as_text(dump.rows(io.BytesIO(data)))
    for said in (
        "§5.3 flags 00000001: cleanup present",
        "§5.3 colours 16",
        "§5.3 groups 1",
        "§5.5 denoiser flow, 2 step(s)",
        "§5.5 level",
        "§5.5 gain",
        "payload",
    ):
        assert said in text, said
    assert report.describe(io.BytesIO(data), len(data))["cleanup_steps"] == 2


def test_a_picture_survives_better_with_more_bytes(folders):
    image = picture(96, 64)
    reference = through(image, folders["16"])
    errors = [
        np.square(
            np.asarray(
                opened(saved(image, kind="palette", model=str(folders["16"]), target_bytes=n, device="cpu")), float
            )
            - reference
        ).mean()
        for n in (200, 800, 4000)
    ]
    assert (
        errors == sorted(errors, reverse=True)
        and psnr(opened(saved(image, kind="palette", model=str(folders["16"]), device="cpu")), image) > 5
    )


@clause("4.6", "5.3")
def test_sound_has_cells_too(tmp_path):
    folder = oobleck(tmp_path / "sound")
    samples = np.sin(np.arange(2000, dtype=np.float32) / 7)[None].repeat(2, 0)
    data = sound.encode(samples, 8000, model_name=str(folder), kind="palette", colours=16, device="cpu").data
    assert chunks.scan(io.BytesIO(data)).header.kind == parameters.PALETTE
    heard, rate = sound.decode(io.BytesIO(data), device="cpu")[:2]
    assert heard.shape == samples.shape and rate == 8000
