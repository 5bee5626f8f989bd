"""How long a training still takes, by how long its epochs took."""

from __future__ import annotations

import math
from collections import deque
from statistics import fmean


class TimeLeft:
    """Estimate the seconds that a training still takes. All times are of one clock, in seconds.

    Whole epochs are measured, from start to start, so that validation, checkpoints and pictures count. As long as
    there is none, batches are. The first epoch, which holds what is done once, counts until there is a second.

    Args:
        window: Number of epochs, the latest ones, that are averaged.
    """

    def __init__(self, window: int = 20) -> None:
        self.num_epochs = 0  # whole ones that were measured
        self._first = 0.0
        self._later: deque[float] = deque(maxlen=window)
        self._start: float | None = None
        self._is_whole = False
        self._first_batch: float | None = None  # when it ended
        self._num_batches = 0

    def start_epoch(self, now: float, *, is_whole: bool = True) -> None:
        """Begin an epoch, and measure the one before.

        Args:
            now: Time of the start.
            is_whole: False for the rest of an epoch that an earlier process has begun. It is not measured.
        """
        if self._start is not None and self._is_whole:
            self.num_epochs += 1
            if self.num_epochs == 1:
                self._first = now - self._start
            else:
                self._later.append(now - self._start)
        self._start, self._is_whole = now, is_whole
        self._first_batch, self._num_batches = None, 0

    def end_batch(self, now: float) -> None:
        """Count a batch of the epoch."""
        if self._first_batch is None:
            self._first_batch = now
        self._num_batches += 1

    def estimate(self, now: float, epochs: float, batches_per_epoch: float) -> float | None:
        """Estimate the seconds until the end.

        Args:
            now: The present time.
            epochs: Epochs from the start of the present one to the end, which may be a fraction.
            batches_per_epoch: Batches in an epoch; infinity if their number is open.

        Returns:
            Seconds, at least 0; None if nothing was measured yet.
        """
        if self.num_epochs and self._start is not None:
            per_epoch = fmean(self._later) if self._later else self._first
            return max(0.0, epochs * per_epoch - (now - self._start))
        if self._first_batch is None or self._num_batches < 2 or math.isinf(batches_per_epoch):
            return None
        # the first batch waits for the loader, and what is compiled is compiled in it
        per_batch = (now - self._first_batch) / (self._num_batches - 1)
        return max(0.0, epochs * batches_per_epoch - self._num_batches) * per_batch


def format_duration(seconds: float) -> str:
    """Format a duration for people.

    Args:
        seconds: At least 0.

    Returns:
        Its two largest units, rounded: ``50 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``.
    """
    if round(seconds) < 60:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"
