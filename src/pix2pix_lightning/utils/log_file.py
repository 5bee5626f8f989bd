"""A log file that a full disk does not turn into tracebacks."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from pathlib import Path

from pix2pix_lightning.utils.text import print_escaped


class LogFile(logging.FileHandler):
    """Report once that the file cannot be written, and try again with the next line."""

    has_failed = False

    def __init__(self, path: Path) -> None:
        if path.is_symlink():  # a log is added to, and may not be added to what a link leads to
            path.unlink()
        super().__init__(path)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Print one line where the disk is at fault."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.has_failed:
            self.has_failed = True
            print_escaped(f"{self.baseFilename} cannot be written: {error.strerror}", file=sys.stderr)

    def close(self) -> None:
        """Close the file, without an error for lines that could not be written: it was reported."""
        with suppress(OSError):
            super().close()
