"""What the package does without torch, on every file of the suite: `python tests/torchless.py`, on any Python that has
the other packages.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

sys.modules["torch"] = None  # type: ignore[assignment]

from PIL import Image  # noqa: E402

import pillow_plugin  # noqa: E402
from sdf_format.cli import main as cli  # noqa: E402
from sdf_format.container import chunks  # noqa: E402
from sdf_format.errors import SdfError  # noqa: E402
from sdf_format.inspect import dump, validate  # noqa: E402

SUITE = Path(__file__).parent.parent / "spec" / "conformance"


# Rules of the manifest that need a model, or what decodes payloads of other kinds.
NEED_WEIGHTS = {"weights", "latent-differs", "mode-differs", "predicts", "vectors", "scales", "symbols"}


def said(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        return cli.main(list(arguments)), out.getvalue()


def main() -> None:
    manifest = json.loads((SUITE / "manifest.json").read_text(encoding="utf-8"))
    for entry in manifest["accepted"]:
        path, header = SUITE / entry["file"], entry["header"]
        with Image.open(path) if "width" in header else contextlib.nullcontext() as image:
            if image is None:  # a sound
                continue
            assert (image.width, image.height, image.mode) == (header["width"], header["height"], header["mode"]), path
            assert image.info.get("text", {}) == header["metadata"].get("text", {}), path
            image.getexif(), image.getxmp()
            image.verify()
        assert said("verify", str(path)) == (0, f"{path}: ok\n")
        printed = json.loads(said("info", "--json", str(path))[1])
        assert printed["valid"] and printed.get("schedule_fields") == header.get("schedule_fields"), path
        data = path.read_bytes()
        assert b"".join(row.data for row in dump.rows(io.BytesIO(data), len(data))) == data
    for entry in manifest["refused"]:
        if entry["rule"] in NEED_WEIGHTS:
            continue
        with (SUITE / entry["file"]).open("rb") as stream:
            try:
                validate.check(stream, chunks.scan(stream))
            except SdfError as error:
                assert (error.code, error.offset) == (entry["error"], entry["offset"]), entry["name"]
            else:
                raise AssertionError(entry["name"])
    with Image.open(SUITE / "files" / "preview-webp.sdf") as image:
        image.thumbnail((8, 8))
        assert image.size[0] == 8
    pillow_plugin.unregister_sdf_opener()
    print(
        f"Python {sys.version.split()[0]}, Pillow {Image.__version__}: {len(manifest['accepted'])} files accepted, "
        f"{len(manifest['refused'])} refused"
    )


if __name__ == "__main__":
    main()
