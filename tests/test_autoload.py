"""The distribution for programs that cannot be edited, and frameworks that meet the plugin: docs/pillow.md."""

from __future__ import annotations

import io
import os
import pkgutil
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import tomllib
from pictures import picture, saved
from PIL import Image

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "pillow_plugin" / "autoload"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder as pip would leave it, from a wheel that is built now."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("autoload")
    shutil.copytree(SOURCE, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(folder / "source"),
    ]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "x.sdf"
    path.write_bytes(saved(picture(32, 32), quality=5))
    return path


def program(installed: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that treats the folder as its site-packages and then runs a program that knows nothing of
    SDF.
    """
    start = f"import site, sys; site.addsitedir({str(installed)!r})\n"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", start + code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path} | environment,
    )


def test_a_wheel_has_both_startup_files_beside_its_module(installed):
    names = {p.name for p in installed.iterdir()}
    assert {"sdf_autoload.py", "sdf_autoload.pth", "sdf_autoload.start"} <= names
    lines = (installed / "sdf_autoload.start").read_text().splitlines()
    sys.path.insert(0, str(installed))
    try:
        (arm,) = [pkgutil.resolve_name(line) for line in lines]  # as PEP 829 does
        assert (
            installed / "sdf_autoload.pth"
        ).read_text().strip() == f"import {arm.__module__}; {arm.__module__}.{arm.__name__}()"
    finally:
        sys.path.remove(str(installed))


def test_an_unedited_program_opens_sdf(installed, file):
    done = program(
        installed,
        f"from PIL import Image\nprint(Image.open({str(file)!r}).size, [m for m in ('torch', 'numpy') if m in "
        "sys.modules])",
    )
    assert (done.stdout.strip(), done.stderr) == ("(32, 32) []", "")


def test_a_program_without_pillow_loads_neither(installed):
    done = program(
        installed,
        "print(sorted(m for m in ('PIL', 'pillow_plugin', 'importlib.util') if m in sys.modules), 'sdf_autoload' in "
        "sys.modules)",
    )
    assert "PIL" not in done.stdout and "pillow_plugin" not in done.stdout and done.stdout.strip().endswith("True")


@pytest.mark.parametrize("environment", [{"SDF_AUTOLOAD": "0"}])
def test_it_can_be_turned_off(installed, file, environment):
    done = program(installed, f"from PIL import Image\nImage.open({str(file)!r})", **environment)
    assert "UnidentifiedImageError" in done.stderr


def test_a_plugin_that_cannot_be_imported_is_a_warning(installed):
    done = program(
        installed, "sys.modules['pillow_plugin'] = None\nfrom PIL import Image\nprint(Image.new('L', (1, 1)).size)"
    )
    assert done.stdout.strip() == "(1, 1)" and "RuntimeWarning" in done.stderr


def test_it_is_no_part_of_the_main_distribution():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "autoload" not in repr(settings) and not (SOURCE / "__init__.py").exists()


def test_django_takes_an_upload(file):
    pytest.importorskip("django")
    from django.conf import settings

    if not settings.configured:
        settings.configure(USE_I18N=False)
    from django.core.files.uploadedfile import SimpleUploadedFile
    from django.forms import ImageField, ValidationError

    data = file.read_bytes()
    field = ImageField()
    assert field.clean(SimpleUploadedFile("x.sdf", data)).content_type == Image.MIME["SDF"]
    with pytest.raises(ValidationError):
        field.clean(SimpleUploadedFile("x.sdf", data[:-1]))
    with pytest.raises(ValidationError):
        field.clean(SimpleUploadedFile("x.sdf", data[:-6] + bytes([data[-6] ^ 4]) + data[-5:]))


def test_notebooks_show_the_picture(file):
    with Image.open(file) as image:
        assert Image.open(io.BytesIO(image._repr_png_())).size == (32, 32)
