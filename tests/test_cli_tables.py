"""The tables of `sdf` and its benchmarks, and the files that benchmarks and training write."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from command import Terminal, cells, sdf
from pictures import picture

from sdf_format.errors import BadInput
from sdf_format.inspect import table
from sdf_format.inspect.printable import printable


def test_an_interruption_loses_no_row(capsys):
    with pytest.raises(KeyboardInterrupt), table.Table("name", "value") as rows:
        rows.add("one", 1)
        rows.add("two\x1b[2J|", 2.5)
        raise KeyboardInterrupt
    out, err = capsys.readouterr()
    assert cells(out.replace(r"\|", "/")) == [["one", "1"], [r"two\x1b[2J/", "2.5"]] and err == ""


def test_a_terminal_sees_how_far_it_is(monkeypatch, capsys):
    err = io.BytesIO()
    monkeypatch.setattr("sys.stderr", Terminal(err, encoding="utf-8"))
    with table.Table(total=3) as rows:
        rows.add_named({"name": "one", "seconds": 1.23456}, ".2f")
    assert b"3" in err.getvalue() and cells(capsys.readouterr().out) == [["one", "1.23"]]
    assert table.lines([]) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Straße 7, 東京\u3000x", "Straße 7, 東京\u3000x"),
        ("\x1b]0;x\x07", "\\x1b]0;x\\x07"),
        ("a\r\nb\u2028\u202ec", "a\\r\\nb\\u2028\\u202ec"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "caf\\xe9"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_a_terminal_is_given(text, shown):
    assert printable(text) == shown
    shown.encode()


def test_the_report_has_all_facts_of_the_file(tmp_path):
    """Every number of `sdf info --json` stands in the text as well."""
    from pictures import saved

    path = tmp_path / "x.sdf"
    path.write_bytes(saved(picture(32, 24), quality=5, device="cpu", text={"Title": "Hafen"}, dpi=(300, 300)))
    facts = json.loads(sdf("info", "--json", path).text)
    lines = [line.split() for line in sdf("info", path).text.splitlines()]
    for chunk in facts["chunks"]:
        wanted = [chunk["type"], str(chunk["offset"]), str(chunk["length"]), chunk["crc"], *chunk["name"].split()]
        assert wanted in lines
    for number, step in enumerate(facts["schedule"]):
        assert any(line[0] == str(number) and line[-1] == str(step["bits"]) for line in lines if line)
    assert ["text", "Title:", "Hafen"] in lines and ["seed", "0"] in lines and ["width", "32"] in lines


def test_a_benchmark_replaces_no_file_unasked(tmp_path, monkeypatch):
    """Found before hours of work, not after them."""
    monkeypatch.chdir(tmp_path)
    picture(200, 180).save("one.png")
    Path("rows.json").write_text("precious")
    for option, name in (("--json", "rows.json"), ("--html", "one.png"), ("--csv", "none/rows.csv")):
        done = sdf("bench", "rd", "one.png", option, name, "--work", "work")
        assert done.status == 1 and name in done.said and not Path("work").exists()
    assert Path("rows.json").read_text() == "precious"


def test_training_replaces_no_drawing_unasked(tmp_path):
    from sdf_format.training import plot

    rows = [{"step": 1, "loss": 1.0, "level": [1.0], "relative": [1.0], "psnr": [20.0]}]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    arguments = [str(tmp_path / "log.jsonl"), "--out", str(tmp_path / "log.svg")]
    plot.main(arguments)
    first = (tmp_path / "log.svg").read_bytes()
    with pytest.raises(BadInput, match="--force"):
        plot.main(arguments)
    assert (tmp_path / "log.svg").read_bytes() == first
    plot.main([*arguments, "--force"])
    with pytest.raises(BadInput, match="input"):
        plot.main([arguments[0], "--out", arguments[0], "--force"])
