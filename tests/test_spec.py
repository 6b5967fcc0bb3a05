"""The specification against the tests and the tables in the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from conftest import SPEC, clauses

from sdf_format.container import chunks
from sdf_format.container.header import MODES


@pytest.fixture(scope="module")
def spec() -> str:
    return SPEC.read_text()


def citations(source: str) -> set[str]:
    """The clause numbers in a test file's @clause(...), @pytest.mark.clause(...) and pytestmark."""
    calls = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call)]
    calls = [n for n in calls if getattr(n.func, "id", None) == "clause" or getattr(n.func, "attr", None) == "clause"]
    return {a.value for n in calls for a in n.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}


def table(spec: str, number: str) -> list[list[str]]:
    """Cells of the rows of a Markdown table, without its two head rows, below the line 'Table <number>: ...'."""
    lines = spec.splitlines()
    captions = [i for i, line in enumerate(lines) if re.match(rf"\W*Table {re.escape(number)}\b[:.]", line)]
    assert len(captions) == 1, f"table {number} has {len(captions)} captions"
    rows = []
    for line in lines[captions[0] + 1 :]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        elif rows:
            break
    assert len(rows) > 2, f"table {number} is empty"
    return rows[2:]


def test_every_clause_with_a_shall_is_cited_by_a_test(spec):
    cited = set().union(*(citations(p.read_text()) for p in Path(__file__).parent.glob("test_*.py")))
    binding = {n for n, text in clauses(spec).items() if re.match(r"[3-7]\.", n) and re.search(r"\bshall\b", text)}
    assert binding, "sections 3 to 7 have no clause with a 'shall'"
    assert sorted(binding - cited) == []


def test_table_3_1_lists_the_chunks_of_the_code(spec):
    rows = {}
    for kind, criticality, name, *_ in table(spec, "3.1"):
        letter = re.fullmatch(r"`(.)`", kind)
        assert letter, f"table 3.1: {kind} is not one letter in backticks"
        rows[letter[1].encode()] = name
        assert criticality == ("critical" if letter[1].isupper() else "ancillary"), kind
    assert rows == chunks.CHUNKS


def test_table_3_2_lists_the_modes_of_the_code(spec):
    assert [(int(number), mode.strip("`")) for number, mode, *_ in table(spec, "3.2")] == list(enumerate(MODES))
