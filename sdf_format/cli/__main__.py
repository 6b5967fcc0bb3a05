"""The command `sdf`, `python -m sdf_format.cli` too. Until its modules are there, Ctrl-C ends it without a word."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Run the command line.  Result: the exit status"""
    raises = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not so where somebody ignores it
    if raises:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from sdf_format.cli.main import main as run

    if raises:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return run()


if __name__ == "__main__":
    sys.exit(main())
