"""Tables for people and for documents, laid out by tabulate."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import TracebackType

from sdf_format.inspect.printable import printable


def lines(
    rows: Sequence[Sequence[object]],
    headers: Sequence[str] = (),
    form: str = "plain",
    align: Sequence[str] | None = None,
) -> list[str]:
    """Lines of aligned text; none without rows.

    form   "plain", or "pipe" for Markdown
    align  of each column, "left", "right" or "center"
    """
    from tabulate import tabulate

    if not rows:
        return []
    bar = r"\|" if form == "pipe" else "|"
    cells = [[printable(cell).replace("|", bar) for cell in row] for row in rows]
    text = tabulate(cells, headers, tablefmt=form, disable_numparse=True, colalign=align)
    return [line.rstrip() for line in text.splitlines()]


class Table:
    """Rows that come one by one, printed as Markdown when the block ends: after an error or an interruption, too.

    On a terminal a counter tells meanwhile how many there are.  total: how many there will be, if that is known
    """

    def __init__(self, *headers: str, total: int | None = None):
        self.headers: tuple[str, ...] = headers
        self.rows: list[Sequence[object]] = []
        self.total = total

    def __enter__(self) -> Table:
        from tqdm import tqdm

        self.counter = tqdm(total=self.total, unit=" rows", file=sys.stderr, leave=False, disable=None)
        return self

    def add(self, *cells: object) -> None:
        """A row, as long as the header."""
        assert len(cells) == len(self.headers), (cells, self.headers)
        self.rows.append(cells)
        self.counter.update()

    def add_named(self, row: Mapping[str, object], form: str) -> None:
        """A row whose keys are the headers, if there are none yet.  form: of floats"""
        self.headers = self.headers or tuple(row)
        self.add(*(f"{value:{form}}" if isinstance(value, float) else value for value in row.values()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.counter.close()
        for line in lines(self.rows, self.headers, "pipe"):
            print(line, flush=True)
