"""Runs the blocks of code of a document, in order, in the current folder: `python tests/run_document.py DOCUMENT`.

Python blocks share one namespace; one with `if __name__ == "__main__"` is a program of its own. Shell blocks stop at
the first command that fails. A block runs unless the line before it is the comment `<!-- not run: reason -->`. The
comment `<!-- test ... -->` is Python that readers do not see. `<!-- needs: program -->` says what must be installed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

NOT_RUN = re.compile(r"<!-- not run: (.+) -->\n?")
NEEDS = re.compile(r"<!-- needs: (\S+) -->\n?")
TEST = re.compile(r"<!-- test\n(.*)-->\n?", re.DOTALL)
TEXT = "text"  # a language of what is no code


@dataclass(frozen=True)
class Block:
    """A block of code.

    line      of the document, from 1
    language  empty if none is named
    reason    why it is not run, or None
    needs     a program that must be installed, or None
    """

    line: int
    language: str
    code: str
    reason: str | None = None
    needs: str | None = None


def blocks(document: str) -> list[Block]:
    """All of a document's blocks, hidden tests among them, but for those of the language `text`."""
    found: list[Block] = []
    reason = needs = None
    for token in MarkdownIt("commonmark").parse(document):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "html_block":
            if test := TEST.fullmatch(token.content):
                found.append(Block(line, "python", test[1]))
            reason = said[1] if (said := NOT_RUN.fullmatch(token.content)) else None
            needs = said[1] if (said := NEEDS.fullmatch(token.content)) else None
            continue
        if token.type in ("fence", "code_block") and token.info != TEXT:
            found.append(Block(line, token.info, token.content, reason, needs))
        reason = needs = None
    return found


def run(path: Path) -> None:
    """Run a document; the first block that fails ends it, with the line of the document in the traceback."""
    namespace: dict[str, object] = {"__name__": "document"}
    for block in blocks(path.read_text(encoding="utf-8")):
        if block.reason:
            continue
        code = "\n" * (block.line if block.language else 0) + block.code
        if block.language == "python" and "__main__" in block.code:
            program = Path(f"line_{block.line}.py")
            program.write_text(block.code)
            subprocess.run([sys.executable, program], check=True)
        elif block.language == "python":
            exec(compile(code, str(path), "exec"), namespace)
        elif block.language == "sh":
            print(f"{path.name}, line {block.line}", flush=True)
            subprocess.run(["bash", "-euo", "pipefail", "-c", block.code], check=True)
        else:
            raise ValueError(f"{path}, line {block.line}: language {block.language!r} is not run, and no reason given")


if __name__ == "__main__":
    run(Path(sys.argv[1]))
