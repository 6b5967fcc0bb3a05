"""Registered models by name, whole files: on stand-ins always, and on the real weights that SDF_MODEL_DIR has when the
tests start (§4.4).
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass

import numpy as np
import pytest
from pictures import opened, picture, psnr, saved
from PIL import ImageFile
from standins import NAMES, save

from sdf_format import batch, codec
from sdf_format.container import chunks, parameters
from sdf_format.errors import MissingModel
from sdf_format.models import loading

clause = pytest.mark.clause
GIVEN = os.environ.get("SDF_MODEL_DIR", "")
DEVICE = None if GIVEN else "cpu"
RMS, PEAK = 1.5, 40  # §9


def present(name: str) -> bool:
    """Whether the real weights are there; their hash is not computed yet."""
    from sdf_format.models.checkpoint import located

    return located((name, loading.MODELS[loading.by_name(name)].published.repository.rpartition("/")[2]))[0] is not None


def skipped(name: str):
    here = bool(GIVEN) and present(name)
    return pytest.param(
        (name, True),
        id=f"{name}, real",
        marks=[] if here else pytest.mark.skip(f"SDF_MODEL_DIR has no weights of {name}"),
    )


@dataclass(frozen=True)
class Given:
    """A model whose weights are found by name.  real: not a stand-in, so that its pictures can be judged"""

    name: str
    real: bool

    @property
    def size(self) -> tuple[int, int]:
        spec = loading.MODELS[loading.by_name(self.name)]
        return (spec.published.settings.native,) * 2 if self.real else (spec.least + 8, spec.least - 24)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("registered")


@pytest.fixture(params=[pytest.param((name, False), id=name) for name in NAMES] + [skipped(name) for name in NAMES])
def given(request, base, monkeypatch) -> Given:
    name, real = request.param
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if not real:
        if not (base / name).is_dir():
            save(name, base)
        monkeypatch.setenv("SDF_MODEL_DIR", str(base))
    return Given(name, real)


@clause("4.1", "4.4", "3.3")
def test_a_registered_model_goes_through_files(given):
    """A file by name, several together, and a prefix of one; with real weights also again, and more bytes for a better
    picture.
    """
    image = picture(*given.size)
    budget = 600 if given.real else 160
    options = dict(model=given.name, denoiser=("flow", 2), device=DEVICE)
    data = saved(image, target_bytes=budget, **options)
    assert len(data) <= budget
    header = chunks.scan(io.BytesIO(data)).header
    found = loading.find(given.name)
    assert header.model == found.key and header.weights == found.sha256[:4]
    first = opened(data)
    pixels = np.asarray(first)
    assert first.size == given.size and pixels.std() > 0
    larger = saved(image, target_bytes=2 * budget, **options)
    together = batch.decode_many([io.BytesIO(data), io.BytesIO(larger)], device=DEVICE)
    for (found_pixels, _), one in zip(together, (first, opened(larger))):
        difference = np.asarray(one, float) - found_pixels
        assert np.sqrt(np.mean(difference**2)) <= RMS and np.abs(difference).max() <= PEAK
    if given.real:
        assert psnr(image, opened(larger)) > psnr(image, first) > 12
        assert saved(image, target_bytes=budget, **options) == data and (pixels == np.asarray(opened(data))).all()
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        coarse = opened(larger[: len(larger) * 3 // 4])
        coarse.load()
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    assert coarse.size == given.size


@clause("5.2", "7.2")
def test_a_registered_model_hears_prompts_if_it_has_text_encoders(given):
    image = picture(*given.size)
    options = dict(
        model=given.name,
        target_bytes=200,
        denoiser=("flow", 1),
        device=DEVICE,
        prompt="coloured discs in front of a sky",
        guidance=2.0,
    )
    if not given.real:
        with pytest.raises(MissingModel, match=f"{given.name} has no text encoder"):
            saved(image, **options)
        return
    data = saved(image, **options)
    assert parameters.parse(chunks.scan(io.BytesIO(data)).header).conditioning.coding == 2.0 and opened(data).load()


@clause("9")
def test_a_rate_distortion_curve_can_be_drawn(given, tmp_path, monkeypatch):
    """`sdf bench rd --model NAME`, on a picture; with SDF_KODAK, a folder, on the photographs in it."""
    from sdf_format.bench import rd, rivals

    if not given.real and given.name != "sd15":
        pytest.skip("one stand-in will do")
    monkeypatch.setattr(rivals, "available", lambda: ["JPEG"])
    picture(*given.size).save(tmp_path / "one.png")
    folder = os.environ.get("SDF_KODAK", str(tmp_path)) if given.real else str(tmp_path)
    rd.main(
        [
            folder,
            "--model",
            given.name,
            "--rates",
            "0.01,0.03,0.1" if given.real else "0.1",
            "--work",
            str(tmp_path / "work"),
            "--json",
            str(tmp_path / "rows.json"),
        ]
    )
    rows = [row for row in json.loads((tmp_path / "rows.json").read_text()) if row["codec"].startswith(given.name)]
    assert {row["codec"] for row in rows} == {f"{given.name} {place}" for place in ("fidelity", "default", "realism")}
    assert all(row["bpp"] <= float(row["setting"]) and row["psnr"] > 0 for row in rows)
    assert not any(row["codec"].startswith(codec.DEFAULT_MODEL) for row in rows)
