"""Reading before and writing behind a network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_UNDER_WAY = 4  # images in memory, which may be large; two keep a thread busy


def in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``map`` in a thread that works a few items ahead of who takes the results.

    One thread: it is to work beside a network, whose threads have the processor, and OpenCV's log level, which
    reading an image sets, is the process's. ``items`` are taken in the caller's thread. What was begun is finished
    whatever happens.

    Raises:
        Exception: What ``function`` raised, in the place of its result.
    """
    under_way: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(max_workers=1) as thread:
        for item in items:
            under_way.append(thread.submit(function, item))
            if len(under_way) > _UNDER_WAY:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
