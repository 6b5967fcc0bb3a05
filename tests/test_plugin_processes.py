"""Threads, processes, leaks and cancellation, as a long-running program meets them."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from pictures import opened, picture, saved
from PIL import Image

import pillow_plugin

STARTS = sorted(set(multiprocessing.get_all_start_methods()))

WORKERS = """
import io, multiprocessing, os, pickle, sys
from PIL import Image

def decoded(image):
    return image.tobytes()

def opened(data):
    import pillow_plugin
    return Image.open(io.BytesIO(data)).tobytes()

if __name__ == "__main__":
    import torch
    import pillow_plugin
    path, starts = sys.argv[1], sys.argv[2:]
    data = open(path, "rb").read()
    torch.set_num_threads(2)
    here = opened(data)                                   # OpenMP has threads now, which a fork does not take along
    for start in starts:
        with multiprocessing.get_context(start).Pool(1) as pool:
            unread = Image.open(path)                     # pickling decodes, unpickling imports the plugin
            # A forkserver's workers import torch anew as spawned ones do: once is enough.
            for work, given in ((decoded, unread), (opened, data))[: 1 if start == "forkserver" else 2]:
                assert pool.apply_async(work, (given,)).get(timeout=120) == here, (start, work)
    print("same pixels")
"""


@pytest.fixture(scope="module")
def data() -> bytes:
    return saved(picture(160, 128), target_bytes=900, preview=40)


def test_workers_of_every_start_method_decode_the_same_pixels(data, tmp_path):
    (tmp_path / "x.sdf").write_bytes(data)
    (tmp_path / "workers.py").write_text(WORKERS)
    command = [
        sys.executable,
        "-W",
        "ignore::DeprecationWarning",
        str(tmp_path / "workers.py"),
        str(tmp_path / "x.sdf"),
        *STARTS,
    ]
    root = str(Path(pillow_plugin.__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "same pixels", done.stderr


def test_an_image_pickled_before_its_load_is_the_picture_with_its_metadata(data):
    image = pickle.loads(pickle.dumps(opened(data)))
    assert (image.mode, image.size, image.tobytes()) == ("RGB", (160, 128), opened(data).tobytes())
    assert "xmp" in image.info


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="counts handles and memory in /proc")
@pytest.mark.parametrize("times", [1000])
def test_a_thousand_opens_leak_no_memory_and_no_handle(data, tmp_path, times):
    path = tmp_path / "x.sdf"
    path.write_bytes(data)

    def once(i: int) -> None:
        with Image.open(path) as image:
            assert image.size == (160, 128) and image.info
            if i % 5 == 0:
                image.thumbnail((20, 20))  # from the preview
            if i % 5 == 1:
                image.verify()
        if i % 5 == 2:
            with open(path, "rb") as stream:
                Image.open(stream).getexif()
        if i % 100 == 0:
            Image.open(path).load()  # closes the file; the others are closed by their blocks

    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        for i in range(100):
            once(i)
        gc.collect()
        before, held = handles(), resident()
        for i in range(times):
            once(i)
        gc.collect()
    assert handles() == before
    assert resident() - held < 8 << 20  # a leak of 3 kB an open, less than the file's own parse, would show


def stop_at(call: int):
    def progress(done: int, total: int) -> None:
        if done == call:
            raise InterruptedError("the user closed the window")

    return progress


@pytest.mark.parametrize("call", [0, 3])
def test_cancelling_a_load_from_the_progress_callback_leaves_nothing_broken(data, tmp_path, call):
    path = tmp_path / "x.sdf"
    path.write_bytes(data)
    whole = opened(data).tobytes()
    try:
        pillow_plugin.register_sdf_opener(progress=stop_at(call))
        with Image.open(path) as image:
            for _ in range(2):
                with pytest.raises(InterruptedError, match="closed the window"):
                    image.load()
            image.info["kept"] = "yes"
            pillow_plugin.register_sdf_opener()
            assert image.tobytes() == whole  # the same image, loaded after all
            assert image.fp is None and image.info["kept"] == "yes"
    finally:
        pillow_plugin.register_sdf_opener()
    assert opened(data).tobytes() == whole


def test_cancelling_in_one_thread_does_not_disturb_the_others(data):
    whole, results = opened(data).tobytes(), []
    mine = threading.local()

    def progress(done: int, total: int) -> None:
        if getattr(mine, "stop", False) and done == 2:
            raise InterruptedError

    def work(stop: bool) -> None:
        mine.stop = stop
        try:
            results.append(opened(data).tobytes() == whole)
        except InterruptedError:
            results.append("stopped")

    pillow_plugin.register_sdf_opener(progress=progress)
    try:
        threads = [threading.Thread(target=work, args=(i % 2 == 0,)) for i in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        pillow_plugin.register_sdf_opener()
    assert sorted(map(str, results)) == ["True"] * 3 + ["stopped"] * 3


def test_cancelling_a_save_leaves_an_older_file_as_pillow_leaves_it(tmp_path):
    """Nothing is written before everything is encoded; a file object keeps what it had."""
    with open(tmp_path / "x.bin", "w+b") as stream:
        stream.write(b"before")
        with pytest.raises(InterruptedError):
            picture().save(stream, "SDF", quality=20, progress=stop_at(2))
        stream.seek(0)
        assert stream.read() == b"before"
