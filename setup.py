"""What pyproject.toml cannot say: CUDA sources, the specification's tables and the page of `sdf view` lie outside
`sdf_format`.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["sdf_format*", "pillow_plugin"]),
        "sdf_format.cuda_sources",
        "sdf_format.spec_tables",
        "sdf_format.web_sources",
    ],
    package_dir={
        "sdf_format.cuda_sources": "cuda",  # never a package `cuda`: a namespace of NVIDIA's own packages
        "sdf_format.spec_tables": "spec/tables",
        "sdf_format.web_sources": "web",
    },
)
