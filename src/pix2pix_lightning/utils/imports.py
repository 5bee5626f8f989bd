"""Import large packages faster."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pause_gc() -> Iterator[None]:
    """Import in a block without collecting garbage, and leave what was imported out of later collections.

    A package of a thousand modules makes millions of objects that stay. Python's collector would look at all of them
    time and again while they are made, which takes a fifth of the time of importing torch and Lightning.

    Yields:
        None.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
