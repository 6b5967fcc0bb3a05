"""`sdf` in a pipe and on a terminal: `-`, closed pipes, odd names, odd encodings, escape sequences, wrong options."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from command import sdf
from pictures import opened, picture, saved
from PIL import Image

import sdf_format
from sdf_format.container import chunks, metadata, parameters

CPU = ("--device", "cpu")
NAME = os.fsdecode(b"caf\xe9.sdf")  # no UTF-8
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.\r\nvalid\x7f"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def small() -> bytes:
    return saved(picture(32, 24), quality=5, device="cpu")


def ran(command: str, here: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A shell's command line; `sdf` in it is ours."""
    whole = f'sdf() {{ "{sys.executable}" -m sdf_format.cli "$@"; }}\n{command}'
    return subprocess.run(
        ["bash", "-c", whole], cwd=here, capture_output=True, check=False, env={**os.environ, **environment}
    )


# --- first things


def test_version_and_help_need_nothing_heavy():
    assert sdf("--version").text == f"sdf {sdf_format.__version__}\n"
    code = (
        "import sys\nfrom sdf_format.cli.main import main\n"
        "for arguments in (['--help'], ['--version'], ['encode', '--help'], ['bench', '--help']):\n"
        "    try: main(arguments)\n    except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'numpy', 'PIL', 'tqdm', 'tabulate'} & set(sys.modules), set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).stderr == b""


def test_help_of_encode_says_first_what_most_people_want():
    text = sdf("encode", "--help").text
    places = [
        text.index(f"\n  {word}")
        for word in (
            "image",
            "--force",
            "--quality",
            "--target-bytes",
            "--preview",
            "--strip",
            "--model",
            "--prompt",
            "--colours",
            "--coder",
            "--effort",
        )
    ]
    assert places == sorted(places)
    groups = [line[:-1] for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert len(groups) >= 5


# --- pipes


def test_a_pipe_goes_all_the_way(here):
    buffer = io.BytesIO()
    picture(32, 24).save(buffer, "PNG")
    done = sdf("encode", "-", "-", "--quality", "5", *CPU, stdin=buffer.getvalue())
    assert done.status == 0 and opened(done.data).size == (32, 24) and done.said.startswith("sdf encode: <stdout>: ")
    for kind, name in (([], "PNG"), (["--type", "jpg"], "JPEG"), (["--type", ".webp"], "WEBP")):
        back = sdf("decode", "-", "-", *kind, *CPU, stdin=done.data)
        assert back.status == 0
        with Image.open(io.BytesIO(back.data)) as image:
            assert (image.format, image.size) == (name, (32, 24))
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("command", ["info", "verify", "dump"])
def test_standard_input_is_a_file_like_any(here, small, command):
    done = sdf(command, "-", stdin=small)
    assert done.status == 0 and done.said == ""
    Path("x.sdf").write_bytes(small)
    assert done.text.replace("<stdin>", "x.sdf") == sdf(command, "x.sdf").text
    assert sdf(command, "-", stdin=b"GIF89a").status == (0 if command == "dump" else 1)


def test_pipes_with_names_work_too(here, small):
    Path("x.sdf").write_bytes(small)
    done = ran("cat x.sdf | sdf verify /dev/stdin", here)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"/dev/stdin: ok\n", b"")
    done = ran("sdf decode <(cat x.sdf) /dev/stdout --device cpu | cat", here)
    with Image.open(io.BytesIO(done.stdout)) as image:
        assert image.size == (32, 24) and done.stderr == b""


def test_a_picture_is_not_poured_onto_a_terminal(here, small):
    Path("x.sdf").write_bytes(small)
    done = sdf("decode", "x.sdf", "-", "--device", "nosuch", terminal=True)
    assert done.status == 1 and done.data == b"" and "terminal" in done.said


def test_what_is_no_picture_on_standard_input_is_said(here):
    done = sdf("encode", "-", "x.sdf", stdin=b"nothing")
    assert done.status == 1 and "stdin" in done.said and not list(here.iterdir())
    assert sdf("decode", "-", "x.png", stdin=b"").status == 1


def test_a_closed_pipe_is_no_error_of_ours(here, small):
    Path("x.sdf").write_bytes(small)
    done = ran("sdf dump --all " + "x.sdf " * 400 + "| head -1; echo ${PIPESTATUS[0]}", here)
    assert done.stderr == b"" and done.stdout.splitlines()[-1] == b"141"


def test_a_full_standard_output_is_an_error(here, small):
    Path("x.sdf").write_bytes(small)
    done = ran("sdf info x.sdf > /dev/full", here)
    assert done.returncode == 1 and b"No space" in done.stderr and b"Traceback" not in done.stderr


def test_a_terminal_sees_progress_and_errors_on_lines_of_their_own(here, small):
    picture(32, 24).save("x.png")
    done = sdf("encode", "x.png", "x.sdf", "--quality", "5", *CPU, terminal=True)
    assert done.status == 0 and "encoding: 100%" in done.said and done.data == b""
    Path("cut.sdf").write_bytes(small[:-9] + b"x" + small[-8:])
    done = sdf("decode", "--to", "out", "x.sdf", "cut.sdf", *CPU, terminal=True)
    assert done.status == 1 and "decoding: 100%" in done.said
    assert any(line.startswith("sdf decode: cut.sdf: ") for line in done.said.replace("\r", "\n").split("\n"))


def test_an_error_leaves_the_streams_of_the_process_alone(here):
    """`main` may be called by others, who go on."""
    code = (
        "from sdf_format.cli.main import main\nprint('before')\n"
        "assert main(['decode', 'missing.sdf', 'x.png']) == 1\nprint('after')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, check=True)
    assert done.stdout == b"before\nafter\n" and done.stderr.count(b"\n") == 1


# --- names and encodings


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_every_name_and_every_message_can_be_shown_everywhere(here, small, encoding):
    Path(NAME).write_bytes(small)
    Path("ü.sdf").write_bytes(small[:-9] + b"x" + small[-8:])
    for command in ("info", "verify", "dump"):
        done = sdf(command, NAME, "ü.sdf", "missing-ö.sdf", encoding=encoding)
        shown = done.data.decode(encoding)
        assert done.status == 1 and "caf" in shown + done.said and r"\xe9" in shown + done.said
    assert sdf("verify", "ü.sdf", encoding="ascii").said.count("section 3.2") == 1
    assert sdf("verify", "ü.sdf").said.count("§3.2") == 1
    made = sdf("encode", NAME, os.fsdecode(b"n\xe9w.sdf"), encoding=encoding)
    assert made.status == 0 and Path(os.fsdecode(b"n\xe9w.sdf")).read_bytes() == small
    assert (
        sdf("decode", "--to", "out", NAME, *CPU, encoding=encoding).status == 0
        and Path("out", os.fsdecode(b"caf\xe9.png")).exists()
    )


def test_names_with_escape_sequences_are_shown_escaped(here, small):
    name = "a\x1b[31m\nb.sdf"
    Path(name).write_bytes(small)
    for command in ("info", "verify", "dump"):
        done = sdf(command, name, "missing\x1b[2J.sdf")
        assert "\x1b" not in done.text + done.said and "\\x1b[31m\\nb.sdf" in done.text + done.said


# --- what a file says never reaches the terminal raw


def prompted(prompt: str) -> bytes:
    """A file with this prompt and one of these escapes in every text of its metadata."""
    stream = io.BytesIO(saved(picture(32, 24), quality=5, device="cpu"))
    file = chunks.scan(stream)
    fields = parameters.parse(file.header)
    header = replace(
        file.header,
        parameters=parameters.build(replace(fields, conditioning=parameters.Conditioning(prompt, 1.0, 1.0))),
    )
    xmp = f"<rdf:RDF><rdf:Description Iptc4xmpExt:DigitalSourceType='{prompt}'/></rdf:RDF>".encode()
    others = metadata.build(xmp=xmp, text={prompt: prompt, "Comment": prompt})
    return chunks.build(header, chunks.read(stream, file.find(b"D")), others)


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("command", [["info"], ["info", "--json"], ["dump"], ["dump", "--all"], ["verify"]])
def test_escape_sequences_of_a_file_are_never_shown_raw(here, command, terminal):
    Path("x.sdf").write_bytes(prompted(ESCAPES.replace("\r\nvalid", "") if command == ["verify"] else ESCAPES))
    done = sdf(*command, "x.sdf", terminal=terminal)
    raw = {c for c in done.text + done.said if not (c.isprintable() or c == "\n")}
    assert raw == set()
    assert not any(line.lstrip().startswith("valid") for line in done.text.splitlines())  # no line is the file's own
    if command != ["verify"]:
        assert "\\x1b" in done.text or "\\u001b" in done.text or command[0] == "dump"


def test_json_says_what_the_file_says(here):
    Path("x.sdf").write_bytes(prompted(ESCAPES))
    assert json.loads(sdf("info", "--json", "x.sdf").text)["prompt"] == ESCAPES


# --- limits, wrong options


def bomb() -> bytes:
    """A PNG that claims 30000x30000 pixels."""
    body = b"IHDR" + (30000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    return (
        b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big") + b"\0\0\0\x08IDAT"
    )


def test_pillows_limit_is_one_line(here):
    Path("bomb.png").write_bytes(bomb())
    stream = io.BytesIO(saved(picture(32, 24), quality=5, device="cpu"))
    file = chunks.scan(stream)
    Path("bomb.sdf").write_bytes(chunks.build(replace(file.header, width=60000, height=60000), b""))
    for command in (
        ["encode", "bomb.png", "x.sdf"],
        ["decode", "bomb.sdf", "x.png"],
        ["thumbnail", "bomb.sdf", "x.png"],
        ["decode", "--to", "out", "bomb.sdf"],
    ):
        done = sdf(*command)
        assert done.status in (1, 3) and done.said.count("\n") == 1 and "pixels" in done.said


@pytest.mark.parametrize(
    "wrong",
    [
        ["thumbnail", "x.sdf", "x.png", "--size", "0"],
        ["thumbnail", "x.sdf", "x.png", "--size", "-3"],
        ["decode", "--to", "out", "x.sdf", "--at-once", "-3"],
        ["decode", "--to", "out", "x.sdf", "--at-once", "0"],
        ["decode", "x.sdf", "x.png", "--realism", "nan"],
        ["encode", "x.png", "x2.sdf", "--guidance", "inf"],
        ["encode", "x.png", "x2.sdf", "--bpp", "nan"],
        ["conformance", "--timeout", "-1"],
        ["calibrate", "--images", ".", "--out", "t.json", "--count", "0"],
        ["calibrate", "--images", ".", "--out", "t.json", "--steps", "ten"],
        ["calibrate", "--images", ".", "--out", "t.json", "--size", "0"],
    ],
)
def test_a_number_that_cannot_be_is_said_in_a_line(here, small, wrong):
    Path("x.sdf").write_bytes(small)
    picture(32, 24).save("x.png")
    before = sorted(Path().rglob("*"))
    if "x.png" in wrong and wrong[0] != "encode":
        wrong = ["y.png" if word == "x.png" else word for word in wrong]
    done = sdf(*wrong)
    assert done.status in (1, 2) and "Traceback" not in done.said
    assert done.said.splitlines()[-1].startswith(f"sdf {wrong[0]}: ") and sorted(Path().rglob("*")) == before


def test_a_file_where_the_pixels_of_a_preview_belong(here):
    picture(32, 24).save("s.png")
    done = sdf("encode", "--preview", "s.png", "q.sdf")
    assert done.status == 2 and "--preview=" in done.said


def test_warnings_are_one_line(here):
    """Pillow warns of pictures beyond its limit; not of the source line that it stands in."""
    stream = io.BytesIO(saved(picture(32, 24), quality=5, device="cpu"))
    file = chunks.scan(stream)
    Path("big.sdf").write_bytes(chunks.build(replace(file.header, width=10000, height=10000), b""))
    done = sdf("decode", "big.sdf", "x.xyz")
    assert done.status == 1 and len(done.said.splitlines()) == 2
    assert all(line.startswith("sdf decode: ") for line in done.said.splitlines())


# --- bytes behind a file


@pytest.mark.parametrize("tail", [b"\n", b"\0" * 512])
def test_what_follows_a_file_is_no_reason_to_hide_the_picture(here, small, tail):
    Path("x.sdf").write_bytes(small)
    Path("y.sdf").write_bytes(small + tail)
    assert sdf("verify", "y.sdf").status == 1 and sdf("decode", "y.sdf", "y.png", *CPU).status == 1
    assert (
        sdf("decode", "x.sdf", "x.png", *CPU).status == sdf("decode", "y.sdf", "y.png", "--truncated", *CPU).status == 0
    )
    assert Path("x.png").read_bytes() == Path("y.png").read_bytes()
    assert sdf("decode", "--to", "out", "--truncated", "y.sdf", *CPU).status == 0
    assert Path("out/y.png").read_bytes() == Path("x.png").read_bytes()
    Path("z.sdf").write_bytes(small[:-9] + bytes([small[-9] ^ 1]) + small[-8:] + tail)  # what is damaged stays damaged
    assert sdf("decode", "z.sdf", "z.png", "--truncated", *CPU).status == 1
