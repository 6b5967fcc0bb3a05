"""SDF: image files that hold what a diffusion model cannot guess.  See spec/sdf-1.md.

Importing this package imports nothing else; `sdf_format.codec` is the way in for arrays, `pillow_plugin` for Pillow.
"""

__version__ = "0.1.0"
