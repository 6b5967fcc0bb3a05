"""The network of §4.3.1 and the transform of §4.3, from the text alone: NumPy, and nothing of the package."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

Array = np.ndarray
EPS = 1e-5


def weights(path: Path) -> dict[str, Array]:
    """§4.3: a safetensors file; bfloat16 is the upper half of a float32."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    found = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        raw = data[8 + length + first : 8 + length + last]
        if entry["dtype"] == "BF16":
            numbers = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            assert entry["dtype"] == "F32"
            numbers = np.frombuffer(raw, "<f4")
        found[name] = numbers.reshape(entry["shape"])
    return found


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def norm(x: Array) -> Array:
    """x (C, h, w)"""
    return x / np.sqrt((x * x).mean(axis=0) + np.float32(EPS))


def conv(w: dict[str, Array], name: str, x: Array) -> Array:
    """3x3 over zeros beyond the border."""
    weight, (_, height, width) = w[f"{name}.weight"], x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    out = w[f"{name}.bias"][:, None, None]
    for a in range(3):
        for b in range(3):
            out = out + np.tensordot(weight[:, :, a, b], padded[:, a : a + height, b : b + width], 1)
    return out


def linear(w: dict[str, Array], name: str, x: Array) -> Array:
    return w[f"{name}.weight"] @ x + w[f"{name}.bias"]


def block(w: dict[str, Array], name: str, x: Array, e: Array) -> Array:
    scale, shift = np.split(linear(w, f"{name}.film", e)[:, None, None], 2)
    u = silu(norm(x) * (1 + scale) + shift)
    return x + conv(w, f"{name}.second", silu(conv(w, f"{name}.first", u)))


def down(w: dict[str, Array], x: Array) -> Array:
    parts = [np.tensordot(w["down.weight"][:, :, a, b], x[:, a::2, b::2], 1) for a in (0, 1) for b in (0, 1)]
    return sum(parts) + w["down.bias"][:, None, None]


def up(w: dict[str, Array], x: Array) -> Array:
    _, height, width = x.shape
    out = np.empty((w["up.bias"].size, 2 * height, 2 * width), np.float32)
    for a in (0, 1):
        for b in (0, 1):
            out[:, a::2, b::2] = np.tensordot(w["up.weight"][:, :, a, b].T, x, 1)
    return out + w["up.bias"][:, None, None]


def predict(
    w: dict[str, Array], y: Array, sigma: float, noted: Callable[[str, Array], None] = lambda *_: None
) -> Array:
    """The posterior mean, (192, h, w) like y.  noted: is told what leaves every layer of table 4.5"""
    y = y.astype(np.float32)
    sigma32 = np.float32(sigma)
    angle = np.log(np.float32(min(max(sigma, 0.03), 20))) * np.arange(1, 33, dtype=np.float32) * np.float32(np.pi / 12)
    e = silu(linear(w, "level.0", np.concatenate([np.sin(angle), np.cos(angle)])))
    e = silu(linear(w, "level.2", e))
    noted("level", e)
    v = w["variance"][:, None, None]
    x = conv(w, "enter", y * np.sqrt(v) / (v + sigma32**2))
    noted("enter", x)
    for name in ("before.0", "before.1"):
        x = block(w, name, x, e)
        noted(name, x)
    a = x
    x = down(w, x)
    noted("down", x)
    for k in range(4):
        x = block(w, f"middle.{k}", x, e)
        noted(f"middle.{k}", x)
    x = up(w, x) + a
    noted("up", x)
    for k in range(3):
        x = block(w, f"after.{k}", x, e)
        noted(f"after.{k}", x)
    f = conv(w, "leave", norm(x))
    noted("leave", f)
    return (v * y + np.sqrt(v) * sigma32 * np.sqrt(v + sigma32**2) * f) / (v + sigma32**2)


def inverse(w: dict[str, Array], latent: Array) -> Array:
    """(192, h, w) to samples (3, 8 h, 8 w), neither rounded nor clipped.  §4.3"""
    _, height, width = latent.shape
    coefficients = (latent / w["weight"][:, None, None]).reshape(3, 8, 8, height, width).astype(np.float64)
    k = np.arange(8)
    basis = np.cos(np.pi * (2 * k[None, :] + 1) * k[:, None] / 16) * np.where(k == 0, np.sqrt(1 / 8), 0.5)[:, None]
    colours = np.einsum("vi,uj,cvuhw->chiwj", basis, basis, coefficients).reshape(3, 8 * height, 8 * width)
    x, y, z = colours[0] / np.sqrt(3), colours[1] / np.sqrt(2), colours[2] / np.sqrt(6)
    return 127.5 * (np.stack([x + y + z, x - 2 * z, x - y + z]) + 1)
