"""How far a translation is, on a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Bars:
    """A bar over images and, below it, one over the parts of an image that is translated in tiles.

    They are drawn on the error stream, where that is a terminal.

    Args:
        total: Images.
    """

    def __init__(self, total: int) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._images = self._progress.add_task("images", total=total)
        self._parts = self._progress.add_task("tiles", total=None, visible=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def image(self, count: int = 1) -> None:
        """So many images more are done."""
        self._progress.update(self._parts, visible=False)
        self._progress.advance(self._images, count)

    def part(self, done: int, total: int) -> None:
        """Of the present image ``done`` parts of ``total`` are."""
        self._progress.update(self._parts, completed=done, total=total, visible=True)
