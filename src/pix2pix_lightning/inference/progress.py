"""Show the progress of a translation on a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pix2pix_lightning.utils.terminal import find_terminal, is_stdout_terminal


class ProgressBars:
    """A bar over images or frames and, below it, a bar over the tiles of the current one.

    They are drawn on standard error, where that is a terminal.

    Args:
        total: Number of images; None where it is not known.
        unit: What is counted: ``images`` or ``frames``.
    """

    def __init__(self, total: int | None, unit: str = "images") -> None:
        console = find_terminal()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(
            *columns,
            console=console,
            transient=True,
            redirect_stdout=is_stdout_terminal(),
            disable=console is None,
        )
        self._images = self._progress.add_task(unit, total=total)
        self._tiles = self._progress.add_task("tiles", total=None, visible=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._progress.disable:  # before 14.3 rich prints an empty line even where no bar was drawn
            self._progress.stop()

    def advance_images(self, count: int = 1) -> None:
        """Count images as finished, and hide the bar over tiles."""
        self._progress.update(self._tiles, visible=False)
        self._progress.advance(self._images, count)

    def update_tiles(self, done: int, total: int) -> None:
        """Show how many tiles of the current image are finished."""
        self._progress.update(self._tiles, completed=done, total=total, visible=True)
