"""Download a data set: ``python -m pix2pix_lightning.download data=facades``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import print_escaped

if TYPE_CHECKING:
    from omegaconf import DictConfig


def download(cfg: DictConfig) -> Path:
    """Download the pairs of a data set, unless they are on the disk already.

    Args:
        cfg: Configuration of the command, as ``compose("download", [...])`` returns it.

    Returns:
        The folder of the pairs.

    Raises:
        UserError: No data set is chosen, or it cannot be downloaded.
        OSError: A file cannot be written.
    """
    from pix2pix_lightning.data.archives.archive import Archive
    from pix2pix_lightning.data.archives.data_set import describe_data_set, download_data_set

    if "archive" not in cfg.data:
        raise UserError("these pairs are drawn, not downloaded: set data=facades, or data.root=<folder> url=<address>")
    root, archive = Path(str(cfg.data.root)), Archive.from_config(cfg.data.archive)
    url = None if cfg.url is None else str(cfg.url)
    print_escaped(*describe_data_set(download_data_set(root, archive, url=url), archive))
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    return run_command("download", download, argv)


if __name__ == "__main__":
    sys.exit(main())
