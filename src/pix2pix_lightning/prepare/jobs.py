"""What is to be read and written: one job for each pair."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pix2pix_lightning.data.files.listing import OTHER_IMAGES, list_images_below
from pix2pix_lightning.utils.checks import check_not_inside
from pix2pix_lightning.utils.errors import UserError


class Job(NamedTuple):
    """Files to read, and files to write.

    Attributes:
        name: The pair's name: a path below the folder without ending, with ``/`` between names.
        inputs: Files to read.
        outputs: Files to write: a strip, or A and B.
    """

    name: str
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]


class Skipped(NamedTuple):
    """Files that are in no pair, and why.

    Attributes:
        files: The files.
        reason: The reason, in one line.
    """

    files: tuple[Path, ...]
    reason: str


class Plan(NamedTuple):
    """What a task is going to do.

    Attributes:
        jobs: The pairs, in the order of their names.
        skipped: Files that are in no pair.
    """

    jobs: list[Job]
    skipped: list[Skipped]


def check_input_folder(value: object, output: Path, what: str) -> Path:
    """Check that an input is a folder, and that the output does not take its place.

    Args:
        value: Value of the key ``input``.
        output: Folder of the outputs.
        what: What the folder holds, for the message.

    Returns:
        The folder.

    Raises:
        UserError: It is no folder, or lies in the output.
    """
    folder = Path(str(value))
    if not folder.is_dir():
        raise UserError(f"input={value} is no folder: give the folder of {what}")
    check_not_inside("output", output, input=folder)
    return folder


def list_files(folder: Path, output: Path) -> tuple[list[str], list[Skipped]]:
    """List the images below a folder, and what is passed over among them.

    Args:
        folder: The folder.
        output: Folder of the outputs, which is left out where it lies below.

    Returns:
        Paths relative to the folder, with ``/`` between names, in the order of their names; and the other files.
    """
    listing = list_images_below(folder, excluded=output)
    skipped = [Skipped((folder / video,), "a video") for video in listing.videos]
    for suffix, count in sorted(listing.passed_over.items()):
        reason = f"{count} files that end with {suffix}, which {'are' if suffix in OTHER_IMAGES else 'is'} not read"
        skipped.append(Skipped((folder,), reason))
    return listing.files, skipped


def plan_pairs(
    inputs: Iterable[tuple[str, tuple[Path, ...]]], output: Path, layout: str, suffix: str, skipped: Iterable[Skipped]
) -> Plan:
    """Plan the files of each pair.

    Args:
        inputs: Each pair's name, and the files that it is made of.
        output: Folder of the outputs.
        layout: ``strip``, or ``folders`` for the folders A and B.
        suffix: Ending of the outputs.
        skipped: What was skipped before.

    Returns:
        The jobs. Of pairs whose outputs would have the same path, also in letters of another case, the first is taken.
    """
    folders = [output] if layout == "strip" else [output / "A", output / "B"]
    jobs: list[Job] = []
    left_out = [*skipped]
    owners: dict[str, Job] = {}
    for name, files in inputs:
        job = Job(name, files, tuple(folder / f"{name}{suffix}" for folder in folders))
        owner = owners.setdefault(name.lower(), job)
        if owner is job:
            jobs.append(job)
        else:
            left_out.append(Skipped(files, f"{owner.inputs[0]} has the same name: its pair is at {owner.outputs[0]}"))
    return Plan(jobs, left_out)
