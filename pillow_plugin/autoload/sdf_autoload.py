"""SDF for programs that cannot be edited: `pillow_plugin` is imported as soon as the program has imported `PIL.Image`.

Python calls `arm` when it starts: by sdf_autoload.start (Python 3.15 on, PEP 829) or by sdf_autoload.pth (before). A
program without Pillow pays for the import of this module alone. SDF_AUTOLOAD=0 turns it off.
"""

import os
import sys

TARGET = "PIL.Image"


def arm():
    """Wait for PIL.Image; again changes nothing."""
    if os.environ.get("SDF_AUTOLOAD") == "0":
        return
    if TARGET in sys.modules:
        register()
    elif not any(isinstance(finder, Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, Watch())


def register():
    """Import the plugin; a program that did not ask for it must not fail by it."""
    try:
        import pillow_plugin  # noqa: F401  (registers the format)
    except Exception as error:
        import warnings

        warnings.warn(f"sdf-format-autoload: SDF images cannot be opened here: {error!r}", RuntimeWarning, stacklevel=2)


class Watch:
    """Finds nothing itself.

    The loader that the other finders have for PIL.Image is made to register the format when it is done.
    """

    def find_spec(self, name, path=None, target=None):
        if name != TARGET:
            return None
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        from importlib.util import find_spec

        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                register()

            spec.loader.exec_module = exec_module
        return spec
