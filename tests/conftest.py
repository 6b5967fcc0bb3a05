"""The `clause` marker: a test names the clauses of spec/sdf-1.md that it holds the code to, as in @clause("3.2",
"3.3").
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

SPEC = Path(__file__).parent.parent / "spec" / "sdf-1.md"
HEADING = re.compile(r"#{2,6} (?:(?:Annex|Appendix) )?(\d+(?:\.\d+)*|[A-Z](?:\.\d+)*)[ .:]")


def clauses(text: str) -> dict[str, str]:
    """Clause number to the text from its heading to the next one, sub-clauses excluded."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    fenced = False
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        heading = None if fenced else HEADING.match(line)
        if heading:
            current = found.setdefault(heading[1], [])
        current.append(line)
    return {number: "\n".join(lines) for number, lines in found.items()}


def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:  # threads of several processes would wait for each other
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    config.addinivalue_line("markers", "clause(*numbers): the clauses of spec/sdf-1.md that the test holds the code to")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    cited = [(number, item.nodeid) for item in items for mark in item.iter_markers("clause") for number in mark.args]
    if not cited:
        return
    if not SPEC.exists():
        raise pytest.UsageError(f"tests cite clauses of {SPEC}, which does not exist")
    known = clauses(SPEC.read_text())
    wrong = sorted({f"{node} cites clause {number}" for number, node in cited if number not in known})
    if wrong:
        raise pytest.UsageError("\n".join([f"{SPEC} has no heading for these:", *wrong, f"It has: {', '.join(known)}"]))
