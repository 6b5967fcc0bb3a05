"""`sdf view`: a file in the browser, which decodes it. The page comes from this machine, and nothing leaves it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(commands: argparse._SubParsersAction[Any]) -> None:
    command = commands.add_parser(
        "view", help="show a picture in the browser, decoded there; nothing leaves this machine"
    )
    command.add_argument("files", nargs="*", metavar="FILE", help="one after the other; none: a page to drop files on")
    command.add_argument("--port", type=int, default=0, help="of 127.0.0.1; default: a free one")
    command.add_argument("--no-browser", action="store_true", help="print the address, and open nothing")
    command.add_argument(
        "--runtime", type=Path, metavar="DIR", help="the folder `dist` of onnxruntime-web, where the package has none"
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import webbrowser

    from sdf_format.cli.viewer import Server, roots

    files = [Path(name) for name in args.files]
    for path in files:
        with path.open("rb"):  # a name that is wrong is said here, and not by the page
            pass
    with Server(files, roots(args.runtime), args.port) as server:
        for address in server.addresses():
            print(address, flush=True)
            if not args.no_browser:
                webbrowser.open(address)
        print("Ctrl-C ends it", flush=True)
        server.serve_forever()
    return 0
