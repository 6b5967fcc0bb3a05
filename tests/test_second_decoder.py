"""A decoder made of the text's own programs: it passes the suite, and the suite notices what is planted in it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import planted
import pytest
import second_decoder
from PIL import Image
from spec_text import programs

from sdf_format import codec
from sdf_format.coding.entropy import Receiver
from sdf_format.container import chunks, parameters
from sdf_format.inspect import conformance
from sdf_format.inspect.conformance import MINIMAL, SUITE, judge
from sdf_format.models import tiles
from sdf_format.payloads import cleanup, lowbit, palette

clause = pytest.mark.clause

MANIFEST = conformance.manifest(SUITE)
STRICT, WIDE = MANIFEST["tolerance"]["strict"], MANIFEST["tolerance"]["wide"]
QUICK = (
    "[wsmt][!c]*"  # accepted files that take seconds in all; `tests/second_decoder.py` says how to judge all of them
)


def answered(source: Path, target: Path) -> tuple[int, str]:
    """As its command, in this process."""
    try:
        Image.fromarray(second_decoder.decode(source.read_bytes())).save(target)
    except second_decoder.Refused as error:
        return second_decoder.STATUS[error.name], str(error)
    return 0, ""


@clause("9.1", "9.4")
def test_the_text_passes_the_suite_of_the_minimal_profile_strictly():
    results = list(judge(SUITE, answered, None, QUICK, "strict", MINIMAL))
    assert not [(r.name, r.problems) for r in results if r.problems]
    assert sum(r.figures is not None for r in results) > 20


@clause("8.1", "8.2", "8.3", "9.4")
@pytest.mark.parametrize("entry", MANIFEST["refused"], ids=lambda entry: entry["name"])
def test_the_text_refuses_what_the_suite_refuses(entry):
    with pytest.raises(second_decoder.Refused) as caught:
        second_decoder.decode((SUITE / entry["file"]).read_bytes())
    wanted = (entry["minimal"], 10) if "minimal" in entry else (entry["error"], entry["offset"])
    assert (caught.value.name, caught.value.offset) == wanted


# --- mistakes: what, in which part, what stands there, what instead; the file that notices; in which class of tolerance

MISTAKES = {
    "tree walks of 1024": ("text", "else (2048, 32)", "else (1024, 32)", "tree-walks", WIDE),
    "walks that never restart": ("text", "(0 if b in firsts else state)", "state", "trellis-dense", WIDE),
    "ancestral noise without the seed": ("decoder", "(h.seed, i, 3, count)", "(0, i, 3, count)", "denoiser-seed", WIDE),
    "ancestral noise of stream 0": (
        "decoder",
        "(h.seed, i, 3, count)",
        "(h.seed, i, 0, count)",
        "denoiser-ancestral-4",
        WIDE,
    ),
    "ancestral as flow": ("text", 'if name == "ancestral":', "if False:", "denoiser-ancestral-4", WIDE),
    "an addend of 1e-6 in norms": ("network", "EPS = 1e-5", "EPS = 1e-6", "law-negative-bend", STRICT),
    "an addend of 1e-3 in norms": ("network", "EPS = 1e-5", "EPS = 1e-3", "law-negative-bend", STRICT),
    "sigma not clamped": ("network", "min(max(sigma, 0.03), 20)", "sigma", "law-negative-bend", WIDE),
    "no network": ("network", "np.sqrt(v) * sigma32 * np.sqrt", "0 * np.sqrt", "plain", WIDE),
    "sine and cosine": ("network", "[np.sin(angle), np.cos(angle)]", "[np.cos(angle), np.sin(angle)]", "plain", WIDE),
    "frequencies from 0": ("network", "np.arange(1, 33, dtype", "np.arange(0, 32, dtype", "plain", WIDE),
    "signs without the seed": ("text", "block(seed, step, 1, first + i)", "block(0, step, 1, first + i)", "seed", WIDE),
    "order without the seed": ("text", "block(seed, step, 1, 0)[0] % D", "block(0, step, 1, 0)[0] % D", "seed", WIDE),
    "another plane of signs": ("text", "signs(D, seed, step, 2)", "signs(D, seed, step, 0)", "plain", WIDE),
    "zeros for a step without bits": (
        "text",
        "return [n / 4096 for n in normals(seed, step, 0, D)]\n    owner",
        "return [0.0] * D\n    owner",
        "payload-empty",
        WIDE,
    ),
    "flow of first order": (
        "text",
        "[a + (a - b) * h / (2 * stride) for a, b in zip(c, before)]",
        "c",
        "denoiser-flow-4",
        STRICT,
    ),
    "levels that fall evenly": ("text", "((n - i) / n) ** 2", "(n - i) / n", "denoiser-flow-4", WIDE),
    "a denoising step fewer": ("text", "if i == n - 1:", "if i >= max(0, n - 2):", "denoiser-flow-4", WIDE),
    "balanced as flow": ("text", "a + 0.5 * (b - a)", "b", "denoiser-balanced-4", WIDE),
    "balanced as mean": ("text", "a + 0.5 * (b - a)", "a", "denoiser-balanced-4", WIDE),
    "a last step at its table's level": ("text", "        if r < g:", "        if False:", "registered-gain", WIDE),
    "a gain in whole units": ("text", "* gain // 65536", "* gain // 1024", "registered-1", WIDE),
    "grey rounded down": ("decoder", "np.rint(samples.mean", "np.floor(samples.mean", "mode-l", STRICT),
    "samples rounded down": ("decoder", "np.rint(network.inverse", "np.floor(network.inverse", "plain", STRICT),
}


def differs(name: str, pixels: np.ndarray, limits: dict[str, float]) -> bool:
    with Image.open(SUITE / "pixels" / f"{name}.png") as image:
        difference = np.asarray(image, float) - pixels
    return bool(np.sqrt(np.mean(difference**2)) > limits["rms"] or np.abs(difference).max() > limits["peak"])


@clause("9.1")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_noticed(mistake):
    where, old, new, name, limits = MISTAKES[mistake]
    assert differs(name, planted.decode((SUITE / "files" / f"{name}.sdf").read_bytes(), where, old, new), limits)


SYMBOLS = {
    "counts that are never halved": ("sum(counts[g]) > 1 << 19", "False", "palette-long"),
    "counts halved at 2^12": ("sum(counts[g]) > 1 << 19", "sum(counts[g]) > 1 << 12", "palette-long"),
    "E without its least value": ("max(1, 2 * (K", "max(0, 2 * (K", "palette-close"),
    "counts that grow by 1": ("counts[g][k] += 3", "counts[g][k] += 1", "palette-16-1"),
    "neighbours of equal weights": ("(y, x - 1, 3), (y - 1, x, 3)", "(y, x - 1, 1), (y - 1, x, 1)", "palette-16-1"),
    "contexts of a whole latent": ("numbers.read(c, n if c else 0)", "numbers.read(c, 0)", "palette-16-2"),
    "no renormalisation below 2^32": ("while self.range < 1 << 32:", "while self.range < 1 << 24:", "palette-1-1"),
    "bits that adapt evenly": ("self.s[k] += 2 if", "self.s[k] += 1 if", "palette-16-1"),
}


def symbols(name: str, text: dict) -> dict:
    """Numbers of a file of kind palette, by the text's programs."""
    with (SUITE / "files" / f"{name}.sdf").open("rb") as stream:
        file = chunks.scan(stream)
        fields, payload = parameters.parse(file.header), chunks.read(stream, file.chunks[-1])
    coder = text["RangeDecoder"](payload)
    made = [text["palette"](coder, fields.colours, part.stop - part.start) for part in palette.bounds(4, fields.groups)]
    found = text["cells"](coder, made, file.header.height // 2, file.header.width // 2)
    coder.finish()
    return found


def ours(name: str) -> np.ndarray:
    """The same by the package."""
    with (SUITE / "files" / f"{name}.sdf").open("rb") as stream:
        file = chunks.scan(stream)
        fields, payload = parameters.parse(file.header), chunks.read(stream, file.chunks[-1])
    coder = Receiver(payload)
    made = [palette.code_vectors(coder, fields.colours, p.stop - p.start) for p in palette.bounds(4, fields.groups)]
    found = palette.code_cells(coder, made, (file.header.height // 2, file.header.width // 2))
    coder.finish()
    return found


@clause("5.3.1", "5.3.2", "5.6")
@pytest.mark.parametrize("mistake", SYMBOLS)
def test_a_planted_mistake_of_entropy_coding_is_noticed(mistake):
    old, new, name = SYMBOLS[mistake]
    text = planted.mistaken_text(old, new)
    try:
        found = symbols(name, text)
    except (text["Bad"], ZeroDivisionError, KeyError, IndexError):
        return
    right = ours(name)
    assert any(right[place] != value for place, value in found.items())


@clause("5.3.2")
@pytest.mark.parametrize("name", ["palette-close", "palette-300-4", "palette-1-1"])
def test_the_text_reads_palettes_as_the_package_does(name):
    right = ours(name)
    found = symbols(name, programs())
    assert len(found) == right.size
    assert all(right[place] == value for place, value in found.items())


@clause("5.4.1", "5.4.2")
@pytest.mark.parametrize("name", ["lowbit-2-alone", "lowbit-7-even", "lowbit-7-neighbours", "lowbit-256-neighbours"])
def test_the_text_reads_low_bits_as_the_package_does(name):
    with (SUITE / "files" / f"{name}.sdf").open("rb") as stream:
        file = chunks.scan(stream)
        fields, payload = parameters.parse(file.header), chunks.read(stream, file.chunks[-1])
    text, receiver = programs(), Receiver(payload)
    coder = text["RangeDecoder"](payload)
    assert [list(pair) for pair in text["scales"](coder, 4)] == lowbit.code_scales(receiver, 4).tolist()
    found = text["values"](coder, 12, 20, 4, fields.levels, fields.contexts)
    coder.finish()
    right = lowbit.code_values(receiver, (12, 20, 4), fields.levels, fields.contexts)
    assert all(right[place] == value for place, value in found.items())


@clause("4.4.3")
@pytest.mark.parametrize(
    ("length", "side", "grid"), [(9, 8, 1), (12, 8, 1), (20, 8, 1), (64, 16, 2), (100, 33, 4), (7, 8, 1)]
)
def test_tiles_of_the_text_and_of_the_package(length, side, grid):
    import torch

    text = programs()
    places = text["starts"](length, side, grid)
    assert places == tiles.starts(length, side, grid)
    for k, first in enumerate(places if length > side else ()):
        weights = [text["ramp"](k, places, side, length, i) for i in range(side)]
        assert np.allclose(weights, tiles.ramp(first, length, places, side, torch.device("cpu")).numpy())


# --- mistakes planted in the package: what only models of diffusers have

sys.path.insert(0, str(SUITE))
import make  # noqa: E402


def own_pixels(name: str) -> np.ndarray:
    with conformance.with_models(SUITE / "models"):
        return np.asarray(make.picture((SUITE / "files" / f"{name}.sdf").read_bytes()))


@clause("4.4.3", "5.5")
@pytest.mark.parametrize(
    ("name", "target", "attribute", "value"),
    [
        ("pipeline-tiles", tiles, "WHOLE", 1e9),
        (
            "pipeline-wide",
            tiles,
            "starts",
            lambda length, side, grid: [*range(0, length - side, side), max(0, length - side)],
        ),
        ("pipeline-tiles", tiles, "ramp", lambda first, length, places, side, device: __import__("torch").ones(side)),
        ("cleanup-mean", cleanup, "CLEANUP_GAIN", 32),
        ("cleanup-mean", cleanup, "CLEANUP_LEVEL", 4),
        ("cleanup-balanced", cleanup, "REALISM", {0: 0.0, 1: 1.0, 3: 1.0}),
    ],
)
def test_a_mistake_planted_in_the_package_is_noticed(monkeypatch, name, target, attribute, value):
    assert not differs(name, own_pixels(name), STRICT)
    monkeypatch.setattr(target, attribute, value)
    assert differs(name, own_pixels(name), STRICT)


def test_the_package_decodes_what_its_encoder_left_out_and_what_is_written_out():
    """§3.2: both forms are valid, and say the same."""
    for name in ("seed", "coder", "denoiser", "conditioning"):
        data = (SUITE / "files" / f"written-{name}.sdf").read_bytes()
        pixels, _ = codec.decode_bytes(data, device="cpu", wrap_model=make.in_float32)
        assert not differs(f"written-{name}", pixels, STRICT)
