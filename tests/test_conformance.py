"""The suite in spec/conformance: ours passes, wrong decoders fail, and a second parser agrees with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from conftest import SPEC, clauses
from independent import REFUSALS, facts, same
from PIL import Image

from sdf_format.cli import main as cli
from sdf_format.cli.conformance import own_decoder, own_teller
from sdf_format.coding import noise
from sdf_format.container import alpha, chunks, metadata
from sdf_format.errors import STATUS, BadInput, SdfError
from sdf_format.inspect import conformance, validate
from sdf_format.inspect.conformance import SUITE, judge
from sdf_format.tables import table

sys.path.insert(0, str(SUITE))
import accepted
import make

clause = pytest.mark.clause

MANIFEST = conformance.manifest(SUITE)
REFUSED = {entry["name"]: entry for entry in MANIFEST["refused"]}
BLIND = (
    "crc",
    "text",
    "alpha",
    "prompt",
    "weights",
    "model",
    "kind",
    "truncated-no-payload",
    "level",
    "law",
    "rise",
    "inline",
    "table",
    "padding",
    "too-many",
    "i-twice",
    "e-twice",
    "x-twice",
    "header-twice",
    "extension",
    "diffc-autoencoder",
    "lowbit",
    "palette",
    "cleanup",
    "registered",
    "latent",
    "sound-tiny",
    "sound-sd15",
    "sound-of-pictures",
    "picture-largest",
)


def failed(results) -> set[str]:
    return {r.name for r in results if r.problems}


def in_float32(source: Path, target: Path) -> tuple[int, str]:
    """Our decoder, its network in float32 whatever the machine is fast at."""
    try:
        with source.open("rb") as stream:
            make.picture(stream.read()).save(target)
    except SdfError as error:
        return error.status, str(error)
    return 0, ""


@clause("8", "8.1", "9", "9.2")
def test_our_decoder_passes():
    results = list(judge(SUITE, own_decoder, own_teller))
    assert not [(r.name, r.problems) for r in results if r.problems]
    assert len(results) == len(MANIFEST["accepted"]) + len(MANIFEST["refused"]) + 1
    assert results[-1].name == conformance.TOGETHER


@clause("9.1")
def test_our_decoder_passes_strictly_in_float32():
    results = list(judge(SUITE, in_float32, None, "[dlp]*-*", "strict"))
    assert len(results) > conformance.ENOUGH
    assert not [(r.name, r.problems) for r in results if r.problems and r.name not in REFUSED]


@clause("9.1")
def test_a_decoder_that_is_one_too_high_everywhere_fails():
    def brighter(source: Path, target: Path) -> tuple[int, str]:
        if source.stem not in pictures:
            return 1, "offset 0"
        with Image.open(SUITE / "pixels" / f"{source.stem}.png") as image:
            pixels = np.asarray(image).copy()
        colours = pixels[..., :-1] if image.mode.endswith("A") else pixels
        colours[...] = np.minimum(colours, 254) + 1
        Image.fromarray(pixels).save(target)
        return 0, ""

    pictures = {e["name"] for e in MANIFEST["accepted"] if "pixels" in e}
    strict = {r.name for r in judge(SUITE, brighter, None, "tr*", "strict") if not r.problems}
    assert not strict & pictures
    wide = {r.name: r.problems for r in judge(SUITE, brighter, None, "[a-l]*")}
    assert not wide["inline"]
    assert "mean of all differences" in wide[conformance.TOGETHER][0]


@clause("8.1", "9.2")
@pytest.mark.parametrize("status", [0, 1, 3, 5])
def test_nobodys_weights_are_a_missing_model(status):
    names = [e["name"] for e in MANIFEST["accepted"] if "pixels" not in e]
    assert len(names) == 7
    for name in names:
        (result,) = judge(SUITE, lambda *_: (status, "offset 10"), None, name)
        assert result.problems
        (result,) = judge(SUITE, lambda *_: (STATUS["missing-model"], "offset 10"), None, name)
        assert not result.problems


@clause("8", "8.2", "8.3")
def test_every_rule_has_files_that_break_it():
    rules = {rule["id"]: rule for rule in table("errors")["rules"]}
    broken = {rule["id"]: set(rule["files"]) for rule in rules.values()}
    assert all(broken.values())
    assert {name for files in broken.values() for name in files} == set(REFUSED)
    for name, entry in REFUSED.items():
        rule = rules[entry["rule"]]
        assert name in rule["files"]
        assert entry["error"] == rule["class"]
        data = (SUITE / entry["file"]).read_bytes()
        place = {"0": b"", "H": b"H", "D": b"D", "A": b"A"}.get(rule["at"])
        if rule["at"] == "0":
            assert entry["offset"] == 0
        elif place is not None:
            assert data[entry["offset"] :][:1] == place, name


NEED_WEIGHTS = {"weights", "latent-differs", "mode-differs", "predicts", "vectors", "scales", "symbols"}


@clause("3.2", "3.4", "3.5", "4.2", "5.2", "6.2", "6.3", "8", "8.3")
@pytest.mark.parametrize("name", [n for n, entry in REFUSED.items() if entry["rule"] not in NEED_WEIGHTS])
def test_what_needs_no_model_is_found_without_one(name):
    entry = REFUSED[name]
    with (SUITE / entry["file"]).open("rb") as stream, pytest.raises(SdfError) as caught:
        validate.check(stream, chunks.scan(stream))
    assert (caught.value.code, caught.value.offset) == (entry["error"], entry["offset"])


@clause("9")
def test_a_decoder_with_a_bug_fails(monkeypatch):
    """Each of these forgets one rule, as somebody's decoder might."""
    made = noise.normals
    with monkeypatch.context() as patch:
        patch.setattr(noise, "normals", lambda seed, *rest: made(seed + 1, *rest))
        assert "payload-empty" in failed(judge(SUITE, own_decoder, own_teller, only="payload-empty"))
    with monkeypatch.context() as patch:
        patch.setattr(alpha, "FILTERS", ((), (), (), ()))
        assert failed(judge(SUITE, own_decoder, own_teller, only="alpha-filter-*")) == {
            "alpha-filter-1",
            "alpha-filter-2",
            "alpha-filter-3",
        }
    with monkeypatch.context() as patch:
        patch.setattr(chunks, "crc", lambda *parts: 0)
        patch.setattr(chunks.zlib, "crc32", lambda *parts: 0)
        assert failed(judge(SUITE, own_decoder, own_teller, only="plain"))
    with monkeypatch.context() as patch:
        for name in ("METADATA_LIMIT", "TOTAL_LIMIT"):
            patch.setattr(metadata, name, 1 << 40)
        patch.setattr(metadata.read, "__defaults__", (True, 1 << 40))
        assert failed(judge(SUITE, own_decoder, own_teller, only="text-*")) == {"text-bomb"}


def grey(source: Path, target: Path) -> tuple[int, str]:
    """A decoder that has learnt the sizes and refuses nothing."""
    entry = next(e for e in MANIFEST["accepted"] + MANIFEST["refused"] if source.name in e["file"])
    with Image.open(SUITE / entry.get("pixels", "pixels/plain.png")) as wanted:
        Image.new(wanted.mode, wanted.size, (128,) * len(wanted.getbands())).save(target, "PNG")
    return 0, ""


@clause("9")
def test_a_decoder_that_makes_something_up_fails_everywhere():
    results = list(judge(SUITE, grey, None))
    assert failed(results) == {r.name for r in results}


@clause("8")
@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ((0, ""), "accepted"),
        ((3, "offset 10"), "exit status 3"),
        ((1, "offset 11"), "wanted offset 10"),
        ((1, "no"), "no offset"),
        ((-11, "offset 10"), "exit status -11"),
    ],
)
def test_a_refusal_has_class_and_place(answer, problem):
    (result,) = judge(SUITE, lambda source, target: answer, only="width-0")
    assert problem in result.problems[0]
    assert not next(judge(SUITE, lambda source, target: (1, "at offset 10: no"), only="width-0")).problems


def test_a_picture_of_another_shape_fails():
    def turned(source: Path, target: Path) -> tuple[int, str]:
        with Image.open(SUITE / "pixels" / f"{source.stem}.png") as image:
            image.rotate(90, expand=True).save(target)
        return 0, ""

    (result,) = judge(SUITE, turned, None, "plain")
    assert "wanted RGB (40, 24)" in result.problems[0]


@clause("9")
def test_the_command_runs_decoders_of_anybody(tmp_path, capsys):
    decoder = f"{sys.executable} -m sdf_format.cli decode {{in}} {{out}}"
    info = f"{sys.executable} -m sdf_format.cli info --json {{in}}"
    assert cli.main(["conformance", "--decoder", decoder, "--info", info, "--only", "plain"]) == 0
    assert "1 of 1 files passed" in capsys.readouterr().out
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import sys; from PIL import Image; Image.new('RGB', (40, 24)).save(sys.argv[2])")
    assert (
        cli.main(
            ["conformance", "--json", "--decoder", f"{sys.executable} {wrong} {{in}} {{out}}", "--only", "width-*"]
        )
        == 1
    )
    assert {r["name"] for r in json.loads(capsys.readouterr().out) if r["problems"]} == {
        "width-0",
        "width-0-cut",
        "width-0-kind-3",
        "width-65536",
        "width-spelling",
        "width-33-bits",
    }
    assert (
        cli.main(
            [
                "conformance",
                "--timeout",
                "0.2",
                "--decoder",
                f"{sys.executable} -c 'import time; time.sleep(9)' {{in}} {{out}}",
                "--only",
                "plain",
            ]
        )
        == 1
    )
    assert "no answer" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [["--decoder", "decode"], ["--only", "nothing"], ["--suite", "nowhere"], ["--decoder", "/no/such {in} {out}"]],
)
def test_wrong_requests_are_told(change, capsys):
    assert cli.main(["conformance", *change]) == 1
    assert "sdf conformance: " in capsys.readouterr().err


# --- the suite itself


def test_the_manifest_keeps_its_schema():
    jsonschema.validate(MANIFEST, json.loads((SUITE / "manifest.schema.json").read_text()))
    known = clauses(SPEC.read_text())
    assert not {c for e in MANIFEST["accepted"] + MANIFEST["refused"] for c in e["clauses"]} - set(known)


def test_the_suite_is_small():
    assert sum(p.stat().st_size for p in SUITE.rglob("*") if p.is_file()) < 5_000_000


def test_the_suite_is_made_by_its_script():
    import zstandard

    if list(zstandard.ZSTD_VERSION) != MANIFEST["zstandard"]:
        pytest.skip(
            f"zstandard {zstandard.ZSTD_VERSION} may compress otherwise than {MANIFEST['zstandard']}, which made the "
            "suite"
        )
    done = subprocess.run(
        [sys.executable, str(SUITE / "make.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@clause("3.2", "3.3", "5.2")
def test_the_second_parser_agrees_on_what_is_accepted():
    for entry in MANIFEST["accepted"]:
        assert not same(entry["header"], facts((SUITE / entry["file"]).read_bytes())), entry["name"]


@clause("3.1", "3.2", "3.3", "5.2")
@pytest.mark.parametrize("name", REFUSED)
def test_the_second_parser_refuses_what_structure_alone_tells(name):
    try:
        facts((SUITE / REFUSED[name]["file"]).read_bytes())
    except (*REFUSALS, KeyError):  # KeyError: a kind that it does not know
        return
    assert name.startswith(BLIND)


@clause("4.3")
def test_the_encoders_pictures_are_pictures_of_something():
    scene = np.asarray(Image.open(SUITE / "pixels" / "scene-fine.png"), float)
    assert np.sqrt(np.mean((scene - accepted.scene(48, 48)) ** 2)) < 20


def test_there_is_no_suite_without_a_manifest(tmp_path):
    with pytest.raises(BadInput, match="--suite"):
        list(judge(tmp_path, own_decoder))
    assert own_decoder(SUITE / "files" / "refused-empty.sdf", tmp_path / "x.png")[0] == 1
