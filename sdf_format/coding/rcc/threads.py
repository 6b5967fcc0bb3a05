"""One BLAS thread while the coders work.

NumPy's BLAS keeps its threads spinning after each product, beside PyTorch's own: a picture then decodes half as fast.
The coders' products are small, and the sender runs its walks in threads of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

DUPLICATES = "KMP_DUPLICATE_LIB_OK"  # which threadpoolctl sets when it is imported, and the program around may not want
_before = os.environ.get(DUPLICATES)

from threadpoolctl import ThreadpoolController  # noqa: E402

if _before is None:
    os.environ.pop(DUPLICATES, None)

_lock = threading.Lock()
_inside = 0
_limit: Any = None


def _after_fork() -> None:
    """A child's own beginning: threads that were inside are not in it."""
    global _lock, _inside
    _lock, _inside = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """May be entered from many threads; the last one out restores what the first one found."""
    global _inside, _limit
    with _lock:
        if _inside == 0:
            _limit = ThreadpoolController().limit(limits=1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limit.restore_original_limits()
