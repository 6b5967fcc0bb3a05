"""The specification in itself: its tables against the JSON beside it, its programs against its own test vectors."""

from __future__ import annotations

import hashlib
import json
import re
import struct

import pytest
from spec_text import SPEC, TABLES, TEXT, programs, rows, table

clause = pytest.mark.clause
SUITE = SPEC / "conformance"


def named(key: str) -> list[list[str]]:
    return [[str(row["id"]), row["name"]] for row in table("ids")[key]]


@pytest.mark.parametrize(
    ("number", "key"),
    [
        ("3.2", "modes"),
        ("4.2", "forms"),
        ("5.1", "kinds"),
        ("5.2", "coders"),
        ("5.3", "denoisers"),
        ("5.4", "contexts"),
    ],
)
def test_ids_are_the_same_in_text_and_json(number, key):
    # the name in the text may have a clause behind it
    assert [[cell.partition(",")[0] for cell in row[:2]] for row in rows(number)] == named(key)


def test_chunks_are_the_same_in_text_and_json():
    text = [[kind.strip("`"), name] for kind, _, name, _ in rows("3.1")]
    assert text == [[row["type"], row["name"]] for row in table("ids")["chunks"]]
    assert [row["type"] for row in table("ids")["chunks"] if row["repeats"]] == ["t"]


def test_rates_are_the_same_in_text_and_json():
    told = [[str(row["id"]), str(row["samples_per_second"])] for row in table("rates")["rates"]]
    assert rows("3.3") == told


def test_filters_are_the_same_in_text_and_json():
    said = {"none": [], "across each row": ["across"], "down each column": ["down"]}
    said["down each column, then across each row"] = ["down", "across"]
    assert [said[what] for _, what in rows("3.4")] == [row["sums"] for row in table("ids")["filters"]]


def test_models_are_the_same_in_text_and_json():
    models = table("models")["models"]
    for row, (number, name, latent, _, denoiser, sha256) in zip(models, rows("4.1"), strict=True):
        steps = f"{row['denoiser']}, {row['denoiser_steps']} steps"
        assert [str(row["id"]), row["name"], steps] == [number, name, denoiser]
        assert latent == f"{row['channels']} channels, cells of {row['cell']} pixels"
        assert row.get("sha256") == (sha256.strip("`") if row["id"] == 1 else None)
    for row, cells in zip(models[1:], rows("4.4"), strict=True):
        made = row["settings"]
        betas = " ".join(map(str, made["betas"] or ()))
        wanted = [row["name"], *(str(made[k]) for k in ("pipeline", "prediction"))]
        wanted += [betas, *(str(made[k]) for k in ("scaling", "shift", "multiple", "native"))]
        assert cells == wanted
        assert [row[k] for k in ("channels", "cell", "multiple")] == [made[k] for k in ("channels", "cell", "multiple")]
        assert row["least"] == max(made["multiple"], made["native"] // 4)


def test_schedules_are_named_in_the_text():
    schedules = table("schedules")
    assert rows("4.3") == [[number, entry["name"]] for number, entry in schedules.items()]
    for entry in schedules.values():
        assert entry["levels"] == sorted(set(entry["levels"]))
        assert len(entry["levels"]) == len(entry["bits"])


@clause("8.2", "8.3")
def test_rules_are_the_same_in_text_and_json():
    rules = table("errors")["rules"]
    assert rows("8.2") == [[rule[k] for k in ("clause", "rule", "class", "at")] for rule in rules]
    stages = table("errors")["stages"]
    section = TEXT.read_text("utf-8").partition("### 8.3 ")[2].partition("### 8.4")[0]
    assert re.findall(r"^\| (\w+) \|", section, flags=re.M)[1:] == stages
    assert {rule["stage"] for rule in rules} | {"critical"} == set(stages)
    assert len({rule["id"] for rule in rules}) == len(rules)


@clause("8.1")
def test_classes_are_the_same_in_text_and_json():
    section = TEXT.read_text("utf-8").partition("### 8.1 ")[2].partition("### 8.2")[0]
    text = re.findall(r"^\| ([a-z-]+) \| (\d) \| (.*) \|$", section, flags=re.M)
    assert text == [(row["name"], str(row["status"]), row["meaning"]) for row in table("errors")["classes"]]


def test_no_table_of_json_is_left_out():
    compared = {"ids", "rates", "models", "schedules", "errors"}
    assert {path.stem for path in TABLES.glob("*.json")} == compared


# --- the text's programs against the text's vectors

DIMENSIONS, SEED, STEP = 10007, 7, 3


def hashed(z: list[float]) -> str:
    return hashlib.sha256(struct.pack(f"<{len(z)}f", *z)).hexdigest()


def said(heading: str, which: int = 0) -> str:
    """A hexadecimal number that a clause of the text gives."""
    section = TEXT.read_text("utf-8").partition(f"{heading}\n")[2].partition("\n#")[0]
    return re.findall(r"`([0-9a-f]{20,})`", section)[which]


@clause("6.3.7", "6.4.4", "6.5.3")
def test_the_receivers_of_the_text_give_its_vectors():
    text = programs()
    bits = [b * b // 3 % 2 for b in range(3000)]
    z = text["receive"](bits[:300], DIMENSIONS, "trellis", 12, SEED, STEP)
    assert hashed(z) == said("#### 6.3.7 Receiver")
    z = text["receive_pfr"](bits[:300], DIMENSIONS, 14, SEED, STEP)
    assert hashed(z) == said("#### 6.4.4 Receiver")
    z = text["receive"](bits, DIMENSIONS, "tree", 12, SEED, STEP)
    assert hashed(z) == said("#### 6.5.3 Receiver")


@clause("6.1.1", "6.1.2")
def test_the_noise_of_the_text_gives_its_vectors():
    text = programs()
    assert [f"{w:08x}" for w in text["philox"]((0, 0, 0, 0), (0, 0))] == [
        "6627e8d5",
        "e169c58d",
        "bc57ac4c",
        "9b00dbd8",
    ]
    far = [f"{w:08x}" for w in text["block"](7, 3, 2, 2**32 + 5)]
    assert " ".join(far).replace(" ", "\n").split() == ["895b5096", "778fdf3a", "af8565ba", "858512fc"]
    assert hashlib.sha256(struct.pack("<65536h", *text["TABLE"])).hexdigest() == said("#### 6.1.2 Normals")
    assert text["normals"](0, 0, 0, 8) == [5479, -1048, 3049, 4823, 1836, 2581, 4402, 1096]


@clause("5.6.1", "5.6.2", "5.6.3")
def test_the_entropy_decoder_of_the_text_reads_its_vectors():
    text = programs()
    coder = text["RangeDecoder"](bytes.fromhex(said("#### 5.6.1 Range coder")))
    sizes = [(k + 1) * (k + 2) - k * (k + 1) for k in range(11)]
    assert [coder.symbol(sizes) for _ in range(50)] == [n * n % 11 for n in range(50)]
    coder.finish()
    coder = text["RangeDecoder"](bytes.fromhex(said("#### 5.6.2 Bits")))
    bits = text["Bits"](coder, 5)
    assert [bits.read(n % 3, 3 + n % 2) for n in range(100)] == [n * n // 3 % 2 for n in range(100)]
    coder.finish()
    coder = text["RangeDecoder"](bytes.fromhex(said("#### 5.6.3 Numbers")))
    numbers = text["Numbers"](coder, 4)
    assert [numbers.read(n % 3, 3) for n in range(50)] == [n**3 % 41 - 20 for n in range(50)]
    coder.finish()


@clause("2")
@pytest.mark.parametrize(("data", "value"), [("00", 0), ("7f", 127), ("8001", 128), ("ffffffff0f", 2**32 - 1)])
def test_varints_of_the_text(data, value):
    assert programs()["varint"](bytes.fromhex(data), 0) == (value, len(data) // 2)


@clause("2")
@pytest.mark.parametrize("data", ["8000", "ff00", "ffffffff10", "ffffffffff01"])
def test_varints_have_one_form(data):
    with pytest.raises(programs()["Bad"]):
        programs()["varint"](bytes.fromhex(data), 0)


@clause("4.4.4", "4.5")
def test_worked_hashes_are_those_of_their_lines():
    """Every hash of 64 digits before a block of lines that end in the settings."""
    pattern = r"hash(?: is)? `([0-9a-f]{64})`:\n\n```\n(.*?\})\n```"
    worked = re.findall(pattern, TEXT.read_text("utf-8"), flags=re.S)
    assert len(worked) == 3
    for wanted, lines in worked:
        assert hashlib.sha256(f"{lines}\n".encode()).hexdigest() == wanted
        *files, settings = lines.split("\n")
        assert files == sorted(files)
        folder = SUITE / "models" / ("pipeline" if "pipeline" in settings else "autoencoder")
        for name, sha256 in (line.split() for line in files):
            if name.endswith(".json"):
                place = folder / "config.json"
            else:
                part = folder / name if "pipeline" in settings else folder
                place = part / "diffusion_pytorch_model.safetensors"
            assert hashlib.sha256(place.read_bytes()).hexdigest() == sha256
        made = json.loads(settings)
        assert json.dumps(made, sort_keys=True, separators=(",", ":")) == settings
