"""Files made to cost much: whatever is done with them stays small in CPU seconds and in memory, and ends well or with
an error of ours.

`hostile_files.py` makes them, `hostile_run.py` measures in child processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import hostile_files
import pytest

clause = pytest.mark.clause

HERE = Path(__file__).parent
PLAIN = HERE.parent / "spec" / "conformance" / "files" / "metadata-zstandard.sdf"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are read from /proc")

# What may become of a hostile file: nothing escapes but errors of ours, and Pillow's of files that it does not know or
# finds too large.
OURS = {
    "ok",
    "BadFile",
    "TooLong",
    "Truncated",
    "Unsupported",
    "TooMuch",
    "IsSound",
    "MissingModel",
    "BadInput",
    "UnidentifiedImageError",
    "DecompressionBombError",
}
EXITS = tuple(f"exit {status}:" for status in (1, 3, 4, 5))
LOOKING = ("open", "info", "exif", "verify", "preview", "sdf verify", "sdf info", "sdf info --json", "sdf dump")
SHOWING = ("load", "thumbnail")
UNLIMITED = ("load unlimited", "thumbnail unlimited", "verify unlimited")
# Seconds of CPU and MB. Opening is what a program does to files that nobody asked it to show.
MOST_OPEN, MOST = (0.1, 50), (1.0, 120)


def operations(family: str, name: str) -> tuple[str, ...]:
    """What is tried with a file: as much as may be told of it without running the model for long."""
    found = LOOKING
    if family in ("alpha", "size", "preview"):
        found += SHOWING
    if name in ("alpha-bomb-65535", "size-65535-1step", "size-13377-1step", "preview-claims-12000"):
        found += UNLIMITED
    if family == "size":
        found += ("sdf decode", "sdf decode --to", "sdf thumbnail", "decode")
    if name.startswith("sound"):
        found += ("sdf decode sound",)
    if family == "rules":
        found += ("load",)
    return found


# Long by their nature, and allowed to be: they are measured by tests of their own.
PATIENT = (
    {("size-64-255-31", op) for op in ("load", "sdf decode", "sdf decode --to", "decode", "sdf thumbnail", "thumbnail")}
    | {
        ("size-1x1-255-31", op)
        for op in ("load", "sdf decode", "sdf decode --to", "decode", "sdf thumbnail", "thumbnail")
    }
    | {
        (f"preview-{what}", op)
        for what in (
            "scans-20kB",
            "scans-100kB",
            "scans-1MiB",
            "claims-65500",
            "proportion-1024x1",
            "animation",
            "exif",
            "exif-overlaps",
        )
        for op in ("load", "thumbnail")
    }
)


@pytest.fixture(scope="module")
def costs(tmp_path_factory) -> dict[tuple[str, str], dict[str, Any]]:
    """(file, operation) to what `hostile_run.py` says of it."""
    folder = tmp_path_factory.mktemp("hostile")
    cases = []
    for family, make in hostile_files.FAMILIES.items():
        for name, data in make().items():
            (folder / f"{name}.sdf").write_bytes(data)
            cases += [(str(folder / f"{name}.sdf"), op) for op in operations(family, name) if (name, op) not in PATIENT]
    return {(Path(c["path"]).stem, c["operation"]): c for c in run(cases)}


def run(cases: list[tuple[str, str]], **environment: str) -> list[dict[str, Any]]:
    import os

    given = (
        {k: v for k, v in os.environ.items() if not k.startswith("SDF_")}
        | {"SDF_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
        | environment
    )
    done = subprocess.run(
        [sys.executable, str(HERE / "hostile_run.py"), str(PLAIN)],
        input=json.dumps(cases),
        text=True,
        capture_output=True,
        env=given,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(cases)
    return found


def complaints(
    costs: dict, family: str, seconds: float, megabytes: float, some: tuple[str, ...] | None = None
) -> list[str]:
    names = hostile_files.FAMILIES[family]()
    found = []
    for (name, operation), cost in costs.items():
        if name not in names or (some and operation not in some):
            continue
        ours = cost["outcome"] in OURS or (
            operation.startswith("sdf") and cost["outcome"] == "OSError" and cost["message"].startswith(EXITS)
        )
        if not ours or cost["cpu"] > seconds or cost["mb"] > megabytes:
            found.append(
                f"{name}, {operation}: {cost['outcome']} {cost['message']}, {cost['cpu']:.2f} s, {cost['mb']:.0f} MB"
            )
    return found


@pytest.mark.parametrize("family", hostile_files.FAMILIES)
def test_opening_costs_next_to_nothing(costs, family):
    assert complaints(costs, family, *MOST_OPEN, ("open",)) == []


@clause("3.4", "3.5", "3.6", "8.1")
@pytest.mark.parametrize("family", hostile_files.FAMILIES)
def test_looking_at_a_file_costs_little_and_nothing_foreign_escapes(costs, family):
    """Metadata, verifying, describing, dumping, previews; loading and thumbnails where they are refused."""
    assert complaints(costs, family, *MOST) == []


@clause("8.1")
@pytest.mark.parametrize("name", ["size-8192-1step", "size-8192-worst", "size-9459-1step", "size-13377-1step"])
@pytest.mark.parametrize("operation", ["load", "thumbnail"])
def test_what_takes_more_memory_than_there_is_is_refused_before_it_starts(costs, name, operation):
    """Children get 3 GiB of address space, of which half is the default."""
    cost = costs[name, operation]
    assert (cost["outcome"] == "TooMuch" and "most_memory" in cost["message"]) or "most_work" in cost["message"], cost


@clause("3.6")
@pytest.mark.parametrize(
    "name",
    [
        "preview-scans-20kB",
        "preview-scans-100kB",
        "preview-scans-1MiB",
        "preview-claims-12000",
        "preview-claims-65500",
        "preview-exif",
        "preview-exif-overlaps",
        "preview-proportion-1024x1",
        "preview-broken-9459",
    ],
)
def test_previews_that_cost_much_are_passed_over_or_cheap(costs, name):
    assert costs[name, "preview"]["cpu"] < 0.3


@clause("3.4", "3.5", "4.2", "5.1", "5.3", "8.2")
@pytest.mark.parametrize("name", sorted(hostile_files.rule_files()))
def test_verify_refuses_what_load_refuses_without_a_model(costs, name):
    verified, loaded = costs[name, "sdf verify"], costs[name, "load"]
    assert verified["outcome"] == "OSError", (verified, loaded)
    assert loaded["outcome"] in OURS - {"ok"}
