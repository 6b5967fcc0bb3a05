"""What the command line says, apart from its data: messages on standard error, progress, and how a command ends early.

Data goes to standard output; everything here goes to standard error, one line a message, whatever the terminal can
show.
"""

from __future__ import annotations

import codecs
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from sdf_format.errors import SdfError, Unsupported
from sdf_format.inspect.printable import escaped, printable

Progress = Callable[[int, int], None]

# Said in a line; other exceptions are mistakes of ours.
EXPECTED = (OSError, ValueError, MemoryError, ModuleNotFoundError)
FAILED, SIGNALLED = 1, 128  # exit statuses; the second plus the number of a signal
SIGINT, SIGPIPE = 2, 13  # numbers that shells know, on systems without these signals too
ENDING_SIGNALS = ("SIGTERM", "SIGHUP")  # their default would end the process before temporary files are removed
ERRORS = "sdf"  # name of the handler of characters that an encoding does not have
_prefix = ["sdf"]  # of messages; the last one counts
_bars: list[Any] = []  # that are drawn on the terminal's last line


class Stopped(BaseException):
    """A signal asked the process to end.  number: of the signal"""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def _without_character(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that the stream's encoding does not have."""
    assert isinstance(error, UnicodeEncodeError)
    lost = error.object[error.start : error.end]
    return "".join("section " if c == "§" else escaped(c) for c in lost), error.end


codecs.register_error(ERRORS, _without_character)


@contextmanager
def session(prefix: str) -> Iterator[None]:
    """Streams that take every character, warnings of one line, signals that raise: put back afterwards."""
    with ExitStack() as stack:
        for stream in (sys.stdout, sys.stderr):
            stack.enter_context(_any_character(stream))
        stack.enter_context(_warnings_in_a_line())
        stack.enter_context(_signals_raise())
        _prefix.append(prefix)
        stack.callback(_prefix.pop)
        yield


@contextmanager
def _any_character(stream: Any) -> Iterator[None]:
    if not hasattr(stream, "reconfigure"):  # a stream that somebody put in the place of the real one
        yield
        return
    before = stream.errors
    stream.reconfigure(errors=ERRORS)
    try:
        yield
    finally:
        stream.reconfigure(errors=before)


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    before = warnings.showwarning
    warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
    try:
        yield
    finally:
        warnings.showwarning = before


@contextmanager
def _signals_raise() -> Iterator[None]:
    """SIGTERM and SIGHUP raise Stopped, unless somebody handles or ignores them already."""

    def stop(number: int, _: object) -> None:
        raise Stopped(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ENDING_SIGNALS if hasattr(signal, name)]
    ours = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def guarded(prefix: str, work: Callable[[], int | None]) -> int:
    """Run a command: its exit status, or that of the error, the signal or the closed pipe that ended it.

    prefix  of its messages
    """
    with session(prefix):
        try:
            status = work() or 0
            if sys.stdout is not None:
                sys.stdout.flush()  # a full disk shows itself here
            return status
        except KeyboardInterrupt:
            say("interrupted")
            return SIGNALLED + SIGINT
        except Stopped as stop:
            say(f"ended by signal {stop.number}")
            return SIGNALLED + stop.number
        except BrokenPipeError:
            _settle_output()
            return SIGNALLED + SIGPIPE
        except Exception as error:
            if not expected(error):
                raise
            say(reason(error))
            _settle_output()
            return status_of(error)


def expected(error: BaseException) -> bool:
    """Whether an error is about the files or the request, so that one line says it."""
    return isinstance(error, EXPECTED) or _is_bomb(error)


def status_of(error: BaseException) -> int:
    """The exit status of an error's class (§8)."""
    if _is_bomb(error):
        return Unsupported.status
    return error.status if isinstance(error, SdfError) else FAILED


def _is_bomb(error: BaseException) -> bool:
    """Whether Pillow refuses a picture for its size. The class is no OSError, and nothing here imports Pillow."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(error, pillow.DecompressionBombError)


class Several:
    """Work on one file after another: an error of one is said, and the next has its turn.

    status  1 as soon as there was one
    """

    def __init__(self) -> None:
        self.status = 0

    @contextmanager
    def each(self, name: str) -> Iterator[None]:
        """What is done with the file of this name."""
        try:
            yield
        except Exception as error:
            if not expected(error) or isinstance(error, BrokenPipeError):
                raise
            self.status = FAILED
            say(f"{shown(name)}: {reason(error, name)}")


def say(message: object) -> None:
    """A line on standard error, with the command's name in front."""
    if sys.stderr is None:
        return
    for bar in _bars:
        bar.clear()
    print(f"{_prefix[-1]}: {printable(message)}", file=sys.stderr, flush=True)
    for bar in _bars:
        bar.refresh()


def shown(name: str | os.PathLike[str]) -> str:
    """A file's name as people are told it."""
    return "<stdin>" if os.fspath(name) == "-" else printable(os.fspath(name))


def reason(error: BaseException, name: str | os.PathLike[str] | None = None) -> str:
    """What an error says, without the number of the system's error and without `name`, which the line has already."""
    if isinstance(error, OSError) and error.strerror:
        of = error.filename
        return error.strerror if of is None or of == name else f"{printable(os.fsdecode(of))}: {error.strerror}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"this needs the package {error.name}, which is not installed; the documentation says what brings it"
    if isinstance(error, MemoryError):
        return f"there is not enough memory{f' ({error})' if str(error) else ''}"
    return " ".join(str(error).split("\n"))


def _settle_output() -> None:
    """Write what is still to be written; where nobody takes it, let the interpreter not try again when it ends."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):  # standard output may be no file of the system's
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, sys.stdout.fileno())
            os.close(nothing)


@contextmanager
def progress(label: str) -> Iterator[Progress]:
    """A function of (done, total) that draws a bar on a terminal and does nothing elsewhere."""
    bar: Any = None

    def show(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            from tqdm import tqdm

            bar = tqdm(total=total, desc=label, file=sys.stderr, dynamic_ncols=True)
            _bars.append(bar)
        bar.total = total
        bar.update(done - bar.n)

    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    try:
        yield show
    finally:
        if bar is not None:
            _bars.remove(bar)
            bar.close()
