"""The demo's comparison and the rivals' budgets, with the codecs themselves."""

from __future__ import annotations

import io

import pytest
from command import cells
from pictures import picture
from PIL import Image

from sdf_format.bench import metrics, rivals
from sdf_format.cli import demo
from sdf_format.cli import main as cli
from sdf_format.errors import BadInput


def test_metrics_know_equal_and_different_pictures():
    image = picture(200, 180)
    shifted = image.point(lambda v: min(255, v + 1) if v < 255 else 254)
    assert metrics.psnr(image, image) == float("inf")
    assert metrics.psnr(image, shifted) == pytest.approx(48.13, abs=0.01)  # an error of 1 everywhere
    assert metrics.ms_ssim(image, image) == pytest.approx(1)
    assert metrics.ms_ssim(image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) < 0.9
    assert metrics.ms_ssim(picture(), picture()) is None


@pytest.mark.parametrize("name", rivals.available())
def test_a_rival_takes_the_best_quality_within_its_budget(name):
    image = picture(200, 180)
    found = rivals.fit(name, image, 4000)
    assert found.met and len(found.data) <= 4000
    assert Image.open(io.BytesIO(found.data)).size == image.size
    qualities = rivals.RIVALS[name].qualities
    if found.quality < qualities[-1]:
        assert len(rivals.encode(name, image, found.quality + 1)) > 4000
    smallest = rivals.fit(name, image, 10)
    assert not smallest.met and smallest.quality == qualities[0]


def test_pillows_own_rivals_are_there():
    assert {"JPEG", "WebP", "AVIF"} <= set(rivals.available())


def test_the_demo_writes_a_file_a_picture_and_a_grid(tmp_path, capsys):
    picture(192, 176).save(tmp_path / "my.png")
    arguments = ["--image", str(tmp_path / "my.png"), "--out", str(tmp_path / "out"), "--bpp", "0.2"]
    demo.main(arguments)
    assert (tmp_path / "out" / "photo.sdf").stat().st_size <= 0.2 * 192 * 176 / 8
    assert Image.open(tmp_path / "out" / "photo.png").size == (192, 176)
    panels = 2 + len(rivals.available())
    assert Image.open(tmp_path / "out" / "comparison.png").width == panels * demo.PANEL
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["original", "SDF", "JPEG"]
    with pytest.raises(BadInput, match=r"photo\.sdf is there already: --force"):
        demo.main(arguments)


def test_the_demo_photograph_is_in_the_wheel():
    assert demo.photograph().size == (512, 512)


def test_coders_in_the_whole_codec(tmp_path, capsys):
    path = tmp_path / "one.png"
    picture(176, 176).save(path)
    assert cli.main(["bench", "coders", str(path), "--bpp", "0.1,0.2"]) == 0
    rows = cells(capsys.readouterr().out)
    assert [row[0] for row in rows] == [
        "tree",
        "tree, effort 1",
        "trellis",
        "exact sampling, ideal bits",
        "public rule, simulated",
        "pfr",
    ]
    assert all(len(row[1].split("; ")) == 2 for row in rows)
    assert all(rows[i][1].startswith("387: ") for i in (0, 1, 2, 5))  # what was granted, to the byte
