"""MkDocs' hooks: pages that are kept elsewhere or made when the site is built, links, and clauses of the specification.

A page links to files from its own folder, as code hosts want it: README.md to docs/pillow.md, docs/pillow.md to
../BENCHMARKS.md. The site has one folder; `on_page_markdown` translates.
"""

from __future__ import annotations

import argparse
import posixpath
import re
from functools import partial
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from sdf_format.cli.main import parser

ROOT = Path(__file__).parent.parent
PAGES = {  # of the repository, by their names in the site
    "index.md": "README.md",
    "specification.md": "spec/sdf-1.md",
    "media-type.md": "spec/media-type.md",
    "javascript.md": "web/README.md",
    "benchmarks.md": "BENCHMARKS.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
}
WIDE = ("experiments.md",)  # tables that take the place of the page's contents
COMMAND_LINE = "command-line.md"  # what the parser says follows its text
FILES = (
    "spec/sdf.ksy",
    "spec/sdf.hexpat",
    "spec/sdf.magic",
    "spec/info.schema.json",
    "spec/desktop/sdf.xml",
    "spec/desktop/sdf.thumbnailer",
)
LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(\))")
CODE = re.compile(r"(^```.*?^```$|`[^`\n]*`)", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#{2,6} (?:Annex )?(\d+(?:\.\d+)*|[A-Z](?=[ :])).*$", re.MULTILINE)
CLAUSE = re.compile(r"§(\d+(?:\.\d+)*)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the repository's other folders, and files that pages link to."""
    for name, source in PAGES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    for source in FILES:
        files.append(File.generated(config, source, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Links as the site has them; clauses of the specification as anchors and as links to them."""
    here = page.file.src_uri
    source = PAGES.get(here, f"docs/{here}")
    if here in WIDE:
        page.meta["hide"] = ["toc"]
    if here == COMMAND_LINE:
        markdown += command_line(parser())
    if here == "specification.md":
        markdown = outside_code(markdown, lambda text: HEADING.sub(r"\g<0> {#clause-\1}", text))
    known = set(HEADING.findall((ROOT / PAGES["specification.md"]).read_text(encoding="utf-8")))

    def clause(found: re.Match[str]) -> str:
        """A link, unless the clause is one of another text, such as an RFC."""
        return f"[{found[0]}](specification.md#clause-{found[1]})" if found[1] in known else found[0]

    return outside_code(markdown, lambda text: CLAUSE.sub(clause, LINK.sub(lambda m: linked(m, source), text)))


def outside_code(markdown: str, change: Any) -> str:
    """`change` what is neither a fenced block nor code within a line."""
    return "".join(part if number % 2 else change(part) for number, part in enumerate(CODE.split(markdown)))


def linked(found: re.Match[str], source: str) -> str:
    """A link of a file of the repository as a link of the site."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[2]))
    target = next((name for name, own in PAGES.items() if own == path), None)
    if target is None and path.startswith("docs/"):
        target = path.removeprefix("docs/")
    if target is None and path in FILES:
        target = path
    if target is None:
        raise PluginError(f"{source}: {found[2]} is no page of the site, and no file that docs/hooks.py publishes")
    return f"{found[1]}{target}{found[3] or ''}{found[4]}"


def command_line(top: argparse.ArgumentParser) -> str:
    """Markdown of a parser with subcommands: of each its usage, and a table for every group of arguments."""
    lines = ["", sentence(top.description), "", sentence(top.epilog)]
    (commands,) = (action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    summaries = {choice.dest: choice.help for choice in commands._choices_actions}
    lines += [
        "",
        "| command | |",
        "|---|---|",
        *(f"| [`{top.prog} {name}`](#{top.prog}-{name}) | {cell(summaries[name])} |" for name in commands.choices),
    ]
    for name, sub in commands.choices.items():
        lines += [
            "",
            f"## {top.prog} {name}",
            "",
            sentence(sub.description or summaries[name]),
            "",
            "```text",
            usage(sub),
            "```",
        ]
        for group in sub._action_groups:
            shown = [
                action
                for action in group._group_actions
                if not isinstance(action, argparse._HelpAction) and action.help != argparse.SUPPRESS
            ]
            if shown:
                lines += [
                    "",
                    f"| {cell(group.title)} | |",
                    "|---|---|",
                    *(f"| `{cell(called(action))}` | {cell(meaning(action, sub))} |" for action in shown),
                ]
        if sub.epilog:
            lines += ["", "```text", sub.epilog, "```"]
    return "\n".join(lines) + "\n"


def usage(sub: argparse.ArgumentParser) -> str:
    """As the program prints it on a terminal of 100 columns, the lines after the first moved to the left."""
    sub.formatter_class = partial(sub.formatter_class, width=100)  # type: ignore[assignment]
    lines = sub.format_usage().removeprefix("usage: ").rstrip().splitlines()
    return "\n".join(["".join(lines[:1]), *(f"    {line.strip()}" for line in lines[1:])])


def called(action: argparse.Action) -> str:
    """How an argument is written: its names, and what follows them."""
    value = (
        action.metavar
        or (None if action.choices is None else "{" + ",".join(map(str, action.choices)) + "}")
        or action.dest.upper()
    )
    value = value if isinstance(value, str) else " ".join(value)
    if not action.option_strings:
        return value
    return ", ".join(action.option_strings) + (
        "" if action.nargs == 0 else f" [{value}]" if action.nargs == "?" else f" {value}"
    )


def meaning(action: argparse.Action, sub: argparse.ArgumentParser) -> str:
    """An argument's help, its default filled in."""
    return sub._get_formatter()._expand_help(action) if action.help else ""


def sentence(text: str | None) -> str:
    """Text with a capital at its beginning and a full stop at its end."""
    return "" if not text else text[0].upper() + text[1:].rstrip(".") + "."


def cell(text: str | None) -> str:
    """Text within a row of a table."""
    return (text or "").replace("|", "\\|").replace("\n", " ")
