"""Puts the two startup files beside the module; setuptools has no word for that in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

STARTUP = ("sdf_autoload.pth", "sdf_autoload.start")


class WithStartup(build_py):
    def run(self):
        super().run()
        for name in STARTUP:
            self.copy_file(name, Path(self.build_lib) / name)

    def get_source_files(self):
        return [*super().get_source_files(), *STARTUP]


setup(cmdclass={"build_py": WithStartup})
