"""A training run's state in files small enough to travel one by one.

`checkpoint.json` names the parts, `checkpoint-STEP.000` and so on, and their hash. It is replaced when all of them are
there: a run that is cut off while it writes goes on from the checkpoint before.

`python -m sdf_format.training.checkpoints RUN --out weights.safetensors` takes the averaged weights out of one.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from sdf_format import atomic
from sdf_format.errors import BadInput

PART = 15_000_000  # bytes
INDEX = "checkpoint.json"


def exists(run: Path) -> bool:
    """Whether a run has a checkpoint."""
    return (run / INDEX).exists()


def save(state: dict[str, Any], run: Path) -> None:
    """A state that `torch.save` takes, with its `step`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    names = [f"checkpoint-{state['step']}.{number:03d}" for number in range(-(-len(data) // PART))]
    for number, name in enumerate(names):
        (run / name).write_bytes(data[number * PART : (number + 1) * PART])
    index = {"step": state["step"], "parts": names, "sha256": hashlib.sha256(data).hexdigest()}
    atomic.write(run / INDEX, (json.dumps(index) + "\n").encode())
    for old in run.glob("checkpoint-*.*"):
        if old.name not in names:
            old.unlink()


def load(run: Path, device: torch.device) -> dict[str, Any]:
    """The state that was saved last.  BadInput if parts of it are missing or damaged"""
    index = json.loads((run / INDEX).read_text())
    missing = [name for name in index["parts"] if not (run / name).exists()]
    if missing:
        raise BadInput(f"{run}: the checkpoint of step {index['step']} lacks {', '.join(missing)}")
    data = b"".join((run / name).read_bytes() for name in index["parts"])
    if hashlib.sha256(data).hexdigest() != index["sha256"]:
        raise BadInput(f"{run}: the checkpoint of step {index['step']} is damaged; its parts have another SHA-256")
    state: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True, map_location=device)
    return state


def export(state: dict[str, Tensor], path: Path) -> None:
    """bfloat16 weights, float32 statistics, in one safetensors file."""
    plain = {k: (v if k == "variance" else v.bfloat16()).cpu().contiguous() for k, v in state.items()}
    save_file(plain, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the averaged weights of a run's checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder that fit filled")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file")
    args = parser.parse_args(arguments)
    if not exists(args.run):
        parser.error(f"{args.run} has no {INDEX}")
    try:
        export(load(args.run, torch.device("cpu"))["ema"], args.out)
    except BadInput as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
