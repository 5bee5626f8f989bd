"""Show the progress of a translation on a terminal."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from pix2pix_lightning.utils.processes import Process
from pix2pix_lightning.utils.progress import build_progress, show_progress


class ProgressBars:
    """A bar over images or frames and, below it, a bar over the parts of a large one.

    They are drawn on standard error, where that is a terminal.

    Args:
        total: Number of images; None where it is not known.
        unit: What is counted: ``images`` or ``frames``.
        process: This process. Of several the first one draws its own part, which stands for all.
    """

    def __init__(self, total: int | None, unit: str = "images", *, process: Process = Process()) -> None:  # noqa: B008
        self._is_shown = process.rank == 0
        self._progress = build_progress(is_first=process.total > 1)
        self._shown = ExitStack()
        what = f"{unit} of process 1 of {process.total}" if process.total > 1 else unit
        self._images = self._progress.add_task(what, total=total)
        self._parts = self._progress.add_task("parts", total=None, visible=False)

    def __enter__(self) -> Self:
        if self._is_shown:
            self._shown.enter_context(show_progress(self._progress))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._shown.close()

    def advance_images(self, count: int = 1) -> None:
        """Count images as finished, and hide the bar over parts."""
        self._progress.update(self._parts, visible=False)
        self._progress.advance(self._images, count)

    def update_parts(self, done: int, total: int) -> None:
        """Show how many parts of the current image are finished."""
        self._progress.update(self._parts, completed=done, total=total, visible=True)
