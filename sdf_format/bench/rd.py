"""Rate and distortion over folders of images: `sdf bench rd DIR... [--json FILE] [--csv FILE] [--html FILE]`.

Every codec at every setting on every image: bytes, metrics, seconds. Ours is encoded once a rate and decoded at three
places of the dial: fidelity (posterior mean), what files say by default, and realism. Results lie in a work folder, a
row a file, so a run that was stopped goes on where it was. The table compares at equal bytes: at every wanted rate the
metric between an image's two nearest files, or of a codec's smallest file where that is larger than wanted; the share
of images for which it was not is the column "met".
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import multiprocessing
import signal
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean

import numpy as np
from PIL import Image
from tqdm import tqdm

from sdf_format import __version__, atomic, codec, files
from sdf_format.bench import metrics, page, rivals
from sdf_format.bench.images import images_of
from sdf_format.bench.remembering import Remembering
from sdf_format.errors import MissingModel
from sdf_format.inspect.printable import printable
from sdf_format.inspect.table import Table
from sdf_format.models import loading, registry

RATES = "0.0125,0.025,0.05,0.1,0.2,0.8"
DIAL = {"fidelity": 0.0, "default": None, "realism": 1.0}  # None: what the file says
METRICS = ("psnr", "ms_ssim", "ssimulacra2", "latent", "lpips", "dists")


@dataclass(frozen=True)
class Job:
    """One file to make: of an image by a codec at a setting."""

    image: Path
    codec: str
    setting: str
    work: Path
    latents: Path | None
    slowest: bool = True

    def key(self, digest: str) -> str:
        """Of its results in the work folder: everything that could change them."""
        ours: list = []
        if self.codec not in rivals.RIVALS:
            found = loading.find(self.codec, download=False)
            ours = [found.sha256.hex(), *DIAL, found.spec.denoiser, found.spec.realistic]
        return hashlib.sha256(
            json.dumps([digest, self.codec, self.setting, __version__, ours, bool(self.latents), self.slowest]).encode()
        ).hexdigest()[:24]


@lru_cache(maxsize=1)
def _distance(latents: Path) -> metrics.LatentDistance:
    return metrics.LatentDistance(latents)


@lru_cache(maxsize=1)
def _original(path: Path, latents: Path | None) -> tuple[Image.Image, np.ndarray | None]:
    """An image and its latent; jobs of one image follow each other."""
    image = Image.open(path).convert("RGB")
    return image, _distance(latents).latent(image) if latents else None


def measured(job: Job, picture: Image.Image, features: Path) -> dict[str, float | None]:
    """All metrics of one decoded picture. Features of its patches go to a file: their statistics need all images."""
    original, a = _original(job.image, job.latents)
    result: dict[str, float | None] = {
        "psnr": metrics.psnr(original, picture),
        "ms_ssim": metrics.ms_ssim(original, picture),
        "ssimulacra2": metrics.ssimulacra2(original, picture),
        **metrics.learned(original, picture),
    }
    if job.latents:
        distance = _distance(job.latents)
        b = distance.latent(picture)
        result["latent"] = float(np.mean((a - b) ** 2))
        np.savez_compressed(
            features, original=distance.patches(a).astype(np.float32), picture=distance.patches(b).astype(np.float32)
        )
    return result


def run(job: Job) -> list[dict]:
    """The rows of a job, from the work folder or made now."""
    digest = hashlib.sha256(job.image.read_bytes()).hexdigest()
    key = job.key(digest)
    stored = job.work / f"{key}.json"
    if stored.exists():
        return json.loads(stored.read_text())
    original, _ = _original(job.image, job.latents)
    remembering = Remembering()
    start = time.perf_counter()
    if job.codec in rivals.RIVALS:
        data = rivals.encode(job.codec, original, int(job.setting), job.slowest)
    else:
        data = codec.encode(
            np.asarray(original), bpp=float(job.setting), model_name=job.codec, wrap_model=remembering
        ).data
    encode_seconds = time.perf_counter() - start
    rows = []
    for end, realism in DIAL.items() if job.codec not in rivals.RIVALS else (("", None),):
        remembering.saved = 0.0
        start = time.perf_counter()
        if not end:
            picture = Image.open(io.BytesIO(data)).convert("RGB")
        else:
            picture = Image.fromarray(codec.decode_bytes(data, realism=realism, wrap_model=remembering)[0])
        seconds = time.perf_counter() - start + remembering.saved
        name = f"{job.codec} {end}".strip()
        shown = job.work / f"{key}{end}.png"
        picture.save(shown)
        rows.append(
            {
                "codec": name,
                "setting": job.setting,
                "image": job.image.name,
                "bytes": len(data),
                "bpp": 8 * len(data) / (original.width * original.height),
                "encode_s": round(encode_seconds, 3),
                "decode_s": round(seconds, 3),
                **measured(job, picture, job.work / f"{key}{end}.npz"),
                "picture": shown.name,
            }
        )
    atomic.write(stored, json.dumps(rows).encode())  # or a run that was interrupted would leave half a row
    return rows


def _start_worker() -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches every process; one of them says so
    torch.set_num_threads(1)
    rivals.available()  # registers Pillow's plugins in this process


def models_here() -> list[str]:
    """Names of the models whose weights are at hand."""
    found = []
    for spec in registry.MODELS.values():
        try:
            loading.find(spec.name, download=False)
        except (MissingModel, ImportError):
            continue
        found.append(spec.name)
    return found


def jobs_of(
    images: list[Path], rates: list[str], work: Path, latents: Path | None, models: Sequence[str], quick: bool = False
) -> list[list[Job]]:
    """Jobs by image, in groups that a process does one after the other; slow ones first, so that none is left alone at
    the end.
    """
    ours = [(name, rate) for name in models for rate in sorted(rates, key=float, reverse=True)]
    others = [
        (name, str(quality))
        for name in rivals.available()
        for quality in (rivals.RIVALS[name].few if quick else rivals.RIVALS[name].curve)
    ]
    return [
        [Job(image, name, setting, work, latents, not quick) for name, setting in group]
        for group in (ours, others)
        for image in images
    ]


def run_all(jobs: list[Job]) -> list[dict]:
    """A row of results for every file that the jobs make."""
    return [row for job in jobs for row in run(job)]


def at_rates(rows: list[dict], rates: list[float]) -> list[dict]:
    """One line a rate and codec: means over the images of every metric at equal bytes."""
    curves: dict[str, dict[str, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        curves[row["codec"]][row["image"]].append(row)
    result = []
    for rate in rates:
        for name, by_image in curves.items():
            line: dict = {"rate": rate, "codec": name, "met": 0.0, "bpp": 0.0}
            values = defaultdict(list)
            for points in by_image.values():
                points.sort(key=lambda p: p["bpp"])
                x = np.log([p["bpp"] for p in points])
                if points[-1]["bpp"] < 0.98 * rate:  # the codec has nothing to say at that rate
                    continue
                line["met"] += (points[0]["bpp"] <= 1.005 * rate) / len(by_image)
                values["bpp"].append(max(rate, points[0]["bpp"]))
                for metric in METRICS:
                    if points[0].get(metric) is not None:
                        values[metric].append(float(np.interp(np.log(rate), x, [p[metric] for p in points])))
            if values:
                result.append(line | {k: fmean(v) for k, v in values.items()})
    return result


def patch_statistics(rows: list[dict], work: Path) -> dict[tuple[str, str], tuple[float, float]]:
    """(codec, setting) -> (mean bpp, Frechet distance of the patches of all its pictures from those of the
    originals).
    """
    groups = defaultdict(list)
    for row in rows:
        groups[row["codec"], row["setting"]].append(row)
    result = {}
    for key, members in groups.items():
        files = [(work / m["picture"]).with_suffix(".npz") for m in members]
        if all(f.exists() for f in files):
            sets = [np.load(f) for f in files]
            result[key] = (
                fmean(m["bpp"] for m in members),
                metrics.frechet(*(np.concatenate([s[k] for s in sets]).astype(float) for k in ("original", "picture"))),
            )
    return result


def bd_rates(rows: list[dict], anchor: str, metric: str) -> dict[str, float]:
    """BD-rate [%] of every codec over `anchor` in a metric, from the mean curves; negative: fewer bytes.

    Package bjontegaard, akima.
    """
    import warnings

    from bjontegaard import bd_rate

    means: dict = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.get(metric) is not None:
            means[row["codec"]][row["setting"]].append((row["bpp"], row[metric]))
    curves = {name: sorted(tuple(map(fmean, zip(*cell))) for cell in cells.values()) for name, cells in means.items()}
    result = {}
    for name, curve in curves.items():
        if name != anchor and anchor in curves:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    result[name] = float(
                        bd_rate(*zip(*curves[anchor]), *zip(*curve), method="akima", require_matching_points=False)
                    )
                except ValueError:  # curves that do not overlap
                    continue
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """`sdf bench rd`."""
    parser = argparse.ArgumentParser(
        prog="sdf bench rd", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folders of images, or images")
    parser.add_argument("--json", type=Path, help="write all rows")
    parser.add_argument("--csv", type=Path, help="write all rows")
    parser.add_argument("--html", type=Path, help="write a page with plots and a slider")
    parser.add_argument("--force", action="store_true", help="replace these files if they are there already")
    parser.add_argument("--page-images", type=int, default=4, help="images that the page carries, default 4")
    parser.add_argument("--rates", default=RATES, help=f"bits per pixel of our files and of the table, default {RATES}")
    parser.add_argument(
        "--work", type=Path, default=Path("sdf-bench-work"), help="folder for results so far, default ./sdf-bench-work"
    )
    parser.add_argument(
        "--model",
        action="append",
        help="of table 4.1, or the folder of a pipeline; may be given again; default all at hand",
    )
    parser.add_argument(
        "--jobs", type=int, default=0, help="processes, default one a core; 1 runs in this one, with all threads"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="the other codecs at fewer settings and their usual effort (AVIF speed 2, JPEG XL effort 7)",
    )
    parser.add_argument(
        "--latents", type=Path, help="weights of a TAESD-like encoder: adds the distance in its latents, and of patches"
    )
    args = parser.parse_args(arguments)
    images = images_of(args.folders)
    if not images:
        parser.error("there are no images in " + ", ".join(map(str, args.folders)))
    for target in (args.json, args.csv, args.html):
        if target:
            files.check_output(str(target), [str(image) for image in images], args.force)
    args.work.mkdir(parents=True, exist_ok=True)
    rates = args.rates.split(",")
    models = args.model or models_here()
    if not args.jobs and any(loading.find(name).checkpoint for name in models):
        args.jobs = 1  # every process would load such a model for itself
    todo = jobs_of(images, rates, args.work, args.latents, models, args.quick)
    rows: list[dict] = []

    with tqdm(total=len(todo), desc="files", disable=None) as bar:

        def done(found: list[dict]) -> None:
            rows.extend(found)
            bar.set_postfix_str(printable(f"{found[-1]['image']} by {found[-1]['codec']}"), refresh=False)
            bar.update()

        if args.jobs == 1:
            for jobs in todo:
                done(run_all(jobs))
        else:
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(args.jobs or None, spawn, _start_worker) as pool:
                try:
                    for future in as_completed([pool.submit(run_all, jobs) for jobs in todo]):
                        done(future.result())
                except BaseException:  # an interruption waits for what is in the works, not for what is still to come
                    pool.shutdown(cancel_futures=True)
                    raise
    rows.sort(key=lambda r: (r["codec"], r["image"], r["bpp"]))
    report(rows, [float(r) for r in rates], args)


def report(rows: list[dict], rates: list[float], args: argparse.Namespace) -> None:
    """Print the tables; write what was asked for."""
    lines = at_rates(rows, rates)
    known = [m for m in METRICS if any(m in line for line in lines)]
    with Table("rate", "codec", "bpp", "met", *known) as table:
        for line in lines:
            values = (f"{line[m]:.4f}" if m in line else "" for m in known)
            table.add(f"{line['rate']:g}", line["codec"], f"{line['bpp']:.4f}", f"{line['met']:.0%}", *values)
    statistics = patch_statistics(rows, args.work)
    if statistics:
        print()
        with Table("codec", "setting", "bpp", "Frechet distance of patches") as table:
            for (name, setting), (bpp, distance) in sorted(statistics.items(), key=lambda i: (i[0][0], i[1][0])):
                table.add(name, setting, f"{bpp:.4f}", f"{distance:.4f}")
    names = sorted({row["codec"] for row in rows})
    for metric in known[:3]:
        print()
        over = {anchor: bd_rates(rows, anchor, metric) for anchor in names}
        with Table(f"BD-rate in {metric}, % of bytes over the codec of the column", *names) as table:
            for name in names:
                table.add(name, *(f"{over[a][name]:+.1f}" if name in over[a] else "" for a in names))
    columns = [k for k in dict.fromkeys(k for row in rows for k in row) if k != "picture"]
    if args.json:
        told = [{k: v for k, v in row.items() if k != "picture"} for row in rows]
        files.put(str(args.json), json.dumps(told, indent=1).encode(), args.force)
    if args.csv:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        files.put(str(args.csv), text.getvalue().encode(), args.force)
    if args.html:
        files.put(str(args.html), page.build(rows, statistics, known, args).encode(), args.force)
