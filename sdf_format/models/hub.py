"""Weights on the Hugging Face hub: its cache, and downloads for those who allow them. No torch."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

from sdf_format.errors import MissingModel
from sdf_format.models import checkpoint

PIPELINE_FILES = ("model_index.json", "*/*.json", "*/*.safetensors", "*/*.txt", "*/*.model", "*/*.jinja")
# The same weights once more, in other precisions, formats and versions.
UNWANTED = ("*.fp16*", "*.non_ema*", "vae_*/*", "text_encoders/*", "*safety_checker*", "*flax*", "*onnx*", "*openvino*")


def allowed() -> bool:
    """Whether the environment lets weights be downloaded."""
    return os.environ.get("SDF_DOWNLOAD", "") not in ("", "0")


def allowed_on_open() -> bool:
    """Whether a file that is only opened may have them downloaded: a second variable says so."""
    return allowed() and os.environ.get("SDF_DOWNLOAD_ON_OPEN", "") not in ("", "0")


def place() -> Path | None:
    """The hub's cache folder; None without the package huggingface_hub."""
    try:
        from huggingface_hub import constants
    except ImportError:
        return None
    cache = Path(constants.HF_HUB_CACHE)
    try:
        return cache.expanduser()
    except RuntimeError:  # a user without a home
        return cache


def folder_of(
    repository: str,
    gigabytes: float,
    download: bool,
    wanted: tuple[str, ...] = PIPELINE_FILES,
    lacking: Callable[[Path], list[str]] = checkpoint.lacking,
) -> Path | None:
    """The cache's folder of a repository, or a download into it, its size announced on stderr; None if neither is to be
    had.

    wanted   patterns of files; the first is one that no copy is without
    lacking  names of what a folder should have and has not
    Raises MissingModel for a copy that is not whole where no download is allowed, and for a download that fails.
    """
    if place() is None:
        return None
    from huggingface_hub import snapshot_download

    gone: list[str] = []
    try:
        folder = Path(snapshot_download(repository, allow_patterns=[wanted[0]], local_files_only=True))
        if (folder / wanted[0]).is_file() and not (gone := lacking(folder)):
            return folder
    except (OSError, ValueError, RuntimeError):  # not there; RuntimeError: a user without a home
        pass
    if download:
        folder = _downloaded(repository, gigabytes, wanted)
        if gone := lacking(folder):
            raise MissingModel(f"§4.4 {repository} is not what it was: it has no {', '.join(gone)} as safetensors")
        return folder
    if gone:
        raise MissingModel(
            f"§4.4 {folder} is not whole: it lacks {', '.join(gone)}; SDF_DOWNLOAD=1 has the rest fetched"
        )
    return None


def _downloaded(repository: str, gigabytes: float, wanted: tuple[str, ...]) -> Path:
    """Announce, compare with the disk's free space, fetch with the hub's own progress bars.

    What an earlier try fetched is not fetched again.
    """
    from huggingface_hub import HfApi, snapshot_download

    cache = place()
    assert cache
    try:
        files = HfApi().model_info(repository, files_metadata=True).siblings or []
        sizes = [
            f.size or 0
            for f in files
            if any(fnmatch(f.rfilename, p) for p in wanted) and not any(fnmatch(f.rfilename, p) for p in UNWANTED)
        ]
        size = sum(sizes) / 1e9 or gigabytes
        print(f"downloading {repository}: {len(sizes)} files, {size:.3g} GB, to {cache}", file=sys.stderr)
        free = shutil.disk_usage(next(p for p in (cache, *cache.parents) if p.exists())).free / 1e9
        if free < size:
            raise MissingModel(
                f"§4.4 {repository} takes {size:.3g} GB and {cache} has {free:.3g} GB left; HF_HOME names another place"
            )
        return Path(snapshot_download(repository, allow_patterns=list(wanted), ignore_patterns=list(UNWANTED)))
    except MissingModel:
        raise
    # the hub's client raises what its HTTP client does, which differs between its versions
    except Exception as error:
        if type(error).__name__ == "GatedRepoError" or getattr(getattr(error, "response", None), "status_code", 0) in (
            401,
            403,
        ):
            why = (
                f"its licence has to be accepted at https://huggingface.co/{repository}, "
                "and `hf auth login` says who you are"
            )
        else:
            said = str(error).splitlines()[0] if str(error) else "no reason given"
            why = f"{type(error).__name__}: {said}; what has come is kept"
        raise MissingModel(f"§4.4 {repository} (about {gigabytes:g} GB) could not be downloaded: {why}") from error
