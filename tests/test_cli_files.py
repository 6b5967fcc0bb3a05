"""`sdf` and its files: what it replaces, what errors and interruptions leave, what one bad file costs the others."""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command import sdf
from pictures import opened, picture, saved
from PIL import Image

from sdf_format.container import chunks
from sdf_format.inspect import conformance

CPU = ("--device", "cpu")


def attentive() -> None:
    """In a child: Ctrl-C is heard, though the tests themselves may run in the background, where it is not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def small() -> bytes:
    return saved(picture(32, 24), quality=5, device="cpu")


@pytest.fixture(scope="module")
def clear() -> bytes:
    """A file with alpha."""
    image = picture(32, 24).convert("RGBA")
    image.putalpha(200)
    return saved(image, quality=5, device="cpu")


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- what nobody named as output is never replaced


def test_a_glob_of_two_pictures_destroys_neither(here):
    picture(32, 24).save("a.png")
    picture(32, 24, seed=1).save("b.png")
    before = tree(here)
    done = sdf("encode", "a.png", "b.png", *CPU)
    assert done.status == 1 and ".sdf" in done.said and tree(here) == before
    assert sdf("encode", "a.png", "b.png", "--force", *CPU).status == 1 and tree(here) == before
    assert sdf("encode", "a.png", "new.png", *CPU).status == 1 and tree(here) == before


def test_a_glob_of_two_sdf_files_destroys_neither(here, small, clear):
    put(here / "a.sdf", small)
    put(here / "b.sdf", clear)
    before = tree(here)
    for command in ("decode", "thumbnail"):
        assert sdf(command, "a.sdf", "b.sdf").status == 1 and tree(here) == before
        assert sdf(command, "a.sdf", "b.sdf", "--force").status == 1 and tree(here) == before
        assert sdf(command, "a.sdf", "new.sdf").status == 1 and tree(here) == before


@pytest.mark.parametrize(
    ("command", "target"),
    [
        (["encode", "x.png", "keep.sdf", "--quality", "5", *CPU], "keep.sdf"),
        (["decode", "x.sdf", "keep.png", *CPU], "keep.png"),
        (["decode", "x.sdf", "new.png", "--uncertainty", "keep.png", *CPU], "keep.png"),
        (["decode", "--to", "out", "x.sdf", *CPU], "out/x.png"),
        (["thumbnail", "x.sdf", "keep.png", "--size", "8"], "keep.png"),
    ],
)
def test_what_is_there_stays_without_force_and_goes_with_it(here, small, command, target):
    picture(32, 24).save("x.png")
    put(here / "x.sdf", small)
    put(here / target, b"precious")
    before = tree(here)
    done = sdf(*command)
    assert done.status == 1 and "--force" in done.said and target in done.said
    assert tree(here) == before
    assert sdf(*command, "--force").status == 0
    assert (here / target).read_bytes() not in (b"", b"precious")


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_an_input_is_never_an_output_whatever_its_name(here, small, link):
    put(here / "x.sdf", small)
    picture(32, 24).save("x.png")
    link(here / "x.sdf", here / "y.png")
    link(here / "x.png", here / "z.sdf")
    before = tree(here)
    for command in (
        ["decode", "x.sdf", "y.png"],
        ["encode", "x.png", "z.sdf"],
        ["encode", "x.sdf", "x.sdf"],
        ["thumbnail", "x.sdf", "y.png"],
    ):
        done = sdf(*command, "--force")
        assert done.status == 1 and "input" in done.said and tree(here) == before
    assert sdf("decode", "x.sdf", "new.png", "--uncertainty", "new.png").status == 1 and tree(here) == before
    assert sdf("decode", "--to", ".", "--type", "sdf", "--force", "x.sdf").status == 1 and tree(here) == before


# --- what fails leaves what was there


@pytest.mark.parametrize(
    "wrong", [["--quality", "0"], ["--target-bytes", "3"], ["--model", "nosuch"], ["--preview", "5000"]]
)
def test_an_encode_that_fails_leaves_the_old_file(here, wrong):
    picture(32, 24).save("x.png")
    put(here / "keep.sdf", b"precious")
    before = tree(here)
    assert sdf("encode", "x.png", "keep.sdf", "--force", *wrong, *CPU).status != 0
    assert tree(here) == before


@pytest.mark.parametrize(
    "command",
    [
        ["encode", "x.png", "keep.sdf", "--quality", "90"],
        ["decode", "x.sdf", "keep.png"],
        ["thumbnail", "x.sdf", "keep.png"],
    ],
)
def test_a_full_disk_leaves_the_old_file_and_nothing_else(here, small, command):
    picture(32, 24).save("x.png")
    put(here / "x.sdf", small)
    put(here / command[2], b"precious")
    before = tree(here)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, limits[1]))
    try:
        done = sdf(*command, "--force")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert done.status == 1 and done.said.count("\n") == 1 and command[2] in done.said
    assert tree(here) == before


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_the_old_file_says_one_line_and_leaves_no_other(here, number, status):
    picture(640, 480).save("x.png")
    put(here / "keep.sdf", b"precious")
    before = tree(here)
    running = subprocess.Popen(
        [sys.executable, "-m", "sdf_format.cli", "encode", "x.png", "keep.sdf", "--force", "--quality", "90", *CPU],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=attentive,
    )
    maps = Path(f"/proc/{running.pid}/maps")
    deadline = time.monotonic() + 120
    while "libtorch" not in maps.read_text():
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.05)
    running.send_signal(number)
    out, err = running.communicate(timeout=120)
    assert running.returncode == status
    assert err.decode().startswith("sdf encode: ") and err.count(b"\n") == 1 and out == b""
    assert tree(here) == before


@pytest.mark.parametrize("handler", ["default_int_handler", "SIG_IGN"])
def test_ctrl_c_while_the_command_is_being_imported_prints_no_traceback(handler):
    program = (
        "import os, runpy, signal, sys\n"
        f"signal.signal(signal.SIGINT, signal.{handler})\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'sdf_format.cli.encode':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "sys.argv = ['sdf', '--version']\n"
        "runpy.run_module('sdf_format.cli', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120, check=False)
    assert done.stderr == b""
    assert done.returncode == (0 if handler == "SIG_IGN" else -signal.SIGINT)


def test_mode_and_symbolic_links_of_a_replaced_file_stay(here, small):
    put(here / "x.sdf", small)
    put(here / "real" / "old.png", b"precious").chmod(0o640)
    os.symlink("real/old.png", "link.png")
    assert sdf("decode", "x.sdf", "link.png", "--force", *CPU).status == 0
    assert os.path.islink("link.png")
    assert (here / "real" / "old.png").stat().st_mode & 0o777 == 0o640
    assert Image.open(here / "real" / "old.png").size == (32, 24)
    assert {p.name for p in here.rglob("*")} == {"x.sdf", "real", "old.png", "link.png"}


# --- several files


def test_colliding_names_are_said_and_cost_no_other_file(here, small, clear):
    put(here / "mon" / "cover.sdf", small)
    put(here / "tue" / "cover.sdf", clear)
    put(here / "other.sdf", small)
    done = sdf("decode", "--to", "out", "mon/cover.sdf", "tue/cover.sdf", "other.sdf", *CPU)
    assert done.status == 1 and "mon/cover.sdf" in done.said and "tue/cover.sdf" in done.said
    assert [p.name for p in (here / "out").iterdir()] == ["other.png"]
    assert sdf("decode", "--to", "out", "mon/cover.sdf", "mon/cover.sdf", "--force", *CPU).status == 1


def test_one_bad_file_loses_no_other(here, small, clear):
    put(here / "a.sdf", small)
    put(here / "clear.sdf", clear)
    put(here / "broken.sdf", small[:-9] + b"x" + small[-8:])
    put(here / "z.sdf", small)
    done = sdf(
        "decode", "--to", "out", "--type", "jpg", "a.sdf", "missing.sdf", "clear.sdf", "broken.sdf", ".", "z.sdf", *CPU
    )
    assert done.status == 1 and sorted(p.name for p in (here / "out").iterdir()) == ["a.jpg", "z.jpg"]
    said = done.said.splitlines()
    for name, why in (
        ("missing.sdf", "No such file"),
        ("clear.sdf", "RGBA"),
        ("broken.sdf", "CRC"),
        (".", "directory"),
    ):
        assert any(line.startswith(f"sdf decode: {name}: ") and why in line for line in said), (name, said)


@pytest.mark.parametrize("command", ["info", "dump", "verify"])
def test_a_missing_file_does_not_end_the_others(here, small, command):
    put(here / "a.sdf", small)
    put(here / "b.sdf", small)
    done = sdf(command, "a.sdf", "missing.sdf", "b.sdf")
    assert done.status == 1 and "a.sdf" in done.text and "b.sdf" in done.text
    assert done.said.startswith(f"sdf {command}: missing.sdf: ") and done.said.count("\n") == 1


def test_info_as_json_has_a_line_for_every_file(here, small):
    put(here / "a.sdf", small)
    done = sdf("info", "--json", "missing.sdf", "a.sdf")
    lines = [json.loads(line) for line in done.text.splitlines()]
    assert [(line["file"], line["valid"]) for line in lines] == [("missing.sdf", False), ("a.sdf", True)]


# --- a wrong target is found before the model runs: this file's model is not here, and that is never noticed


@pytest.fixture(scope="module")
def unmodelled() -> bytes:
    """A file with alpha whose weights are nowhere."""
    suite = conformance.SUITE
    name = next(e["file"] for e in conformance.manifest(suite)["refused"] if e["error"] == "missing-model")
    return (suite / name).read_bytes()


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("out.xyz", [], "xyz"),
        ("out", [], "ending"),
        ("none/out.png", [], "none"),
        ("folder.png", [], "directory"),
        ("out.wav", [], ".wav"),
        ("out.png", ["--uncertainty", "map.xyz"], "xyz"),
        ("out.png", ["--uncertainty", "none/map.png"], "none"),
    ],
)
def test_a_wrong_target_is_found_before_the_model(here, unmodelled, target, options, said):
    put(here / "x.sdf", unmodelled)
    (here / "folder.png").mkdir()
    assert sdf("decode", "x.sdf", "good.png").status == 4
    done = sdf("decode", "x.sdf", target, *options)
    assert done.status == 1 and said in done.said


def test_a_mode_that_the_format_does_not_take_is_found_before_the_model(here):
    image = picture(32, 24).convert("RGBA")
    image.putalpha(200)
    data = bytearray(saved(image, quality=5, device="cpu"))
    put(here / "x.sdf", bytes(data))
    done = sdf("decode", "x.sdf", "x.jpg", "--device", "nosuch")
    assert done.status == 1 and "RGBA" in done.said and "nosuch" not in done.said
    assert "nosuch" in sdf("decode", "x.sdf", "x.png", "--device", "nosuch").said


def test_encode_looks_at_its_target_before_the_model(here):
    picture(32, 24).save("x.png")
    for target, said in (("none/x.sdf", "none"), ("x.webp", ".sdf"), (".sdf", "sdf")):
        (here / ".sdf").mkdir(exist_ok=True)
        done = sdf("encode", "x.png", target, "--device", "nosuch")
        assert done.status == 1 and said in done.said and "nosuch" not in done.said


@pytest.mark.parametrize("kind", ["jpg", ".jpg", "JPG"])
def test_the_type_may_be_spelled_with_its_dot(here, small, kind):
    put(here / "a.sdf", small)
    assert sdf("decode", "--to", "out", "--type", kind, "a.sdf", *CPU).status == 0
    assert [p.name.lower() for p in (here / "out").iterdir()] == ["a.jpg"]
    assert sdf("decode", "--to", "out", "--type", "xyz", "a.sdf", "--device", "nosuch").said.count("nosuch") == 0


# --- an SDF file is not coded again unless that is asked for


def test_sdf_to_sdf_copies_and_codes_again_only_when_asked(here, small):
    put(here / "a.sdf", small)
    assert sdf("encode", "a.sdf", "b.sdf", "--device", "nosuch").status == 0
    assert (here / "b.sdf").read_bytes() == small
    assert sdf("encode", "a.sdf", "c.sdf", "--quality", "1", *CPU).status == 0
    assert (here / "c.sdf").read_bytes() != small and opened((here / "c.sdf").read_bytes()).size == (32, 24)
    put(here / "bad.sdf", small[:-9] + b"x" + small[-8:])
    assert sdf("encode", "bad.sdf", "d.sdf").status == 1 and not (here / "d.sdf").exists()


def test_a_preview_is_added_without_coding_again(here):
    data = saved(picture(64, 48), quality=5, device="cpu", comment="kept")
    put(here / "a.sdf", data)
    assert sdf("encode", "a.sdf", "b.sdf", "--preview", "16", *CPU).status == 0
    made = (here / "b.sdf").read_bytes()
    payloads = [chunks.read(s, chunks.scan(s).find(b"D")) for s in map(io.BytesIO, (data, made))]
    assert (
        payloads[0] == payloads[1] and opened(made).preview.size == (16, 12) and opened(made).info["comment"] == b"kept"
    )
    assert (np.asarray(opened(made)) == np.asarray(opened(data))).all()
