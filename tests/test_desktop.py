"""What tells other programs of the format, each tried with the program that reads it: file, the desktop's MIME
database, ImHex.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess

import jsonschema
import pytest
from conftest import SPEC
from PIL import Image

from sdf_format.cli import main as cli
from sdf_format.container.magic import EXTENSION, MEDIA_TYPE, SIGNATURE
from sdf_format.inspect import conformance
from sdf_format.inspect.conformance import SUITE

clause = pytest.mark.clause

MANIFEST = conformance.manifest(SUITE)
ACCEPTED = {entry["name"]: entry for entry in MANIFEST["accepted"]}
MODES = {
    "L": "grey",
    "RGB": "RGB",
    "LA": "grey with alpha",
    "RGBA": "RGBA",
    "mono": "mono sound",
    "stereo": "stereo sound",
}


def tool(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"the program {name} is not installed")


def ran(*command: str, **options) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout.strip()


@clause("3.1", "3.2", "3.3")
def test_file_knows_every_accepted_file():
    files = [str(SUITE / entry["file"]) for entry in ACCEPTED.values()]
    said = ran(tool("file"), "-m", str(SPEC.parent / "sdf.magic"), "-b", *files).splitlines()
    for line, entry in zip(said, ACCEPTED.values(), strict=True):
        header = entry["header"]
        sides = (
            f", {header['width']} x {header['height']}"
            if max(header.get("width", 999), header.get("height", 999)) < 128
            else ""
        )
        assert line.startswith(f"SDF image, version {header['version']}{sides}"), (line, entry["name"])
        assert line.endswith(f", {MODES[header['mode']]}"), (line, entry["name"])


def test_file_gives_media_type_and_extension():
    path, magic = str(SUITE / ACCEPTED["plain"]["file"]), str(SPEC.parent / "sdf.magic")
    assert ran(tool("file"), "-m", magic, "-b", "--mime-type", path) == MEDIA_TYPE
    assert ran(tool("file"), "-m", magic, "-b", "--extension", path) == EXTENSION[1:]
    assert "SDF" not in ran(tool("file"), "-m", magic, "-b", str(SUITE / "files" / "refused-signature-text.sdf"))


def test_the_magic_file_compiles_without_a_warning(tmp_path):
    done = subprocess.run(
        [tool("file"), "-C", "-m", str(SPEC.parent / "sdf.magic")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "" and (tmp_path / "sdf.magic.mgc").exists()


def test_the_desktop_knows_the_type_by_name_and_by_content(tmp_path):
    update = tool("update-mime-database")
    packages = tmp_path / "mime" / "packages"
    packages.mkdir(parents=True)
    shutil.copy(SPEC.parent / "desktop" / "sdf.xml", packages)
    done = subprocess.run([update, str(tmp_path / "mime")], capture_output=True, text=True, check=True)
    assert "rror" not in done.stderr
    assert f"50:{MEDIA_TYPE}:*{EXTENSION}" in (tmp_path / "mime" / "globs2").read_text()
    assert SIGNATURE in (tmp_path / "mime" / "magic").read_bytes()
    nameless = tmp_path / "picture"
    shutil.copy(SUITE / ACCEPTED["plain"]["file"], nameless)
    if shutil.which("gio"):
        said = ran(
            "gio",
            "info",
            "-a",
            "standard::content-type",
            str(nameless),
            env={**os.environ, "XDG_DATA_HOME": str(tmp_path)},
        )
        assert MEDIA_TYPE in said


def test_the_thumbnailer_writes_a_small_png(tmp_path):
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read(SPEC.parent / "desktop" / "sdf.thumbnailer")
    entry = parser["Thumbnailer Entry"]
    assert entry["MimeType"] == f"{MEDIA_TYPE};" and entry["TryExec"] == "sdf"
    target = tmp_path / "t.png"
    filled = {"%s": "32", "%i": str(SUITE / ACCEPTED["scene"]["file"]), "%o": str(target)}
    program, *arguments = [filled.get(word, word) for word in shlex.split(entry["Exec"])]
    assert program == "sdf" and cli.main(arguments) == 0
    with Image.open(target) as image:
        assert (image.format, image.size) == ("PNG", (32, 24))


def test_the_media_types_template_is_complete():
    """RFC 6838, section 5.6."""
    text = (SPEC.parent / "media-type.md").read_text()
    fields = (
        "Type name",
        "Subtype name",
        "Required parameters",
        "Optional parameters",
        "Encoding considerations",
        "Security considerations",
        "Interoperability considerations",
        "Published specification",
        "Applications that use this media type",
        "Fragment identifier considerations",
        "Additional information",
        "Deprecated alias names for this type",
        r"Magic number\(s\)",
        r"File extension\(s\)",
        r"Macintosh file type code\(s\)",
        "Person and email address to contact for further information",
        "Intended usage",
        "Restrictions on usage",
        "Author",
        "Change controller",
    )
    places = [re.search(rf"- (?:\*\*)?{field}:", text) for field in fields]
    assert all(places) and [p.start() for p in places] == sorted(p.start() for p in places)
    assert f"{MEDIA_TYPE.split('/')[1]}\n" in text and SIGNATURE.hex(" ").upper() in text


def test_the_pattern_for_imhex_reads_every_accepted_file():
    pattern = SPEC.parent / "sdf.hexpat"
    assert SIGNATURE.hex(" ").upper() in pattern.read_text() and MEDIA_TYPE in pattern.read_text()
    plcli = tool("plcli")  # of WerWolv/PatternLanguage
    for entry in ACCEPTED.values():
        ran(plcli, "run", "-i", str(SUITE / entry["file"]), "-p", str(pattern))


@clause("3.1", "3.3")
def test_what_info_says_keeps_its_schema(capsys):
    schema = json.loads((SPEC.parent / "info.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema).validate
    entries = MANIFEST["accepted"] + MANIFEST["refused"]
    cli.main(["info", "--json", *(str(SUITE / entry["file"]) for entry in entries)])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for line, entry in zip(lines, entries, strict=True):
        check(line)
        assert line["valid"] or "error" in entry
    for damage in ({"valid": 1}, {"width": 0}, {"errors": "none"}, {"chunks": [{}]}, {"seed": -1}):
        with pytest.raises(jsonschema.ValidationError):
            check(lines[0] | damage)
