"""SDF for Pillow: `import pillow_plugin`, then `Image.open("x.sdf")` and `image.save("x.sdf")`.

Importing registers the format and loads none of torch, NumPy, diffusers or Construct.
"""

from __future__ import annotations

from pillow_plugin.image_file import SdfImageFile
from pillow_plugin.options import Options
from pillow_plugin.registration import register_sdf_opener, unregister_sdf_opener
from pillow_plugin.save import save_atomic

__all__ = ["Options", "SdfImageFile", "register_sdf_opener", "save_atomic", "unregister_sdf_opener"]

register_sdf_opener()
