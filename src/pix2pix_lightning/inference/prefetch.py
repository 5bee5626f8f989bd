"""Map a function over items in a background thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition
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
    changed, num_waiting, has_ended = Condition(), 0, False

    def compute(item: Item) -> Result:
        nonlocal num_waiting
        with changed:  # fewer may be pending by now than when this call was submitted
            changed.wait_for(lambda: has_ended or num_waiting < max(1, count_pending()))
        try:
            return function(item)
        finally:
            num_waiting += 1

    def take() -> Result:
        nonlocal num_waiting
        result = pending.popleft().result()
        with changed:
            num_waiting -= 1
            changed.notify()
        return result

    with ThreadPoolExecutor(max_workers=1) as thread:
        try:
            for item in items:
                pending.append(thread.submit(compute, item))
                while len(pending) > count_pending():
                    yield take()
            while pending:
                yield take()
        finally:
            with changed:
                has_ended = True
                changed.notify()
