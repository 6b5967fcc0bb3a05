"""What pyproject.toml cannot say: CUDA sources and the specification's tables lie outside `sdf_format`."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["sdf_format*", "pillow_plugin"]),
        "sdf_format.cuda_sources",
        "sdf_format.spec_tables",
    ],
    package_dir={
        "sdf_format.cuda_sources": "cuda",  # never a package `cuda`: a namespace of NVIDIA's own packages
        "sdf_format.spec_tables": "spec/tables",
    },
)
