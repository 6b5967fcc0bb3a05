"""What the specification's text holds for programs: its tables, its blocks of Python, and the JSON beside it."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

SPEC = Path(__file__).parent.parent / "spec"
TEXT = SPEC / "sdf-1.md"
TABLES = SPEC / "tables"


def rows(number: str) -> list[list[str]]:
    """Cells of the rows of a Markdown table, without its two head rows, below the line 'Table <number>: ...'."""
    lines = TEXT.read_text("utf-8").splitlines()
    captions = [i for i, line in enumerate(lines) if re.match(rf"\W*Table {re.escape(number)}\b[:.]", line)]
    assert len(captions) == 1, f"table {number} has {len(captions)} captions"
    found: list[list[str]] = []
    for line in lines[captions[0] + 1 :]:
        if line.startswith("|"):
            found.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        elif found:
            break
    assert len(found) > 2, f"table {number} is empty"
    return found[2:]


@lru_cache(maxsize=1)
def programs() -> dict[str, Any]:
    """The names that the text's blocks of Python define."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT.read_text("utf-8"), flags=re.S):
        exec(compile(block, str(TEXT), "exec"), names)
    return names


def table(name: str) -> dict[str, Any]:
    """A file of spec/tables."""
    return dict(json.loads((TABLES / f"{name}.json").read_text("utf-8")))
