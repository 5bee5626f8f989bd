"""Combine the folders A and B to strips: ``prepare task=combine``."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.data.pairs import list_side_folders
from pix2pix_lightning.data.resize import INTERPOLATIONS
from pix2pix_lightning.prepare.jobs import Job, Plan, Skipped, check_input_folder, get_stem, list_files, plan_pairs
from pix2pix_lightning.prepare.pictures import Size, check_size, join_strip, read_photo, resize_picture
from pix2pix_lightning.prepare.run_jobs import Pair
from pix2pix_lightning.prepare.settings import collect_settings
from pix2pix_lightning.prepare.write_pairs import get_output, write_pairs
from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Combine:
    """Put A to the left of B.

    Args:
        size: Height and width of both, or None.
        resize: ``a`` or ``b``, whose size the other gets where they differ; None refuses such pairs.
        interpolations: How A and B are resized.
    """

    size: Size | None
    resize: str | None
    interpolations: tuple[str, str]

    def __call__(self, job: Job) -> Pair:
        """Return the strip of a job.

        Raises:
            UserError: A file cannot be used, or the sizes differ.
            OSError: A file cannot be read.
        """
        (a, a_is_clear), (b, b_is_clear) = map(read_photo, job.inputs)
        size = self.size
        if size is None and a.shape[:2] != b.shape[:2]:
            if self.resize is None:
                sizes = " and ".join(f"{image.shape[1]} x {image.shape[0]}" for image in (a, b))
                raise UserError(f"A and B are {sizes} pixels large: set resize=a or b, or size=, to resize such pairs")
            size = (a if self.resize == "a" else b).shape[:2]
        a, b = (resize_picture(image, size, how) for image, how in zip((a, b), self.interpolations, strict=True))
        return Pair([join_strip(a, b)], a_is_clear or b_is_clear)


def combine(cfg: DictConfig) -> None:
    """Combine the folders A and B to strips.

    Args:
        cfg: ``input`` is the folder with A and B, in itself or in its splits; or the two folders.

    Raises:
        UserError: There are no such folders, a value is wrong, or nothing could be combined.
        FileExistsError: The output exists.
    """
    output = get_output(cfg)
    if cfg.resize is not None:
        check_choice("resize", cfg.resize, ("a", "b"))
    convert = Combine(check_size(cfg.size), cfg.resize, _check_interpolation(cfg.interpolation))
    inputs: list[tuple[str, tuple[Path, ...]]] = []
    skipped: list[Skipped] = []
    for split, folder_a, folder_b in find_sides(cfg.input, output):
        matched, left_out = match_files(folder_a, folder_b, output)
        inputs += [(f"{split}/{name}" if split else name, files) for name, files in matched]
        skipped += left_out
    write_pairs(cfg, plan_pairs(inputs, output, "strip", cfg.suffix, skipped), convert, collect_settings(cfg))


def find_sides(source: Any, output: Path) -> list[tuple[str, Path, Path]]:
    """Find the folders of A and B.

    Args:
        source: The folder of both, or a list of the two.
        output: Folder of the outputs.

    Returns:
        For each split its name, empty where there are none, and the two folders.

    Raises:
        UserError: There are none, or one lies in the output.
    """
    if not isinstance(source, str) and isinstance(source, Sequence):
        if len(source) != 2:
            raise UserError(f"input={source}: the folders of A and of B are expected, input=[<A>,<B>]")
        folder_a, folder_b = (check_input_folder(folder, output, "one side of pairs") for folder in source)
        return [("", folder_a, folder_b)]
    root = check_input_folder(source, output, "A and B")
    for splits in ([""], _SPLITS):
        found = [(split, *both) for split in splits if (both := _find_complete(root, split)) is not None]
        if found:
            return found
    raise UserError(
        f"input={source} has no folders A and B, and neither have train, val and test in it: give them as "
        "input=[<A>,<B>]"
    )


def match_files(
    folder_a: Path, folder_b: Path, output: Path
) -> tuple[list[tuple[str, tuple[Path, ...]]], list[Skipped]]:
    """Match the files of two folders by their paths without ending.

    Args:
        folder_a: Folder of A.
        folder_b: Folder of B.
        output: Folder of the outputs, which is left out.

    Returns:
        Names and files of the pairs, in the order of their names, and what is in no pair.
    """
    sides = []
    skipped: list[Skipped] = []
    for folder in (folder_a, folder_b):
        files, passed_over = list_files(folder, output)
        skipped += passed_over
        by_name: defaultdict[str, list[str]] = defaultdict(list)
        for file in files:  # the systems that wrote A and B may differ in the form of an accented letter
            by_name[unicodedata.normalize("NFC", get_stem(file))].append(file)
        sides.append(by_name)
    pairs: list[tuple[str, tuple[Path, ...]]] = []
    for name in sorted({**sides[0], **sides[1]}, key=lambda name: name.split("/")):
        a, b = (
            [folder / file for file in side.get(name, [])]
            for folder, side in zip((folder_a, folder_b), sides, strict=True)
        )
        if len(a) == len(b) == 1:
            pairs.append((name, (a[0], b[0])))
        elif not (a and b):
            skipped.append(Skipped((*a, *b), f"no file of this name in {folder_b if a else folder_a}"))
        else:
            skipped.append(Skipped((*a, *b), "several files that differ in their ending alone"))
    return pairs, skipped


def _find_complete(root: Path, split: str) -> tuple[Path, Path] | None:
    return next((both for both in list_side_folders(root, split) if both[0].is_dir() and both[1].is_dir()), None)


def _check_interpolation(value: Any) -> tuple[str, str]:
    both = [value, value] if isinstance(value, str) else [*value]
    if len(both) != 2:
        raise UserError(f"interpolation={value}: one word, or two for A and B, is expected")
    for one in both:
        check_choice("interpolation", one, INTERPOLATIONS)
    return both[0], both[1]
