"""Keep ``runs/index.html``, the list of all runs, up to date during a training."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pix2pix_lightning.utils.background import Background

if TYPE_CHECKING:
    from lightning.pytorch import Callback

    from pix2pix_lightning.report.run_index import RunIndex
    from pix2pix_lightning.training.run_dir import RunDir

_log = logging.getLogger(__name__)
_LARGEST_SHARE = 0.01  # of the time of a training, for updates after validations


class RunList:
    """Updates of the list in the folder ``runs`` that a run is in; a run elsewhere has none.

    A failure is a warning, and the last attempt.

    Args:
        run: The run. Of its processes the first one writes.
    """

    def __init__(self, run: RunDir) -> None:
        from pix2pix_lightning.report.links import find_runs_folder

        self._runs = find_runs_folder(run.folder) if run.is_first else None
        self._index: RunIndex | None = None
        self._earliest = 0.0

    def update(self) -> None:
        """Write the list."""
        from pix2pix_lightning.report.run_index import RunIndex

        if self._runs is None or not self._runs.is_dir():
            return
        start = time.monotonic()
        try:
            self._index = self._index or RunIndex(self._runs)
            self._index.write()
        except Exception as error:  # the training is worth more than the list, whatever is wrong with its folder
            _log.warning("%s is not up to date: %s", self._runs / "index.html", error)
            self._runs = None
        end = time.monotonic()
        self._earliest = end + (end - start) / _LARGEST_SHARE

    def update_if_cheap(self) -> None:
        """Write the list, unless the last update took more than a hundredth of the time since then."""
        if time.monotonic() >= self._earliest:
            self.update()

    def build_callback(self) -> Callback:
        """Build the callback that updates the list, in a thread, when training starts and after validations."""
        from lightning.pytorch.callbacks import LambdaCallback

        background = Background("runs", at_most=2)

        def start(*args: object) -> None:
            background.do(self.update)

        def go_on(trainer: object, *args: object) -> None:
            if not getattr(trainer, "sanity_checking", False):
                background.do(self.update_if_cheap)

        def end(*args: object, **kwargs: object) -> None:
            background.wait()

        return LambdaCallback(
            on_train_start=start, on_validation_end=go_on, on_train_end=end, on_exception=end, teardown=end
        )


@contextmanager
def keep_in_list(run: RunDir) -> Iterator[RunList]:
    """Yield the list that a run is in, and bring it up to date at the end: outside of the lock of the run's folder.

    Args:
        run: The run.
    """
    runs = RunList(run)
    try:
        yield runs
    finally:
        runs.update()
