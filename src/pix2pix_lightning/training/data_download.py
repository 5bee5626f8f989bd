"""Download a training's data set before its folder is made."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path

from omegaconf import DictConfig

from pix2pix_lightning.data.archives.archive import Archive
from pix2pix_lightning.data.archives.data_set import describe_data_set, download_data_set
from pix2pix_lightning.training.rendezvous import broadcast_decision, detect_process
from pix2pix_lightning.training.run_dir import ENVIRONMENT
from pix2pix_lightning.utils.checks import check_switch
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import print_escaped

_PATIENCE = timedelta(days=2)  # of the processes that wait for the first one


def download_data(cfg: DictConfig) -> None:
    """Download the data set of a training where ``data.download`` asks for it.

    If the run has several processes, the first one does it and the others wait.

    Args:
        cfg: Configuration of a training; ``data`` and ``trainer`` are read.

    Raises:
        UserError: The data set has no archive, or it cannot be downloaded.
    """
    switch = cfg.data.get("download", False)
    check_switch("data.download", switch)
    if not switch or ENVIRONMENT in os.environ:  # a process that the run has started comes after the download
        return
    if "archive" not in cfg.data or "root" not in cfg.data:
        raise UserError("data.download=true: this data set has no archive: leave it out")
    process = detect_process(cfg.trainer)
    if process is None:
        _download(cfg.data)
    else:
        broadcast_decision(process, lambda: _download(cfg.data), patience=_PATIENCE)


def _download(data: DictConfig) -> str:
    archive = Archive.from_config(data.archive)
    found = download_data_set(Path(str(data.root)), archive)
    if found.is_new:
        print_escaped(*describe_data_set(found, archive), file=sys.stderr)
    return str(found.root)
