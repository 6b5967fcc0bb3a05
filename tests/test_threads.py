"""Cores that one coding uses, what it leaves as it was, and that its threads do not spin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from pictures import opened, picture, saved

from sdf_format import host, threads
from sdf_format.bench import load
from sdf_format.cli import main as cli
from sdf_format.errors import BadInput


@pytest.fixture
def free(monkeypatch):
    """No variable that says how many threads there are to be."""
    for name in (threads.VARIABLE, "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def groups(root: Path, lines: str, **files: str) -> Path:
    """A root with control groups.  files: below sys/fs/cgroup, __ for a slash, _dot_ for a dot"""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def with_cores(monkeypatch, number: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(number)), raising=False)


@pytest.mark.parametrize(
    ("lines", "files", "cores"),
    [
        ("0::/a/b\n", {"a__b__cpu_dot_max": "250000 100000\n"}, 3),
        ("0::/a/b\n", {"a__b__cpu_dot_max": "max 100000\n", "a__cpu_dot_max": "100000 100000\n"}, 1),
        ("0::/host/path\n", {"cpu_dot_max": "50000 100000\n"}, 1),  # in a container
        ("0::/a\n", {"a__cpu_dot_max": "max 100000\n"}, 8),
        ("0::/a\n", {"a__cpu_dot_max": "nonsense\n"}, 8),
        (
            "4:cpu,cpuacct:/x\n3:memory:/y\n",
            {"cpu__x__cpu_dot_cfs_quota_us": "150000\n", "cpu__x__cpu_dot_cfs_period_us": "100000\n"},
            2,
        ),
        (
            "4:cpu,cpuacct:/x\n",
            {
                "cpu,cpuacct__x__cpu_dot_cfs_quota_us": "400000\n",
                "cpu,cpuacct__x__cpu_dot_cfs_period_us": "100000\n",
            },
            4,
        ),
        ("4:cpu:/x\n", {"cpu__x__cpu_dot_cfs_quota_us": "-1\n", "cpu__x__cpu_dot_cfs_period_us": "100000\n"}, 8),
        ("3:cpuacct:/x\n", {"cpu__x__cpu_dot_cfs_quota_us": "1\n", "cpu__x__cpu_dot_cfs_period_us": "1\n"}, 8),
    ],
)
def test_quotas_of_control_groups_bound_the_cores(tmp_path, monkeypatch, lines, files, cores):
    with_cores(monkeypatch, 8)
    assert threads.available(groups(tmp_path, lines, **files)) == cores


def test_affinity_bounds_the_cores(tmp_path, monkeypatch):
    with_cores(monkeypatch, 3)
    assert threads.available(tmp_path) == 3


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_a_process_bound_to_one_core_uses_one():
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from sdf_format import threads; print(threads.count())"
    )
    environment = {k: v for k, v in os.environ.items() if k not in (threads.VARIABLE, "OMP_NUM_THREADS")}
    assert subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True).stdout == b"1\n"


def test_the_environment_says_how_many(free, tmp_path):
    with_cores(free, 8)
    assert threads.count(tmp_path) == 8
    free.setenv("OMP_NUM_THREADS", "3,2")
    assert threads.count(tmp_path) == 3
    free.setenv(threads.VARIABLE, "5")
    assert threads.count(tmp_path) == 5


@pytest.mark.parametrize("said", ["0", "-1", "two", "1.5", "1025", "²"])
def test_a_number_of_threads_that_is_none_is_an_error_of_ours(free, said):
    data = saved(picture(16, 16), quality=5)
    free.setenv(threads.VARIABLE, said)
    with pytest.raises(BadInput, match="SDF_THREADS.*wanted a whole number from 1 to 1024"):
        opened(data).load()


def test_the_threads_of_the_program_are_as_before(free):
    before, seen, go, done = torch.get_num_threads(), [], threading.Event(), threading.Event()

    def neighbour() -> None:
        go.wait()
        seen.append(torch.get_num_threads())
        done.set()

    other = threading.Thread(target=neighbour)
    other.start()
    free.setenv(threads.VARIABLE, str(before + 2))
    with pytest.raises(ZeroDivisionError), host.own_settings():
        assert torch.get_num_threads() == before + 2
        go.set()
        assert done.wait(60)
        with host.own_settings():
            assert torch.get_num_threads() == before + 2
        assert torch.get_num_threads() == before + 2
        raise ZeroDivisionError
    other.join()
    assert (torch.get_num_threads(), seen) == (before, [before])


NUMBERS = (1, 3)
CHILD = """
import io, json, os, sys
first, data = sys.argv[1] == "first", open(sys.argv[2], "rb").read()
if first:
    import torch
    torch.set_num_threads(2)
before = dict(os.environ)
import pillow_plugin
from PIL import Image
def tasks():
    return len(os.listdir("/proc/self/task"))
import numpy
start = tasks()
pixels = Image.open(io.BytesIO(data)).convert("RGB").tobytes()
import hashlib, torch
from sdf_format import threads
print(json.dumps(dict(
    pixels=hashlib.sha256(pixels).hexdigest(), more=tasks() - start, environment=dict(os.environ) == before,
    threads=torch.get_num_threads(), asleep=threads._passive,
    parked=sum(t.name == "sdf-format-parked" for t in __import__("threading").enumerate()))))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_as_many_threads_as_allowed_and_the_same_pixels_from_any_number(tmp_path):
    """Whether or not the program has loaded PyTorch before: its setting stays, the environment too."""
    path = tmp_path / "x.sdf"
    path.write_bytes(saved(picture(96, 80), quality=30))

    def child(when: str, number: int) -> dict[str, object]:
        environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", *threads.PASSIVE)}
        environment |= {threads.VARIABLE: str(number), "SDF_DEVICE": "cpu", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-c", CHILD, when, str(path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    found = {(when, number): child(when, number) for when in ("first", "later") for number in NUMBERS}
    assert len({answer["pixels"] for answer in found.values()}) == 1
    assert all(answer["environment"] for answer in found.values())
    assert {found["first", number]["threads"] for number in NUMBERS} == {2}
    # Beside those that PyTorch has anyway.
    assert [found["later", number]["more"] - found["later", 1]["more"] for number in NUMBERS] == [0, 2]
    assert all(found["later", number]["asleep"] and not found["later", number]["parked"] for number in NUMBERS)
    if "libgomp" in [runtime.prefix for runtime in threads._openmp()]:
        assert [found["first", number]["parked"] for number in NUMBERS] == [0, 1]


def test_the_benchmark_answers_every_client(tmp_path, capsys):
    picture(24, 16).save(tmp_path / "x.png")
    assert (
        cli.main(["bench", "load", str(tmp_path / "x.png"), "--sizes", "24x16", "--clients", "2", "--seconds", "0"])
        == 0
    )
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:4] for row in rows] == [
        ["24x16", "2", kind, settings]
        for kind in (load.THREADS, load.PROCESSES)
        for settings in (load.OURS, load.PLAIN)
    ]
    assert all(float(cell) > 0 for row in rows for cell in row[4:])
