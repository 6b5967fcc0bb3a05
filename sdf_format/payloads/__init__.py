"""Payload kinds (§5): latents to bytes and back. All need PyTorch, which is imported here or said to be missing."""

from sdf_format.host import need_torch

need_torch()
