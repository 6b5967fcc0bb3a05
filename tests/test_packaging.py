"""Types, lint, and what is built: the source archive, the wheel made of it, and the wheel installed where nothing else
of the project is.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from pictures import picture
from PIL import Image

ROOT = Path(__file__).parent.parent
SOURCES = (
    "sdf_format",
    "pillow_plugin",
    "cuda",
    "spec/tables",
    "web",
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
    "constraints.txt",
)


def needs(*names: str) -> None:
    lacking = [name for name in names if importlib.util.find_spec(name) is None]
    if lacking:
        pytest.skip(f"not installed: {', '.join(lacking)}")


def ran(*command: object, **options) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_whole_package_is_typed_strictly(tmp_path):
    needs("mypy")
    for package in ("sdf_format", "pillow_plugin"):
        assert (ROOT / package / "py.typed").exists()
    # Without those, or it finds everything twice.
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MYPYPATH")}
    ran(sys.executable, "-m", "mypy", "--cache-dir", tmp_path, cwd=ROOT, env=environment)


def test_lint():
    needs("ruff")
    ran(sys.executable, "-m", "ruff", "check", "--no-cache", ".", cwd=ROOT)
    ran(sys.executable, "-m", "ruff", "format", "--check", "--no-cache", ".", cwd=ROOT)


def test_folders_import_from_lower_levels_alone():
    needs("importlinter")
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    assert "0 broken" in ran(sys.executable, "-c", code, cwd=ROOT)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the source archive and the wheel made of it."""
    needs("build", "setuptools")
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        else:
            shutil.copy(ROOT / name, source / name)
    ran(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source)
    return folder


def test_the_wheel_has_every_module_and_all_data(built):
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in ("sdf_format", "pillow_plugin"):
        # autoload: a distribution of its own; runs: weights in training, which nobody but the trainer needs
        wanted = {
            p.relative_to(ROOT).as_posix()
            for p in (ROOT / package).rglob("*")
            if p.is_file() and not {"__pycache__", "autoload", "runs"} & {*p.parts}
        }
        assert wanted - names == set()
    assert {f"sdf_format/cuda_sources/{p.name}" for p in (ROOT / "cuda").glob("*.cu*")} <= names
    page = [*(ROOT / "web").glob("*.js"), *(ROOT / "web" / "src").glob("*.js"), ROOT / "web" / "index.html"]
    assert {f"sdf_format/web_sources/{p.relative_to(ROOT / 'web').as_posix()}" for p in page} <= names
    outside = ("tests/", "cuda/", "spec/", "pillow_plugin/autoload", "sdf_format/training/runs")
    assert not any(name.startswith(outside) for name in names)
    assert wheel.stat().st_size < 25_000_000


def test_the_source_archive_is_enough_to_build(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {
        "LICENSE",
        "README.md",
        "pyproject.toml",
        *(f"cuda/{p.name}" for p in (ROOT / "cuda").glob("*.cu*")),
    } <= names


def test_the_installed_wheel_works_without_the_sources(built, tmp_path):
    """In an environment of its own, to which the dependencies are lent."""
    (wheel,) = built.glob("*.whl")
    venv.create(tmp_path / "env", symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    ran(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    (own,) = (tmp_path / "env").glob("lib/python*/site-packages")
    (own / "lent.pth").write_text("\n".join(site.getsitepackages()))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["SDF_CACHE"] = str(tmp_path / "cache")
    picture(32, 24).save(tmp_path / "x.png")
    sdf = tmp_path / "env" / "bin" / "sdf"
    ran(sdf, "encode", "--target-bytes", "120", "x.png", "x.sdf", cwd=tmp_path, env=environment)
    assert (tmp_path / "x.sdf").stat().st_size <= 120
    ran(sdf, "decode", "x.sdf", "y.png", cwd=tmp_path, env=environment)
    with Image.open(tmp_path / "y.png") as image:
        assert image.size == (32, 24)
    where = ran(
        python, "-c", "import sdf_format, pillow_plugin; print(sdf_format.__file__)", cwd=tmp_path, env=environment
    )
    assert str(tmp_path) in where


def test_without_torch_on_every_python_at_hand():
    """SDF_PYTHONS names other interpreters that have Pillow, construct, zstandard and NumPy, as PATH does folders."""
    pythons = [sys.executable, *filter(None, os.environ.get("SDF_PYTHONS", "").split(os.pathsep))]
    for python in pythons:
        said = ran(python, ROOT / "tests" / "torchless.py", cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
        assert " files accepted, " in said
