"""The plugin's benchmark, on a picture of no size; what it counts, not how long it takes."""

from __future__ import annotations

from pictures import opened, picture, saved

from sdf_format.bench import plugin


def test_rows_count_what_they_say(tmp_path):
    data = saved(picture(64, 48), quality=20)
    row = plugin.thumbnails("x.png", data, runs=1)
    assert row["size"] == "64x48" and row["full s"] > 0
    assert plugin.damaged(data, lambda image: image.verify()) == plugin.FLIPS
    assert plugin.damaged(data, lambda image: image.size) < plugin.FLIPS

    def fails() -> None:
        raise OSError

    assert plugin.errors_of_threads([fails, opened(data).load, fails]) == 2
    assert plugin.heavy_after("import numpy") == "numpy" and plugin.heavy_after("import pillow_plugin") == "none"
