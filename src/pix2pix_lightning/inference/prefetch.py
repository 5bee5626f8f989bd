"""Map a function over items in a background thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_PENDING = 4
"""Images in memory, which may be large; two keep the thread busy."""


def map_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    count_pending: Callable[[], int] = lambda: MAX_PENDING,
) -> Iterator[Result]:
    """Yield ``function(item)`` in order, computed in a thread that runs a few items ahead.

    There is one thread only: it works next to a network, whose threads use the processor. ``items`` are drawn in the
    caller's thread. Calls that were submitted are finished even when the caller stops or ``items`` fails.

    Args:
        function: Function of one item.
        items: Items; at most one more than may be pending are drawn before their results are used.
        count_pending: Returns how many may be pending by now.

    Yields:
        The results, in the order of the items.

    Raises:
        Exception: The error of ``function``, at the position of its result.
    """
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(max_workers=1) as thread:
        for item in items:
            pending.append(thread.submit(function, item))
            while len(pending) > count_pending():
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
