"""The targets of fuzzing on everything that was ever found, on the suite, and on some thousand new inputs; round trips
by hypothesis.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fuzz.targets import TARGETS, gaussian_models, mended
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pictures import opened, saved
from PIL import Image

from sdf_format.inspect.conformance import SUITE

clause = pytest.mark.clause

HERE = Path(__file__).parent / "fuzz"
FINDINGS = sorted([*(HERE / "findings").glob("*.sdf"), *(SUITE / "files").glob("refused-*.sdf")])


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_stays_mended(name):
    with gaussian_models():
        for path in FINDINGS:
            TARGETS[name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_of_the_long_run_finds_nothing(name):
    with gaussian_models(), zipfile.ZipFile(HERE / f"corpus-{name}.zip") as corpus:
        for member in corpus.namelist():
            TARGETS[name](corpus.read(member))


@pytest.mark.parametrize(("name", "runs"), [("container", 400), ("image", 400)])
def test_a_fixed_budget_of_fuzzing_finds_nothing(name, runs, tmp_path):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed; the extra fuzz brings it, where there are wheels of it")
    done = subprocess.run(
        [sys.executable, str(HERE / "run.py"), name, str(tmp_path / "corpus"), f"-runs={runs}", "-seed=1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    executed = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert done.returncode == 0 and executed, done.stderr[-3000:]
    assert int(executed[1]) >= runs


@clause("3.2")
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4), st.integers(0, 200))
def test_mending_keeps_chunks_and_makes_checksums_right(changes, cut):
    data = bytearray((SUITE / "files" / "metadata-stored.sdf").read_bytes())
    assert mended(bytes(data)) == data
    for place, value in changes:
        data[place] = value
    made = mended(bytes(data[: len(data) - cut]))
    assert len(made) == len(data) - cut and mended(made) == made


@st.composite
def images(draw) -> Image.Image:
    """Of any mode that the format has, small, with any pixels."""
    mode = draw(st.sampled_from(["L", "LA", "RGB", "RGBA"]))
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    values = np.random.default_rng(draw(st.integers(0, 999))).integers(0, 256, (height, width, len(mode)), np.uint8)
    return Image.fromarray(values[..., 0] if mode == "L" else values, mode=None)


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@settings(max_examples=12, deadline=None)
@given(
    images(),
    st.dictionaries(texts, st.text(st.characters(codec="utf-8"), max_size=40), max_size=3),
    st.binary(min_size=1, max_size=80),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["tree", "trellis", "pfr"]),
    st.integers(1, 100),
)
def test_what_is_saved_is_opened(image, text, profile, seed, coder, quality):
    """Size, mode, alpha and metadata as they were; the same bytes again; sound to every target."""
    with gaussian_models():
        options = dict(text=text, icc_profile=profile, seed=seed, coder=coder, coder_bits=9, quality=quality, steps=3)
        data = saved(image, **options)
        assert saved(image, **options) == data
        again = opened(data)
        assert (again.size, again.mode) == (image.size, image.mode)
        again.load()
        assert again.info.get("text", {}) == text and again.info["icc_profile"] == profile
        if image.mode.endswith("A"):
            assert again.getchannel("A").tobytes() == image.getchannel("A").tobytes()
        for target in TARGETS.values():
            target(data)


@settings(max_examples=15, deadline=None)
@given(images(), st.integers(60, 400))
@example(Image.new("L", (1, 1)), 209)  # once asked for more bits than the latent has values
def test_a_budget_is_kept_whatever_the_picture(image, budget):
    with gaussian_models():
        try:
            data = saved(image, target_bytes=budget, steps=3)
        except ValueError as error:
            assert "too few" in str(error)
            return
    assert len(data) <= budget and opened(data).size == image.size


@clause("8")
def test_findings_are_small_and_named():
    for path in (HERE / "findings").glob("*"):
        assert path.suffix == ".sdf" and path.stat().st_size < 4000, path
