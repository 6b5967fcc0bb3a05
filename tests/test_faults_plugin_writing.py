"""Saving loses nothing: in-place edits, second generations, targets of every sort, two that write at once."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import pickle
import resource
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
from chunk_pieces import bodies, joined, split
from pictures import opened, picture, saved
from PIL import Image

import pillow_plugin
from sdf_format.errors import BadInput, SdfError

ROOT = str(Path(pillow_plugin.__file__).parent.parent)
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))}


@pytest.fixture(scope="module")
def data() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "harbour"
    return saved(picture(), quality=10, exif=exif, preview=32, text={"Title": "Hafen"})


@pytest.fixture
def path(data, tmp_path) -> Path:
    path = tmp_path / "e.sdf"
    path.write_bytes(data)
    return path


def payload(file: Path | bytes) -> bytes:
    return bodies(file if isinstance(file, bytes) else file.read_bytes())["D"][0]


@contextlib.contextmanager
def small_disk(size: int):
    """As a disk with room for `size` bytes a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


# --- in-place edits


def test_an_edit_in_place_on_a_full_disk_leaves_the_old_file(path, data):
    with Image.open(path) as image:
        for target, options in ((path, {"comment": "x" * 50 + "yz" * 50}), (path.parent / "new.sdf", {})):
            with pytest.raises(OSError, match="too large"), small_disk(100):
                image.save(target, **options)
            assert path.read_bytes() == data and os.listdir(path.parent) == ["e.sdf"]


def test_an_edit_in_place_keeps_mode_and_links(path):
    path.chmod(0o640)
    (path.parent / "link.sdf").symlink_to("e.sdf")
    with Image.open(path.parent / "link.sdf") as image:
        image.save(path.parent / "link.sdf", comment="new")
    assert (path.parent / "link.sdf").is_symlink() and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert opened(path.read_bytes()).text["Comment"] == "new"


def test_edits_in_place_one_after_another_never_code_the_picture_again(path, data):
    with Image.open(path) as image:
        for comment in ("one", "two", "a rather longer comment than the ones before, so that every offset moves"):
            image.save(path, comment=comment)
            assert payload(path) == payload(data) and opened(path.read_bytes()).info["comment"] == comment.encode()
        image.load()
        image.save(path, comment="after loading")
    assert payload(path) == payload(data) and opened(path.read_bytes()).text == {
        "Title": "Hafen",
        "Comment": "after loading",
    }


@pytest.mark.parametrize("make", [io.BytesIO, tempfile.TemporaryFile], ids=["memory", "file"])
def test_an_edit_of_the_very_stream_that_an_image_was_opened_from(data, make):
    stream = make()
    stream.seek(0)
    stream.write(data)
    stream.seek(0)
    image = Image.open(stream)
    for comment in ("one" * 20, "two"):
        stream.seek(0)
        image.save(stream, "SDF", comment=comment)
        stream.truncate()
        stream.seek(0)
        again = stream.read()
        assert payload(again) == payload(data) and opened(again).info["comment"] == comment.encode()
    assert image.tobytes() == opened(data).tobytes()


def test_a_file_that_changed_since_it_was_opened_is_noticed(path, data):
    other = saved(picture(48, 80, seed=3), quality=5)
    for use in (
        lambda image: image.load(),
        lambda image: image.save(path.parent / "copy.sdf"),
        lambda image: image.thumbnail((20, 20)),
        lambda image: image.preview,
        lambda image: image.verify(),
    ):
        path.write_bytes(data)
        with Image.open(path) as image:
            path.write_bytes(other)  # in place, by another program
            with pytest.raises(OSError, match="changed since it was opened"):
                use(image)
    assert not (path.parent / "copy.sdf").exists()


def test_a_file_whose_metadata_changed_is_read_again(path, data):
    with Image.open(path) as image:
        assert image.text == {"Title": "Hafen"}
        with Image.open(path) as second:
            edited = saved(second, comment="by another program, in place, so that offsets move")
        path.write_bytes(edited)
        image.save(path.parent / "copy.sdf")
        assert payload(path.parent / "copy.sdf") == payload(data)
        assert (np.asarray(image) == np.asarray(opened(data))).all()


# --- second generations


def loaded(data: bytes) -> Image.Image:
    image = opened(data)
    image.load()
    return image


@pytest.mark.parametrize(
    "how",
    [
        loaded,
        lambda data: pickle.loads(pickle.dumps(opened(data))),
        lambda data: copy.deepcopy(loaded(data)),
        lambda data: pickle.loads(pickle.dumps(loaded(data))),
    ],
    ids=["loaded", "pickled", "deep copy", "loaded and pickled"],
)
def test_an_unchanged_picture_is_never_coded_a_second_time(data, how):
    assert saved(how(data)) == data
    assert payload(saved(how(data), comment="new", optimize=True, save_all=True, device="cpu")) == payload(data)


def test_a_changed_picture_is_coded_and_so_is_one_that_is_asked_for():
    small = saved(picture(24, 16), quality=1)
    kept = loaded(small)
    for change in (
        lambda i: i.putpixel((3, 3), (255, 0, 0)),
        lambda i: i.thumbnail((12, 12)),
        lambda i: i.putalpha(200),
        lambda i: i.load().__setitem__((0, 0), (1, 2, 3)),
    ):
        image = copy.deepcopy(kept)
        change(image)
        again = saved(image)
        assert (
            payload(again) != payload(small) and opened(again).size == image.size and opened(again).mode == image.mode
        )
    assert payload(saved(kept, quality=2)) != payload(small)


def test_a_preview_can_be_added_changed_and_dropped_without_coding_again(data):
    for start in (opened, loaded):
        bigger = saved(start(data), preview=48)
        assert payload(bigger) == payload(data) and opened(bigger).preview.size == (48, 32)
        none = saved(start(data), preview=False)
        assert payload(none) == payload(data) and opened(none).preview is None
        assert opened(saved(start(none), preview=True)).preview.size == (48, 32)
        assert opened(saved(start(data), comment="x")).preview.size == (32, 21)


def test_unknown_chunks_survive_a_copy_of_a_loaded_picture(data):
    *others, last = split(data)
    unknown = joined(data, [*others, (b"q", b"of tomorrow"), last])
    assert saved(loaded(unknown)) == unknown and bodies(saved(loaded(unknown), comment="new"))["q"] == [b"of tomorrow"]


# --- save_atomic


def test_save_atomic_saves_as_save_does(tmp_path, data):
    for image in (picture(32, 32), opened(data), loaded(data)):
        pillow_plugin.save_atomic(image, tmp_path / "x.sdf", **({"quality": 5} if image.format is None else {}))
        assert (tmp_path / "x.sdf").read_bytes() == saved(image, **({"quality": 5} if image.format is None else {}))
    for name, kind in (
        ("x.png", "PNG"),
        ("x.jpg", "JPEG"),
        ("x.tif", "TIFF"),
        ("X.GIF", "GIF"),
        ("name-without-ending", "PNG"),
    ):
        pillow_plugin.save_atomic(picture(32, 32), str(tmp_path / name), **({} if "." in name else {"format": kind}))
        with Image.open(tmp_path / name) as image:
            assert image.format == kind
    with pytest.raises(ValueError, match="unknown file extension"):
        pillow_plugin.save_atomic(picture(32, 32), tmp_path / "x.nothing")
    pillow_plugin.save_atomic(picture(32, 32), os.fsencode(tmp_path / "bytes.png"))
    assert sorted(os.listdir(tmp_path)) == [
        "X.GIF",
        "bytes.png",
        "name-without-ending",
        "x.jpg",
        "x.png",
        "x.sdf",
        "x.tif",
    ]


def test_save_atomic_that_fails_leaves_the_old_file(path, data):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    for options, reason in (
        ({"quality": 0}, BadInput),
        ({"quality": 5, "progress": stop}, KeyboardInterrupt),
        ({"target_bytes": 3}, BadInput),
    ):
        with pytest.raises(reason):
            pillow_plugin.save_atomic(picture(32, 32), path, **options)
    with pytest.raises(OSError, match="too large"), small_disk(20):
        pillow_plugin.save_atomic(picture(32, 32), path, quality=5)
    assert path.read_bytes() == data and os.listdir(path.parent) == ["e.sdf"]


def test_save_atomic_says_before_any_model_runs_that_a_target_cannot_be(tmp_path):
    def never(done: int, total: int) -> None:
        raise AssertionError("the model ran")

    with pytest.raises(FileNotFoundError):
        pillow_plugin.save_atomic(picture(32, 32), tmp_path / "nowhere" / "x.sdf", progress=never)


# --- targets


@pytest.fixture(params=["opened", "loaded"])
def image(request, data) -> Image.Image:
    return opened(data) if request.param == "opened" else loaded(data)


@pytest.mark.parametrize("target", ["PNG", "SDF"])
def test_files_whose_name_is_a_number(image, target):
    with tempfile.TemporaryFile() as stream:
        image.save(stream, target)
        stream.seek(0)
        assert Image.open(stream).format == target
    with tempfile.SpooledTemporaryFile(max_size=10) as spooled:
        spooled.write(bytes(20))  # on disk now
        spooled.seek(0)
        image.save(spooled, target)
        spooled.seek(0)
        assert Image.open(io.BytesIO(spooled.read())).format == target


@pytest.mark.parametrize("target", ["PNG", "SDF"])
def test_pipes_and_sockets(image, target):
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        image.save(child.stdin, target)
        child.stdin.close()
        assert Image.open(io.BytesIO(child.stdout.read())).format == target
    one, other = socket.socketpair()
    with one, other:
        with one.makefile("wb") as stream:
            image.save(stream, target)
        one.shutdown(socket.SHUT_WR)
        with other.makefile("rb") as stream:
            assert Image.open(io.BytesIO(stream.read())).format == target


def test_standard_output(path, data):
    for load in ("", "image.load(); "):
        code = (
            f"import sys, pillow_plugin; from PIL import Image; image = Image.open({str(path)!r}); "
            f"{load}image.save(sys.stdout, 'SDF')"
        )
        assert (
            subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, env=ENVIRONMENT).stdout
            == data
        )


def test_objects_that_can_only_write(image, data):
    class Sink:
        written = b""

        def write(self, piece: bytes) -> int:
            Sink.written += bytes(piece)
            return len(piece)

    image.save(Sink(), "SDF")
    assert Sink.written == data
    Sink.written = b""
    picture(16, 16).save(Sink(), "SDF", quality=1)
    assert opened(Sink.written).size == (16, 16)


# --- two at once

TWO = """
    import sys, time
    import pillow_plugin
    from PIL import Image

    def wait(done, total):
        if done == 0:
            print("begun", flush=True)
            sys.stdin.readline()

    side, target = int(sys.argv[1]), sys.argv[2]
    Image.radial_gradient("L").resize((side, side)).save(target, quality=5, progress=wait)
"""


def test_the_later_of_two_processes_that_save_to_one_name_leaves_a_whole_file(tmp_path):
    target = tmp_path / "x.sdf"
    start = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(TWO), side, str(target)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        for side in ("128", "16")
    ]
    try:
        for child in start:
            assert child.stdout.readline() == b"begun\n"  # Pillow has emptied the file for both
        for child in start:  # the longer file first
            child.communicate(b"\n", timeout=120)
            assert child.returncode == 0
    finally:
        for child in start:
            child.kill()
    with Image.open(target) as image:
        assert image.size == (16, 16)
        image.verify()


def test_bytes_that_a_file_object_had_are_not_cut_off(tmp_path):
    """A file object of the caller's own keeps what lies around the picture."""
    path = tmp_path / "container"
    path.write_bytes(b"before" + bytes(5000) + b"behind")
    with path.open("r+b") as stream:
        stream.seek(6)
        picture(16, 16).save(stream, "SDF", quality=1)
    assert path.read_bytes().startswith(b"before\x89SDF") and path.read_bytes().endswith(b"behind")
    with path.open("r+b") as stream:
        picture(16, 16).save(stream, "SDF", quality=1)
    assert path.read_bytes().startswith(b"\x89SDF") and path.read_bytes().endswith(b"behind")


def test_a_damaged_picture_is_not_copied_and_says_why(data):
    for damaged in (data[:-9], data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]):
        with pytest.raises(SdfError):
            saved(opened(damaged))
