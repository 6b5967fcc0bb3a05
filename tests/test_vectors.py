"""The package and the text against spec/vectors.json (§9.3)."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import second_decoder
import second_network
from spec_text import SPEC, programs

from sdf_format.coding import noise
from sdf_format.coding.entropy import Receiver
from sdf_format.coding.rcc import pfr, tree, trellis
from sdf_format.container import chunks, parameters
from sdf_format.diffusion import walk
from sdf_format.inspect.conformance import SUITE
from sdf_format.payloads import lowbit, palette

clause = pytest.mark.clause

VECTORS = json.loads((SPEC / "vectors.json").read_text("utf-8"))
CODERS = {"trellis": trellis, "pfr": pfr, "tree": tree}
NEAR = 1e-3  # of the root mean square of an array: §9.3


def hashed(x: Any, kind: str = "<f4") -> str:
    return hashlib.sha256(np.asarray(x).astype(kind).tobytes()).hexdigest()


def same(told: dict[str, Any], x: Any) -> None:
    """The first numbers and the mean square of an array are those that are told."""
    flat = np.asarray(x, np.float64).reshape(-1)
    size = math.sqrt(told["mean_square"]) + 1e-12
    assert np.abs(flat[: len(told["first"])] - told["first"]).max() <= NEAR * size
    assert abs(math.sqrt((flat**2).mean()) - size) <= NEAR * size


@clause("6.3", "6.4", "6.5", "9.3")
@pytest.mark.parametrize("case", VECTORS["z"]["cases"], ids=lambda c: "{coder}-{D}-{R}-{K}".format(**c))
def test_displacements(case):
    bits = np.array([b * b // 3 % 2 for b in range(case["R"])], np.uint8)
    z = CODERS[case["coder"]].receive(bits, case["D"], case["K"], VECTORS["z"]["seed"], VECTORS["z"]["step"])
    assert hashed(z) == case["sha256"]


@clause("6.3", "6.4", "6.5", "9.3")
@pytest.mark.parametrize(
    "case", [c for c in VECTORS["z"]["cases"] if c["D"] < 5000], ids=lambda c: "{coder}-{D}-{R}-{K}".format(**c)
)
def test_displacements_of_the_text(case):
    text, bits = programs(), [b * b // 3 % 2 for b in range(case["R"])]
    rest = case["K"], VECTORS["z"]["seed"], VECTORS["z"]["step"]
    if case["coder"] == "pfr":
        z = text["receive_pfr"](bits, case["D"], *rest)
    else:
        z = text["receive"](bits, case["D"], case["coder"], *rest)
    assert hashed(z) == case["sha256"]


@pytest.fixture(scope="module")
def y() -> np.ndarray:
    return noise.normals(0, 0, 0, 4608).reshape(192, 4, 6).astype(np.float32) / noise.NORMAL_ONE


@clause("4.3.1", "9.3")
def test_the_network_of_the_text(y):
    weights = second_decoder.embedded()
    for case in VECTORS["network"]["outputs"]:
        same(case, second_network.predict(weights, y, case["sigma"]))
    layers = {case["name"]: case for case in VECTORS["network"]["layers_at_sigma_1"]}
    seen = []

    def noted(name: str, x: np.ndarray) -> None:
        assert list(x.shape) == layers[name]["shape"]
        same(layers[name], x)
        seen.append(name)

    second_network.predict(weights, y, 1.0, noted)
    assert seen == list(layers)


@pytest.fixture(scope="module")
def model():
    """The embedded model, its network in float32."""
    import sys

    sys.path.insert(0, str(SUITE))
    import make

    from sdf_format.models import loading

    return make.in_float32(loading.load(1, "cpu"))


@clause("4.3.1", "9.3")
def test_the_network_of_the_package(y, model):
    import torch

    for case in VECTORS["network"]["outputs"]:
        same(case, model.predict(torch.from_numpy(y)[None], case["sigma"]))


@clause("4.3", "9.3")
def test_the_inverse_transform(model):
    import torch

    latent = (np.arange(768).reshape(192, 2, 2) / 100).astype(np.float32)
    told = np.array(VECTORS["inverse"]["rows"])
    samples = second_network.inverse(second_decoder.embedded(), latent)
    assert np.abs(samples[:, 0] - told).max() < 0.01  # of 27000: float32
    # In the range of samples, where the package rounds and clips.
    small = model.decode(torch.from_numpy(latent)[None] / 200)
    wanted = second_network.inverse(second_decoder.embedded(), latent / 200)
    assert np.abs(small.transpose(2, 0, 1) - wanted.clip(0, 255)).max() < 0.501


def contents(name: str) -> tuple[Any, Any, bytes]:
    """Header, fields and payload of a file of the suite."""
    with (SUITE / "files" / f"{name}.sdf").open("rb") as stream:
        file = chunks.scan(stream)
        return file.header, parameters.parse(file.header), chunks.read(stream, file.chunks[-1])


@clause("7.1", "9.3")
@pytest.mark.parametrize("name", VECTORS["walks"])
def test_walks_of_the_package(name, model, monkeypatch):
    """z exactly, y and the latent nearly, after every step of a decoding."""
    from sdf_format import codec
    from sdf_format.payloads import diffc

    steps = VECTORS["walks"][name]["steps"]
    seen: list[tuple[float, float]] = []
    own_walk = walk.walk

    def watched(shape, levels, predict, channel, *rest):
        """The same walk; a second sum beside it, of the clean latents and displacements that went into it."""
        total, precision = 0.0, 0.0

        def noted(step, clean, gain):
            nonlocal total, precision
            z = channel(step, clean, gain)
            told = steps[step]
            assert hashed(z.cpu().reshape(-1)) == told["z_sha256"]
            assert levels[step] == pytest.approx(told["level"], abs=1e-6)
            if step:
                same(told["clean"], clean.cpu())
            rise = math.exp(levels[step]) - precision
            total = total + rise * clean.double().cpu() + math.sqrt(rise) * z.double().cpu()
            precision = math.exp(levels[step])
            same(told["y"], total / precision)
            seen.append((step, precision))
            return z

        y, sigma = own_walk(shape, levels, predict, noted, *rest)
        same(steps[-1]["y"], y.cpu())
        return y, sigma

    monkeypatch.setattr(walk, "walk", watched)
    latents: list[Any] = []
    own = diffc.decode

    def kept(*args, **options):
        latents.append(own(*args, **options))
        return latents[-1]

    monkeypatch.setattr(diffc, "decode", kept)
    data = (SUITE / "files" / f"{name}.sdf").read_bytes()
    codec.decode_bytes(data, device="cpu", wrap_model=lambda _: model)
    assert len(seen) == len(steps)
    same(VECTORS["walks"][name]["latent"], latents[0])


@clause("5.3", "5.4", "9.3")
@pytest.mark.parametrize("name", VECTORS["symbols"])
def test_symbols(name):
    _, fields, payload = contents(name)
    told, coder = VECTORS["symbols"][name], Receiver(payload)
    if name.startswith("palette"):
        made = [palette.code_vectors(coder, fields.colours, p.stop - p.start) for p in palette.bounds(4, fields.groups)]
        assert [hashed(p, "<i4") for p in made] == [entry["sha256"] for entry in told["palettes"]]
        numbers = palette.code_cells(coder, made, (12, 20))
    else:
        assert lowbit.code_scales(coder, 4).tolist() == told["scales"]
        numbers = lowbit.code_values(coder, (12, 20, 4), fields.levels, fields.contexts)
    coder.finish()
    assert numbers.reshape(-1)[:24].tolist() == told["numbers"]["first"]
    assert hashed(numbers, "<i4") == told["numbers"]["sha256"]


def test_the_vectors_are_those_of_the_script():
    """All but the largest, which take seconds."""
    import sys

    sys.path.insert(0, str(Path(SPEC)))
    import vectors

    assert vectors.network() == {key: VECTORS[key] for key in ("network", "inverse")}
    assert json.loads(json.dumps(vectors.symbols())) == VECTORS["symbols"]
