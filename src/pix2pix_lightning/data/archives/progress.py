"""Show how far a download or the unpacking of an archive is."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from pix2pix_lightning.utils.terminal import find_terminal, is_stdout_terminal
from pix2pix_lightning.utils.text import print_escaped

_STEPS = 10  # lines for a whole file where there is no terminal
_LEAST = 10**6  # bytes before which there is none
_UNKNOWN_STEP = 10**8  # bytes from line to line where the size is not known


class Progress:
    """A bar with speed and time left on standard error; lines of text where that is no terminal.

    Args:
        title: What is going on, such as ``downloading facades``.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        console = find_terminal()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        self._bars = Bars(
            *columns, console=console, transient=True, redirect_stdout=is_stdout_terminal(), disable=console is None
        )
        self._task = self._bars.add_task(title, total=None, start=False)
        self._begin, self._total, self._began, self._step = 0, 0, 0.0, 0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._bars.disable:  # before 14.3 rich prints an empty line even where no bar was drawn
            self._bars.stop()

    def start(self, done: int, total: int | None) -> None:
        """Begin to count.

        Args:
            done: Bytes that were done before.
            total: All bytes; None where it is not known.
        """
        self._begin, self._total, self._began = done, total or 0, time.monotonic()
        self._step = self._find_step(done)
        self._bars.reset(self._task, total=total, completed=done)

    def update(self, done: int) -> None:
        """Show how many bytes are done."""
        self._bars.update(self._task, completed=done)
        step = self._find_step(done)
        if self._bars.disable and step > self._step and done >= _LEAST:
            self._step = step
            print_escaped(self._format_line(done), file=sys.stderr)

    def say(self, text: str) -> None:
        """Print a line."""
        print_escaped(text, file=sys.stderr)

    def _find_step(self, done: int) -> int:
        return done * _STEPS // self._total if self._total else done // _UNKNOWN_STEP

    def _format_line(self, done: int) -> str:
        speed = (done - self._begin) / max(time.monotonic() - self._began, 1e-3)
        parts = [f"{self._title}: {format_bytes(done)}"]
        if self._total:
            left = max(0, round((self._total - done) / max(speed, 1.0)))
            parts = [f"{self._title}: {done * 100 // self._total} % of {format_bytes(self._total)}"]
            parts += [f"{left // 60}:{left % 60:02} left"]
        return ", ".join([parts[0], f"{format_bytes(round(speed))}/s", *parts[1:]])


def format_bytes(count: int) -> str:
    """Format a number of bytes for people, in powers of 1000."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
