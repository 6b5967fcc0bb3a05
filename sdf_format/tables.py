"""The specification's tables (spec/tables): numbers and names that decoders in every language read from one place."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


def folder() -> Path:
    """Where the tables are: beside this module where the package is installed, in the repository's spec/ otherwise."""
    package = Path(__file__).parent
    installed = package / "spec_tables"
    return installed if installed.is_dir() else package.parent / "spec" / "tables"


@cache
def table(name: str) -> dict[str, Any]:
    """A file of spec/tables by its stem, as JSON has it. Callers leave it as it is."""
    return dict(json.loads((folder() / f"{name}.json").read_text("utf-8")))


def names(key: str) -> dict[int, str]:
    """Id to name: one of the lists of ids.json, in the order of ids."""
    return {row["id"]: row["name"] for row in table("ids")[key]}


def limits() -> dict[str, int]:
    """What the specification bounds, by name."""
    return dict(table("ids")["limits"])
