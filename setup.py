"""What pyproject.toml cannot say: the package of the CUDA sources lies outside `sdf_format`."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["sdf_format*", "pillow_plugin"]), "sdf_format.cuda_sources"],
    package_dir={"sdf_format.cuda_sources": "cuda"},  # never a package `cuda`: a namespace of NVIDIA's own packages
)
