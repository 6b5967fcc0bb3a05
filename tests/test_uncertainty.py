"""Maps of what a file does not say."""

from __future__ import annotations

import io

import numpy as np
import pytest
from pictures import opened, picture, saved
from PIL import Image

from sdf_format import uncertainty
from sdf_format.cli import main as cli
from sdf_format.errors import BadInput, TooMuch, Truncated

clause = pytest.mark.clause


@pytest.fixture(scope="module")
def source() -> Image.Image:
    """Half of it plain, half of it noise."""
    noisy = np.full((96, 128, 3), 120, np.uint8)
    noisy[:, 64:] = np.random.default_rng(0).integers(0, 256, (96, 64, 3))
    return Image.fromarray(noisy)


@pytest.fixture(scope="module")
def data(source) -> bytes:
    return saved(source, target_bytes=700)


@pytest.fixture(scope="module")
def deviation(data) -> np.ndarray:
    return uncertainty.spread(io.BytesIO(data), number=4)


@clause("7.2")
def test_it_is_high_where_the_picture_was_invented(data, source, deviation):
    assert deviation.shape == (96, 128) and deviation.dtype == np.float32 and deviation.min() >= 0
    wrong = np.abs(np.asarray(opened(data), float) - np.asarray(source)).mean(axis=2)
    plain, noisy = np.s_[:, :56], np.s_[:, 72:]
    assert deviation[noisy].mean() > 3 * deviation[plain].mean()
    assert wrong[noisy].mean() > 3 * wrong[plain].mean()


def test_the_same_file_gives_the_same_map_and_more_bytes_less_doubt(source, data, deviation):
    assert (uncertainty.spread(io.BytesIO(data), number=4) == deviation).all()
    rich = uncertainty.spread(io.BytesIO(saved(source, target_bytes=6000)), number=4)
    assert rich[:, 72:].mean() < deviation[:, 72:].mean()


def test_one_walk_serves_all_samples(data):
    totals = {}
    for number in (2, 5):
        uncertainty.spread(
            io.BytesIO(data), number=number, progress=lambda done, total: totals.__setitem__(number, (done, total))
        )
    assert totals[2][0] == totals[2][1] and totals[5][0] == totals[5][1]
    assert (totals[5][1] - totals[2][1]) == 3 * 8


def test_truncated_grey_and_bounded(data):
    with pytest.raises(Truncated):
        uncertainty.spread(io.BytesIO(data[:400]))
    part = uncertainty.spread(io.BytesIO(data[:400]), number=2, truncated=True)
    assert part.shape == (96, 128)
    with pytest.raises(TooMuch, match="most_work"):
        uncertainty.spread(io.BytesIO(data), most_work=128 * 96 * 12)
    with pytest.raises(BadInput, match="number 1"):
        uncertainty.spread(io.BytesIO(data), number=1)
    assert uncertainty.spread(io.BytesIO(saved(picture().convert("LA"), quality=5)), number=2).shape == (64, 96)


def test_the_command_writes_a_grey_map(data, deviation, tmp_path, capsys):
    (tmp_path / "x.sdf").write_bytes(data)
    names = [str(tmp_path / n) for n in ("x.sdf", "x.png", "map.png")]
    assert cli.main(["decode", "--uncertainty", names[2], *names[:2]]) == 0
    assert "standard deviation" in capsys.readouterr().err
    with Image.open(names[2]) as map_, Image.open(names[1]) as shown:
        assert (map_.mode, map_.size, shown.size) == ("L", (128, 96), (128, 96))
        grey = np.asarray(map_, float)
    assert abs(grey[:, 72:].mean() / (4 * deviation[:, 72:].mean()) - 1) < 0.2
    assert cli.main(["decode", "--to", str(tmp_path), "--uncertainty", names[2], names[0]]) == 1
