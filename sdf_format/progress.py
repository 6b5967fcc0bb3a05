"""How long work tells of itself."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]  # (done, total), between model calls; an exception from it ends the work


def no_progress(done: int, total: int) -> None:
    """For those who do not want to know."""
