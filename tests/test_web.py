"""The decoder in JavaScript under web/: unit tests, types, the conformance suite, the page in a real browser."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import threading
import urllib.parse
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdf_format.cli.viewer import Server, roots
from sdf_format.inspect import conformance

ROOT = Path(__file__).parent.parent
WEB = ROOT / "web"
SUITE = ROOT / "spec" / "conformance"
NODE = shutil.which("node")

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="needs node 20 or later"),
    pytest.mark.skipif(not (WEB / "node_modules" / "onnxruntime-web").exists(), reason="needs `npm ci` in web/"),
]


def node(*words: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([NODE, *words], capture_output=True, text=True, timeout=600, check=False, **options)


def test_unit_tests():
    done = node("--test", "tests/", cwd=WEB)
    assert done.returncode == 0, done.stdout[-4000:]


def test_types():
    done = node("node_modules/typescript/bin/tsc", "-p", ".", cwd=WEB)
    assert done.returncode == 0, done.stdout


def test_the_lock_file_names_no_host():
    assert "://" not in "".join(
        line
        for line in (WEB / "package-lock.json").read_text().splitlines()
        if "funding" not in line and '"url"' not in line
    )


@pytest.fixture(scope="module")
def decoder():
    """A decoder as the judge wants one, in one process for all files."""
    environment = os.environ | {"SDF_MODEL_DIR": str(SUITE / "models")}
    process = subprocess.Popen(
        [NODE, WEB / "tests" / "decoder.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )

    def decode(source: Path, target: Path) -> tuple[int, str]:
        process.stdin.write(f"{source}\t{target}\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        return answer["status"], answer["said"]

    yield decode
    process.stdin.close()
    process.wait(timeout=60)
    process.stdout.close()


def test_conformance(decoder):
    results = list(conformance.judge(SUITE, decoder, tolerance="strict"))
    assert len(results) > 200
    problems = {result.name: result.problems for result in results if result.problems}
    assert not problems


@pytest.mark.parametrize(
    ("name", "status"),
    [("plain", 0), ("crc-payload", 1), ("model-unknown", 3), ("weights", 4), ("truncated-payload", 5)],
)
def test_command(name, status, tmp_path):
    """The command itself; `sdf conformance --decoder "node web/cli.mjs {in} {out}"` takes all files through it."""
    source = SUITE / "files" / f"{'refused-' if status else ''}{name}.sdf"
    done = node("web/cli.mjs", str(source), str(tmp_path / "out.png"), cwd=ROOT)
    assert done.returncode == status, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ([] if status else ["out.png"])
    assert bool(re.search(r"offset \d+", done.stderr)) == bool(status)


def test_command_without_files():
    assert node("web/cli.mjs", cwd=ROOT).returncode == 2
    done = node("web/cli.mjs", "nothing.sdf", "out.png", cwd=ROOT)
    assert done.returncode == 2 and "nothing.sdf" in done.stderr


def test_frames_of_zstandard(tmp_path):
    """What a library compresses at any level is read; what it does not read is refused."""
    zstandard = pytest.importorskip("zstandard")
    draw = random.Random(1)
    words = [bytes(draw.randrange(256) for _ in range(draw.randrange(1, 9))) for _ in range(40)]
    texts = [
        b"",
        b"a",
        b"ab" * 500,
        bytes(70000),
        draw.randbytes(3000),
        b"".join(draw.choices(words, k=30000)),
        b"".join(draw.choices(words[:3], k=2000)),
    ]
    frames = []
    for text in texts:
        for level in (1, 3, 9, 19, 22):
            for sized in (True, False):
                compressor = zstandard.ZstdCompressor(level=level, write_checksum=level != 3, write_content_size=sized)
                frames.append(
                    (
                        compressor.compress(text)
                        if sized
                        else b"".join([(c := compressor.compressobj()).compress(text), c.flush()]),
                        text,
                    )
                )
    damaged = []
    # Of an empty frame the library takes some that are against RFC 8878: compressed blocks of no bytes.
    for frame in [frame for frame, text in frames if text][::3]:
        for _ in range(12):
            broken = bytearray(frame)
            broken[draw.randrange(len(broken))] ^= 1 << draw.randrange(8)
            damaged.append(bytes(broken))
    cases = []
    for frame in [frame for frame, _ in frames] + damaged:
        try:
            decompressor = zstandard.ZstdDecompressor(max_window_size=2**23).decompressobj()
            text = decompressor.decompress(frame)
            good = decompressor.eof and not decompressor.unused_data and len(text) <= 2**20
            good &= zstandard.get_frame_parameters(frame).window_size <= 2**23
        except (zstandard.ZstdError, MemoryError):
            good, text = False, b""
        cases.append({"frame": frame.hex(), "text": text.hex() if good else None})
    assert 50 < sum(case["text"] is None for case in cases) < len(cases) - 50
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    script = """
        import { readFileSync } from "node:fs";
        import { decompress } from "./src/zstd.js";
        const bytes = (hex) => Uint8Array.from(Buffer.from(hex, "hex"));
        for (const [n, { frame, text }] of JSON.parse(readFileSync(process.argv[1])).entries()) {
            let found = null;
            try {
                found = Buffer.from(decompress(bytes(frame), { limit: 1 << 20, window: 8 << 20 })).toString("hex");
            } catch (error) {
                if (error.code !== "bad") throw error;
            }
            if (found !== text) throw new Error(`case ${n}: ${found?.length} digits: ${frame.slice(0, 200)}`);
        }"""
    done = node("--input-type=module", "--eval", script, str(tmp_path / "cases.json"), cwd=WEB)
    assert done.returncode == 0, done.stderr[-3000:]


def test_package(tmp_path):
    """The folder for npm has all that its modules need, where they look for it, and types."""
    folder = WEB / "build" / f"npm-{os.getpid()}"  # below web/, so that Node finds node_modules
    folder.parent.mkdir(exist_ok=True)
    try:
        done = node("web/pack.mjs", str(folder), cwd=ROOT)
        assert done.returncode == 0, done.stderr
        sheet = json.loads((folder / "package.json").read_text())
        for entry in sheet["exports"].values():
            assert (folder / entry["types"]).is_file() and (folder / entry["default"]).is_file()
        assert "export" in (folder / "types" / "index.d.ts").read_text()
        done = node(str(folder / "web/cli.mjs"), str(SUITE / "files" / "size-1x1.sdf"), str(tmp_path / "out.png"))
        assert done.returncode == 0 and (tmp_path / "out.png").exists(), done.stderr
        assert node("web/pack.mjs", str(folder), cwd=ROOT).returncode, "what is there is not written over"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_benchmark():
    done = node("bench.mjs", "--size", "16x16", "--predictions", "2", "--chromium", "none", cwd=WEB)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["threads"] for line in lines] == [1, 2] and all(line["seconds"] > 0 for line in lines)


def two_predictions(width: int, height: int) -> bytes:
    """A file of random bits that takes two predictions: a law of two steps, and the posterior mean."""

    def chunk(kind: bytes, body: bytes, before: bytes = b"") -> bytes:
        head = kind + bytes([len(body)]) + body
        return head + zlib.crc32(before + head).to_bytes(4, "big")

    sides = b"".join(bytes([side & 127 | 128, side >> 7]) for side in (width, height))
    law = (2 << 24 | 40 << 14 | 60 << 7).to_bytes(4, "big")
    header = sides + bytes.fromhex("0101b050843e10") + law + b"\x01"
    payload = random.Random(1).randbytes(100)
    return bytes.fromhex("895344460d0a1a0a0100") + chunk(b"H", header, b"\1\0") + chunk(b"D", payload)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.skipif(not (WEB / "node_modules" / "playwright-core").exists(), reason="needs `npm ci` in web/")
def test_page_in_chromium(tmp_path):
    """`sdf view` serves the page; a browser opens files in it. What it downloads is within the tolerance (§9)."""
    files, out = tmp_path / "files", tmp_path / "out"
    shutil.copytree(SUITE / "files", files)
    out.mkdir()
    (files / "large.sdf").write_bytes(two_predictions(320, 224))
    with Server([files / "plain.sdf"], roots()) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        (address,) = server.addresses()
        page, _, link = address.partition("?src=")
        link = urllib.parse.unquote(link)
        settings = {"SDF_PAGE": page, "SDF_FILES": str(files), "SDF_OUT": str(out), "SDF_LINK": link}
        done = node("--test", "tests/page.browser.mjs", cwd=WEB, env=os.environ | settings | {"SDF_CHROMIUM": CHROMIUM})
        server.shutdown()
    assert done.returncode == 0, done.stdout[-6000:]
    entries = {entry["name"]: entry for entry in conformance.manifest(SUITE)["accepted"]}
    pictures = sorted(out.glob("*.png"))
    assert len(pictures) >= 8
    for path in pictures:
        with Image.open(SUITE / entries[path.stem]["pixels"]) as wanted, Image.open(path) as found:
            assert (wanted.mode, wanted.size) == (found.mode, found.size)
            difference = np.asarray(wanted, np.int64) - np.asarray(found, np.int64)
            assert np.abs(difference).max() <= 2 and (difference**2).mean() ** 0.5 < 0.06, path.stem
            assert "compositeWithTrainedAlgorithmicMedia" in str(found.info["XML:com.adobe.xmp"])
