"""A bar on a terminal over work whose parts are counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pix2pix_lightning.utils.terminal import find_terminal, is_stdout_terminal


def build_progress(*, is_first: bool = False) -> Progress:
    """Build bars with a description, a count and the time left, drawn on standard error where that is a terminal.

    Args:
        is_first: Whether this is the first of several processes, which draws for all.

    Returns:
        The bars, which are not drawn yet.
    """
    console = find_terminal(is_first=is_first)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=is_stdout_terminal(),
        disable=console is None,
    )


@contextmanager
def show_progress(progress: Progress) -> Iterator[None]:
    """Draw bars during a block."""
    progress.start()
    try:
        yield
    finally:
        if not progress.disable:  # before 14.3 rich prints an empty line even where no bar was drawn
            progress.stop()
