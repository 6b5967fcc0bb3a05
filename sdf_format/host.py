"""The program around this package: its PyTorch, which may be missing, and its settings, which are not ours."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from sdf_format import threads
from sdf_format.errors import Unsupported

F = TypeVar("F", bound=Callable[..., Any])

AUTOCAST = ("cpu", "cuda", "mps")

_failure: str | None = None  # why PyTorch could not be imported into this process, half of it being there


def need_torch() -> None:
    """Import PyTorch. Unsupported where that fails.

    An import that failed half-way, as for want of memory, leaves parts of PyTorch behind that cannot be imported again:
    what later tries would raise says nothing of the cause, so that the first error is kept.
    """
    global _failure
    if _failure is None:
        try:
            threads.load_torch()
            return
        except (ImportError, MemoryError, OSError, AttributeError, RuntimeError, ValueError, TypeError) as error:
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            if isinstance(error, ModuleNotFoundError) and not any(name.startswith("torch.") for name in sys.modules):
                raise Unsupported(
                    f"pixels need PyTorch, which is not installed here ({reason}): pip install torch; "
                    "size, metadata, preview and verify need none"
                ) from error
            _failure = reason
    raise Unsupported(
        f"PyTorch could not be imported into this process ({_failure}), and parts of it are in the way of another try: "
        "start the program again, with more memory if that is what was missing"
    )


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Default device, autocast, gradients and NumPy's errors as this package expects them, in this thread and until the
    block ends; its number of threads as `threads` says. What is set for the whole program, such as the default dtype,
    is not touched: our tensors name theirs.
    """
    import numpy as np
    import torch

    with contextlib.ExitStack() as stack:
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for kind in AUTOCAST:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(threads.own_threads())
        stack.enter_context(np.errstate(all="ignore"))
        yield


def with_own_settings(function: F) -> F:
    """The function run with `own_settings`."""

    @functools.wraps(function)
    def inside(*args: Any, **keywords: Any) -> Any:
        with own_settings():
            return function(*args, **keywords)

    return inside  # type: ignore[return-value]
