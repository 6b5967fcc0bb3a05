"""Files that are written whole or not at all: bytes go to a file beside the target, which takes its name at the end."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import IO

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

STREAMS = ("/dev/fd/", "/dev/std", "/proc/")  # names of what is open already: renaming a file over it would miss it
NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def check(path: Path) -> None:
    """The OSError that `replacing` would begin with: for a folder that is not there or takes no files, and for a target
    that is a folder or is read-only.
    """
    target, state = _found(path)
    if state is not None and stat.S_ISDIR(state.st_mode):
        raise _error(errno.EISDIR, path)
    if state is not None and not os.access(path, os.W_OK):
        raise _error(errno.EACCES, path)
    if _replaceable(path, state):
        folder = os.path.dirname(target)
        if not os.path.isdir(folder):
            raise _error(errno.ENOTDIR if os.path.lexists(folder) else errno.ENOENT, path)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise _error(errno.EACCES, path)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file, for reading too, whose bytes are those of `path` once the block has ended without an exception.

    Until then, and for ever after an exception, a full disk or a signal, `path` is what it was. Symbolic links are
    followed: the file that they name is replaced. The new file has the mode of the old one, and its owner, group and
    extended attributes as far as the system lets it; other hard links to the old file keep the old bytes. What is no
    regular file, such as a pipe or a terminal, is written to directly.

    Raises OSError, with the name of the target, if there is no room beside it or it may not be written.
    """
    check(path)
    target, state = _found(path)
    if not _replaceable(path, state):
        with open(path, "wb") as stream:
            yield stream
        return
    beside = os.path.join(os.path.dirname(target), f".sdf-{os.urandom(8).hex()}.tmp")
    try:
        # The kernel takes the umask off the mode of a new file; asking for it would change it for other threads.
        number = os.open(beside, NEW, 0o666 if state is None else 0o600)
    except OSError as error:
        raise _error(error.errno or errno.EIO, path) from error
    try:
        with os.fdopen(number, "w+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())  # some file systems say here, and nowhere else, that they are full
        if state is not None:
            _keep(target, beside, state)
        os.replace(beside, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def write(path: Path, data: bytes) -> None:
    """Make `data` the bytes of `path`.  Rules and errors: of `replacing`"""
    with replacing(path) as stream:
        stream.write(data)


def _found(path: Path) -> tuple[str, os.stat_result | None]:
    """The file behind symbolic links, and its state; None if there is none yet."""
    name = os.fsdecode(path)
    try:
        return os.path.realpath(name), os.stat(name)
    except FileNotFoundError:
        return os.path.realpath(name), None


def _replaceable(path: Path, state: os.stat_result | None) -> bool:
    """Whether another file can take the name: not where it stands for a device, a pipe or something open."""
    return (state is None or stat.S_ISREG(state.st_mode)) and not os.path.abspath(os.fsdecode(path)).startswith(STREAMS)


def _keep(old: str, new: str, state: os.stat_result) -> None:
    """Owner, group, extended attributes (access control lists among them) and mode of the old file, in this order: each
    can undo the one before.
    """
    mode = stat.S_IMODE(state.st_mode)
    if hasattr(os, "chown"):
        try:
            os.chown(new, state.st_uid, state.st_gid)
        except OSError:
            mode &= 0o777  # set-user-id is a promise of the old owner's
    if hasattr(os, "listxattr"):
        with contextlib.suppress(OSError):
            for name in os.listxattr(old):
                with contextlib.suppress(OSError):
                    os.setxattr(new, name, os.getxattr(old, name))
    os.chmod(new, mode)


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), os.fsdecode(path))
