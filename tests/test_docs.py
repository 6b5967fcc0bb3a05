"""The documents: their code runs, their links lead somewhere, and the site neither needs nor reads the network."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from pictures import picture, saved
from PIL import Image
from run_document import blocks

from sdf_format import __version__
from sdf_format.cli.main import main, parser
from sdf_format.errors import with_extra

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN = [path for path in DOCUMENTS if any(not block.reason for block in blocks(path.read_text()))]
TREES = ("sdf_format", "pillow_plugin", "cuda", "docs", "spec", "tests", ".ci")
NO_NETWORK = """
import socket
def refused(*_): raise OSError("the network was asked for")
socket.socket.connect = socket.getaddrinfo = refused
from mkdocs.__main__ import cli
cli()
"""


@pytest.mark.parametrize("document", RUN, ids=lambda path: path.stem)
def test_the_code_of_a_document_runs(document, tmp_path):
    for block in blocks(document.read_text()):
        if block.needs and not block.reason and shutil.which(block.needs) is None:
            pytest.skip(f"line {block.line} needs the program {block.needs}")
    image = picture(96, 64)
    image.save(tmp_path / "photo.jpg")
    for name in ("photo.sdf", "a.sdf", "b.sdf"):
        (tmp_path / name).write_bytes(saved(image, quality=20))
    (tmp_path / "spec").symlink_to(ROOT / "spec")
    home = tmp_path / "home"
    home.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "SDF_"))} | {
        "HOME": str(home),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "run_document.py", document],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_a_block_runs_or_says_why_not(document):
    for block in blocks(document.read_text()):
        assert block.reason or block.language in ("python", "sh"), f"{document.name}, line {block.line}"


def test_a_document_that_is_wrong_is_noticed(tmp_path):
    """What `run_document.py` makes of blocks that fail, in each language."""
    for block in (
        "```python\nassert 1 == 2\n```",
        "```sh\nfalse | cat\n```",
        "<!-- test\nassert 1 == 2\n-->",
        "    sdf --help",
        "```\nx\n```",
        '```python\nif __name__ == "__main__":\n    raise SystemExit(3)\n```',
    ):
        (tmp_path / "page.md").write_text(f"# Page\n\n{block}\n")
        done = subprocess.run(
            [sys.executable, ROOT / "tests" / "run_document.py", "page.md"],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert done.returncode != 0, block


# --- the site


class Read(HTMLParser):
    """What a page has: identifiers, links, and what a browser fetches to show it."""

    def __init__(self, page: Path):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.ids |= {value for name in ("id", "name") if (value := found.get(name))}
        if tag == "a" and (link := found.get("href")):
            self.links.append(link)
        elif tag != "a":
            self.fetched += [value for name in ("src", "href") if (value := found.get(name))]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> dict[Path, Read]:
    """Every page of the site, built where nothing can be reached."""
    if importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-c",
        NO_NETWORK,
        "build",
        "--strict",
        "--config-file",
        ROOT / "mkdocs.yml",
        "--site-dir",
        folder,
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {page: Read(page) for page in folder.rglob("*.html")}


def test_the_site_reads_nothing_from_elsewhere(site):
    folder = min((page.parent for page in site), key=lambda path: len(path.parts))
    for page, read in site.items():
        fetched = [link for link in read.fetched if urlsplit(link).netloc]
        assert fetched == [], page
    for style in folder.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//|@import", style.read_text()), style


def test_every_link_of_the_site_leads_somewhere(site):
    for page, read in site.items():
        if page.name == "404.html":  # its links begin with the address that the site will have
            continue
        for link in read.links + read.fetched:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "mailto", "data"):
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.exists(), f"{page.name}: {link}"
            if parts.fragment and target in site:
                assert parts.fragment in site[target].ids | {"__top", "__tabbed"}, f"{page.name}: {link}"


def test_the_command_line_page_has_every_command_and_option(site):
    (page,) = (page for page in site if page.name == "command-line.html")
    text = page.read_text()
    (commands,) = (action for action in parser()._actions if action.choices and action.dest == "command")
    for name, sub in commands.choices.items():
        assert f'id="sdf-{name}"' in text
        for option in (o for action in sub._actions for o in action.option_strings if action.dest != "help"):
            assert f"<code>{option}" in text or f", {option}" in text, f"{name} {option}"


def test_the_site_has_the_specification_with_an_anchor_for_every_clause(site):
    from conftest import SPEC, clauses

    (page,) = (page for page in site if page.name == "specification.html")
    assert {f"clause-{number}" for number in clauses(SPEC.read_text())} <= site[page].ids


# --- what the documents say


def test_nobody_is_told_to_install_a_name_that_is_not_registered():
    files = [
        path
        for tree in TREES
        for path in (ROOT / tree).rglob("*")
        if path.suffix in (".py", ".md", ".toml", ".xml", ".cu", ".cuh", ".ksy", "")
    ]
    for path in [*files, *ROOT.glob("*.md"), ROOT / "pyproject.toml"]:
        if path.is_file() and path != Path(__file__):
            assert not re.search(
                r"pip3? install [^\n`]*sdf[-_]format(?!-[0-9]|_format-|-\*)", path.read_text(errors="replace")
            ), path


def test_the_readme_is_short_and_its_links_are_files():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 80
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert len(links) > 10 and all((ROOT / link).exists() for link in links)


def test_the_wheel_that_is_named_is_the_one_that_is_built():
    named = {name for path in DOCUMENTS for name in re.findall(r"sdf_format-([0-9][^-\s]*)-py3", path.read_text())}
    assert named == {__version__}


def settings() -> dict[str, Any]:
    """pyproject.toml."""
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_levels_are_those_that_are_held():
    layers = settings()["tool"]["importlinter"]["contracts"][0]["layers"]
    held = [set(layer.split(" | ")) for layer in reversed(layers)]
    table = (ROOT / "CONTRIBUTING.md").read_text().split("| level |")[1].split("\n\n")[0]
    rows = [row.split("|")[2] for row in table.splitlines()[2:]]
    assert [set(re.findall(r"`(\w+)(?:/|\.py)`", row)) for row in rows] == held


def test_every_variable_of_the_environment_is_documented_and_no_other():
    files = [path for package in ("sdf_format", "pillow_plugin") for path in (ROOT / package).rglob("*.py")]
    read = {name for path in files for name in re.findall(r"\bSDF_[A-Z_]+\b", path.read_text())}
    table = (ROOT / "docs" / "models.md").read_text().split("## Environment variables")[1].split("\n## ")[0]
    assert set(re.findall(r"\bSDF_[A-Z_]+\b", table)) == read


def test_messages_name_extras_that_there_are():
    files = (ROOT / "sdf_format").rglob("*.py")
    named = {name for path in files for name in re.findall(r"with_extra\(['\"](\w+)['\"]\)", path.read_text())}
    assert {"cuda", "palette", "sound", "stable"} <= named <= set(settings()["project"]["optional-dependencies"])
    assert 'pip install "PATH[sound]"' in with_extra("sound")


def test_every_extra_is_explained_and_no_other():
    extras = settings()["project"]["optional-dependencies"]
    table = (ROOT / "docs" / "first-steps.md").read_text().split("| extra | for |")[1].split("\n\n")[0]
    assert {
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1] if row else "")
    } == set(extras)


def test_the_commands_above_the_figures_are_those_of_the_program(capsys):
    """BENCHMARKS.md: hours of work, so their options are held against what each benchmark says that it takes."""
    commands = re.findall(r"^    (sdf .*)$", (ROOT / "BENCHMARKS.md").read_text(), re.MULTILINE)
    assert len(commands) > 8
    for command in commands:
        names = command.split()[1:3] if command.startswith("sdf bench ") else command.split()[1:2]
        with pytest.raises(SystemExit) as ended:
            main([*names, "--help"])
        said = capsys.readouterr().out
        assert ended.value.code == 0 and all(option in said for option in re.findall(r"--[\w-]+", command)), command


def test_pictures_are_small():
    limits = {path: 150_000 for path in (ROOT / "docs" / "walk").iterdir()} | {
        ROOT / "docs" / "comparison.webp": 500_000
    }
    for path, limit in limits.items():
        assert path.stat().st_size <= limit, path
        if path.suffix == ".webp":
            Image.open(path).load()


def test_the_pictures_of_the_walk_are_made_by_their_script(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("make_walk", ROOT / "docs" / "make_walk.py")
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = script
    spec.loader.exec_module(script)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: written by docs/make_walk.py -->\nold\n<!-- end of table -->\nafter\n")
    script.make(picture(96, 64), page, tmp_path / "walk")
    number = int(re.search(r"(\d+) steps", capsys.readouterr().out)[1])
    rows = [line.split("|")[1:-1] for line in page.read_text().splitlines() if line.startswith("|")][2:]
    assert len(rows) == number and [int(row[0]) for row in rows] == list(range(1, number + 1))
    assert (
        page.read_text().startswith("before\n")
        and page.read_text().endswith("after\n")
        and "old" not in page.read_text()
    )
    assert float(rows[-1][5]) > float(rows[0][5])  # the guess after the last step is better than that after the first
    assert {path.name for path in (tmp_path / "walk").iterdir()} == {"steps.webp", "end.webp", "schedule.svg"}
