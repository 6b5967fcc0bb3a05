"""Several files decoded together against the same files one by one (§9), whatever they have in common."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
import torch
from pictures import picture, saved
from pipelines import save

from sdf_format import batch, codec
from sdf_format.container import parameters
from sdf_format.errors import BadFile, MissingModel
from sdf_format.models import loading
from sdf_format.payloads import diffc

clause = pytest.mark.clause
RMS, PEAK = 1.5, 40  # §9


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setattr(loading, "_loaded", {})
    monkeypatch.setattr(loading, "_folders", [])
    monkeypatch.delenv("SDF_MODEL_DIR", raising=False)


@pytest.fixture
def displacements(monkeypatch) -> list[bytes]:
    """The z of every step that any decoder makes."""
    seen: list[bytes] = []
    coder = diffc.CODERS[parameters.TRELLIS]
    lock = threading.Lock()

    class Watched:
        send, capacity = coder.send, coder.capacity

        @staticmethod
        def receive(bits, dimensions, coder_bits, seed, step):
            z = coder.receive(bits, dimensions, coder_bits, seed, step)
            with lock:
                seen.append(bytes([step]) + z.numpy().tobytes())
            return z

    monkeypatch.setitem(diffc.CODERS, parameters.TRELLIS, Watched)
    return seen


def close(one, other) -> bool:
    difference = np.asarray(one, float) - np.asarray(other, float)
    return bool(np.sqrt(np.mean(difference**2)) <= RMS and np.abs(difference).max() <= PEAK)


@clause("9", "6.2")
@pytest.mark.parametrize("kind", ["epsilon", "sdxl", "flux", "sd3", "z_image", "flux2"])
def test_files_together_are_files_one_by_one(kind, tmp_path, displacements):
    """Files of different sizes, lengths and levels: the same z at every step, and pixels within the tolerance."""
    folder = str(save(kind, tmp_path / kind))
    files = [
        saved(picture(w, h, seed=i), model=folder, target_bytes=n, denoiser=("flow", 1 + i), device="cpu")
        for i, (w, h, n) in enumerate([(40, 24, 140), (24, 24, 160), (40, 24, 200)])
    ]
    displacements.clear()
    alone = [codec.decode_bytes(data, device="cpu") for data in files]
    apart = sorted(displacements)
    displacements.clear()
    calls = []
    loaded = loading.load(loading.find(folder), "cpu")
    forward = loaded.forward
    loaded.forward = lambda net, z, *rest: calls.append(len(z)) or forward(net, z, *rest)
    together = batch.decode_many([io.BytesIO(data) for data in files], at_once=3, device="cpu")
    loaded.forward = forward
    assert sorted(displacements) == apart
    assert max(calls) >= 2
    assert all(close(pixels, expected[0]) for (pixels, _), expected in zip(together, alone))
    again = batch.decode_many([io.BytesIO(data) for data in files], at_once=3, device="cpu")
    assert all((a[0] == b[0]).all() for a, b in zip(together, again))


@clause("8")
def test_an_error_is_that_of_its_file(tmp_path):
    image = picture(40, 24)
    folder = save("epsilon", tmp_path / "here")
    good = saved(image, model=str(folder), target_bytes=160, device="cpu")
    grey = saved(image.convert("LA"), target_bytes=200, device="cpu")
    strange = saved(image, model=str(save("sd3", tmp_path / "gone")), target_bytes=160, device="cpu")
    (tmp_path / "gone").rename(tmp_path / "elsewhere")
    found = batch.decode_many(
        [io.BytesIO(d) for d in (good, b"GIF89a", good[:-1] + b"?", strange, grey, good)], at_once=2, device="cpu"
    )
    kinds_of = [BadFile, BadFile, MissingModel]
    assert [type(e) for e in found[1:4]] == kinds_of
    assert (found[0][0] == found[5][0]).all() and found[0][1] is None
    assert found[4][0].shape == (24, 40) and (found[4][1] == 255).all()


def test_whoever_asks_for_progress_can_end_it(tmp_path):
    folder = str(save("v_prediction", tmp_path / "v"))
    data = saved(picture(40, 24), model=folder, target_bytes=160, device="cpu")
    seen = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch.decode_many([io.BytesIO(data)] * 8, at_once=2, device="cpu", progress=progress)
    assert seen[:2] == [(1, 8), (2, 8)] and len(seen) < 8
    assert batch.decode_many([]) == []


def test_a_device_that_is_full_gets_fewer_at_a_time(tmp_path, monkeypatch):
    folder = str(save("epsilon", tmp_path / "full"))
    loaded = loading.load(loading.find(folder), "cpu")
    forward, sizes = loaded.forward, []

    def small(net, z, *rest):
        sizes.append(len(z))
        if len(z) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(net, z, *rest)

    monkeypatch.setattr(loaded, "forward", small)
    y = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    seven = loaded.together([(loaded, y, 1.0 + i) for i in range(7)])
    assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1] or (sizes[0] == 7 and max(sizes[-3:]) <= 2)
    assert all(torch.allclose(a, loaded.predict(y, 1.0 + i), atol=1e-4) for i, a in enumerate(seven))
    loaded.forward = lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(OSError, match="does not fit into the memory of cpu; SDF_OFFLOAD=1"):
        loaded.predict(y, 1.0)


@clause("4.4", "9")
def test_tiles_together_are_tiles_one_by_one(tmp_path):
    loaded = loading.load(loading.find(save("epsilon", tmp_path / "tiles")), "cpu")
    y = torch.randn(1, 4, 40, 40, generator=torch.Generator().manual_seed(0))
    one = loaded.predict(y, 1.0)
    loaded.at_once = 4
    forward, sizes = loaded.forward, []
    loaded.forward = lambda net, z, *rest: sizes.append(len(z)) or forward(net, z, *rest)
    assert torch.allclose(loaded.predict(y, 1.0), one, atol=1e-4)
    assert max(sizes) == 4 and sum(sizes) == 9


def test_the_command_line_decodes_several(tmp_path, capsys):
    from PIL import Image

    from sdf_format.cli import main as cli

    for name, mode in (("one", "RGB"), ("two", "LA")):
        (tmp_path / f"{name}.sdf").write_bytes(saved(picture(40, 24).convert(mode), target_bytes=200, device="cpu"))
    (tmp_path / "bad.sdf").write_bytes(b"GIF89a")
    files = [str(tmp_path / f"{name}.sdf") for name in ("one", "bad", "two")]
    assert cli.main(["decode", "--to", str(tmp_path / "out"), "--device", "cpu", *files]) == 1
    assert "bad.sdf: §3.1" in capsys.readouterr().err
    assert [Image.open(tmp_path / "out" / f"{name}.png").mode for name in ("one", "two")] == ["RGB", "LA"]
    assert cli.main(["decode", files[0], str(tmp_path / "one.png"), "--device", "cpu"]) == 0
    assert (np.asarray(Image.open(tmp_path / "one.png")) == np.asarray(Image.open(tmp_path / "out" / "one.png"))).all()
    assert cli.main(["decode", files[0]]) == 1 and "--to" in capsys.readouterr().err
