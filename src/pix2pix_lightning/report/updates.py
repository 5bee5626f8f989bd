"""Bring pages up to date that link to a page which has just been written."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from pix2pix_lightning.report.links import find_runs_folder, refresh_links
from pix2pix_lightning.report.run_index import RunIndex
from pix2pix_lightning.utils.errors import UserError

_log = logging.getLogger(__name__)


def update_pages(runs: Iterable[Path]) -> None:
    """Bring the links between the pages of runs up to date, and the list of runs where there is one.

    Pages that cannot be written stay as they are, with a warning: what the command was for is done.

    Args:
        runs: Folders of the runs.
    """
    lists: set[Path] = set()
    for run in runs:
        try:
            refresh_links(run)
        except OSError as error:
            _log.warning("the links of %s are not up to date: %s", run, error)
        if (folder := find_runs_folder(run)) is not None:
            lists.add(folder)
    for folder in lists:
        try:
            index = RunIndex(folder)
            if index.exists():
                index.write()
        except (OSError, UserError) as error:
            _log.warning("%s is not up to date: %s", folder / "index.html", error)
