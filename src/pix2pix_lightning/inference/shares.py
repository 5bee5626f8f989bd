"""Divide the files of a prediction among jobs and processes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from pix2pix_lightning.inference.file_paths import strip_wildcards
from pix2pix_lightning.inference.source_files import Source
from pix2pix_lightning.utils.checks import is_same_place
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.processes import Process

Value = TypeVar("Value")


class Share(NamedTuple):
    """One of several equal parts of a list: the items ``number``, ``number + total``, ``number + 2 * total``, ...

    Attributes:
        number: Its number, from 0.
        total: How many parts there are.
    """

    number: int = 0
    total: int = 1

    def take(self, inputs: Mapping[Source, Value]) -> dict[Source, Value]:
        """Return the inputs of this part and what belongs to each, in their order."""
        return dict(islice(inputs.items(), self.number, None, self.total))


def parse_shard(shard: object) -> Share:
    """Return the part of the files that ``shard`` stands for.

    Args:
        shard: ``3/8`` for the third of eight parts; None for all files.

    Raises:
        UserError: It is something else.
    """
    if shard is None:
        return Share()
    found = re.fullmatch(r"0*([1-9]\d{0,8})/0*([1-9]\d{0,8})", str(shard), re.ASCII)
    if found is None or int(found[1]) > int(found[2]):
        raise UserError(f"shard={shard}: a part and the number of parts are expected, from shard=1/8 to shard=8/8")
    return Share(int(found[1]) - 1, int(found[2]))


def plan_share(shard: object, process: Process) -> Share:
    """Return the part of the files that this process of a job translates.

    Args:
        shard: The job's part, as for `parse_shard`, which its processes divide among them.
        process: This process.

    Raises:
        UserError: ``shard`` is no part.
    """
    job = parse_shard(shard)
    return Share(job.number + process.rank * job.total, job.total * process.total)


def check_divisible(
    shard: object, process: Process, source: str, output: Path, *, is_file: bool, devices: object = 1
) -> None:
    """Check that what is translated can be divided among jobs or processes.

    Args:
        shard: The job's part, or None.
        process: This process.
        source: What is translated.
        output: Folder of the outputs, or the one file.
        is_file: Whether one picture or video is translated.
        devices: The number of devices that was asked for, which is named in the error where it is not 1.

    Raises:
        UserError: There are several jobs or processes, and one file, or outputs between the inputs, which some jobs
            would find there and others not.
    """
    if parse_shard(shard).total == process.total == 1:
        return
    what, fix = f"{process.total} processes", "let one translate it"
    if devices != 1:
        what, fix = f"devices={devices}", "leave devices out"
    elif shard is not None:
        what, fix = f"shard={shard}", "leave shard out"
    if is_file:
        raise UserError(f"{what} with input={source}, which is one file that cannot be divided: {fix}")
    if not Path(source).is_file() and is_same_place(strip_wildcards(Path(source)), output):
        raise UserError(f"{what} with output={output} between the inputs, which change then: choose another output")
