"""Coverage-guided fuzzing by atheris: `python tests/fuzz/run.py container|image CORPUS [options of libFuzzer, as
-runs=1000]`.

Inputs come from CORPUS and from the conformance suite, and are mended before they run: three of four get the CRCs that
their bytes call for.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import atheris

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

with atheris.instrument_imports(include=["sdf_format", "pillow_plugin", "construct"]):
    import targets

    from sdf_format.payloads import diffc  # noqa: F401


def mutated(data: bytes, largest: int, seed: int) -> bytes:
    made = atheris.Mutate(data, largest)
    return targets.mended(made)[:largest] if seed % 4 else made


def main() -> None:
    name, folder, *options = sys.argv[1:]
    corpus = Path(folder)
    corpus.mkdir(parents=True, exist_ok=True)
    for path in [
        *(HERE.parent.parent / "spec" / "conformance" / "files").glob("*.sdf"),
        *(HERE / "findings").glob("*.sdf"),
    ]:
        if path.stat().st_size < 2000:
            shutil.copy(path, corpus / path.name)
    target = targets.TARGETS[name]
    with targets.gaussian_models():
        atheris.Setup(
            [
                sys.argv[0],
                str(corpus),
                "-max_len=2000",
                "-timeout=20",
                "-rss_limit_mb=3000",
                "-print_final_stats=1",
                *options,
            ],
            lambda data: target(bytes(data)),
            custom_mutator=mutated,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
