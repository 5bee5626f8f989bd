"""A terminal with a line that is drawn again and again, and everything else that is written there meanwhile."""

from __future__ import annotations

import logging
import multiprocessing
import sys
from contextlib import suppress
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live

_LOGGERS = ("", "pix2pix_lightning", "lightning.pytorch", "lightning.fabric", "py.warnings")


def find_terminal(*, is_first: bool = False) -> Console | None:
    """Return a console on standard error if a progress bar can be drawn there.

    It cannot in a file, a pipe or a notebook, on a terminal that has no cursor movements (``TERM=dumb``), and in a
    process that another one has started next to others, whose bars would overwrite each other.

    Args:
        is_first: Whether this is the first of several such processes, which draws for all.

    Returns:
        The console, which leaves the lines that are printed as long as they are; or None.
    """
    console = Console(stderr=True, soft_wrap=True)
    # rich takes a pipe for a terminal where FORCE_COLOR is set
    is_terminal = console.is_interactive and sys.stderr.isatty()
    is_alone = is_first or multiprocessing.parent_process() is None
    return console if is_terminal and is_alone else None


def is_stdout_terminal() -> bool:
    """Return whether standard output is a terminal. Where it is not, rich must not redirect it to one."""
    return sys.stdout is not None and sys.stdout.isatty()


class LiveLine:
    """A line at the bottom of a terminal. What is printed or logged meanwhile appears above it.

    Handlers of loggers that write to the terminal are redirected too. A terminal that is closed ends the line alone.

    Args:
        console: A terminal, as `find_terminal` returns it.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._redirected: list[tuple[logging.StreamHandler[Any], Any]] = []
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=is_stdout_terminal())
        before = sys.stdout, sys.stderr
        with suppress(OSError):
            self._live.start()
            console.show_cursor(True)  # it would stay hidden after a process that is killed
        for old, new in zip(before, (sys.stdout, sys.stderr), strict=True):
            for handler in _find_handlers(old) if new is not old else ():
                handler.setStream(new)
                self._redirected.append((handler, old))

    @property
    def width(self) -> int:
        """Columns that can be used: the terminal's, without those where it shows a Ctrl-C."""
        return max(1, self._console.width - 3)

    @property
    def is_ascii(self) -> bool:
        """Whether the terminal has ASCII characters alone."""
        return self._console.options.ascii_only

    def draw(self, line: RenderableType) -> None:
        """Draw the line in place of the one before."""
        if self._live.is_started:
            try:
                self._live.update(line, refresh=True)
            except OSError:  # the terminal is gone
                self.close()

    def close(self) -> None:
        """Remove the line from the terminal."""
        with suppress(OSError):
            self._live.stop()
        for handler, stream in self._redirected:
            handler.setStream(stream)
        self._redirected = []


def _find_handlers(stream: Any) -> list[logging.StreamHandler[Any]]:
    handlers = [handler for name in _LOGGERS for handler in logging.getLogger(name).handlers]
    return [one for one in handlers if isinstance(one, logging.StreamHandler) and one.stream is stream]
