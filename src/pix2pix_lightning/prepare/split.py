"""Split strips into the folders A and B: ``prepare task=split``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pix2pix_lightning.data.files.listing import get_stem
from pix2pix_lightning.data.strips import format_odd_width
from pix2pix_lightning.prepare.jobs import Job, check_input_folder, list_files, plan_pairs
from pix2pix_lightning.prepare.pictures import read_photo
from pix2pix_lightning.prepare.run_jobs import Pair
from pix2pix_lightning.prepare.settings import collect_settings
from pix2pix_lightning.prepare.write_pairs import get_output, write_pairs
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def split(cfg: DictConfig) -> None:
    """Split strips into the folders A and B.

    Args:
        cfg: ``input`` is the folder of the strips, with splits and other folders below it.

    Raises:
        UserError: There is no such folder, a value is wrong, or nothing could be split.
        FileExistsError: The output exists.
    """
    output = get_output(cfg)
    folder = check_input_folder(cfg.input, output, "strips")
    files, skipped = list_files(folder, output)
    inputs = [(get_stem(file), (folder / file,)) for file in files]
    write_pairs(cfg, plan_pairs(inputs, output, "folders", cfg.suffix, skipped), split_job, collect_settings(cfg))


def split_job(job: Job) -> Pair:
    """Return A and B of a job's strip.

    Raises:
        UserError: The file cannot be used, or has an odd width.
        OSError: The file cannot be read.
    """
    (path,) = job.inputs
    strip, is_transparent = read_photo(path)
    width = strip.shape[1]
    if width % 2:
        raise UserError(format_odd_width(path, width))
    a, b = np.hsplit(strip, 2)
    return Pair([np.ascontiguousarray(a), np.ascontiguousarray(b)], is_transparent)
