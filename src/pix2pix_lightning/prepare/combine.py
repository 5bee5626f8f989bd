"""Combine the folders A and B to strips: ``prepare task=combine``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.data.files.listing import get_stem
from pix2pix_lightning.data.layouts.name_matching import match_names
from pix2pix_lightning.data.layouts.side_folders import find_side_folders
from pix2pix_lightning.data.resize import INTERPOLATIONS
from pix2pix_lightning.prepare.jobs import Job, Skipped, check_input_folder, list_files, plan_pairs
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
        sides = {split: both[0] for split in splits if (both := find_side_folders(root, split))}
        if sides:
            return [(split, Path(str(folder_a)), Path(str(folder_b))) for split, (folder_a, folder_b) in sides.items()]
    raise UserError(
        f"input={source} has no folders A and B, and neither have train, val and test in it: give them as "
        "input=[<A>,<B>]"
    )


def match_files(
    folder_a: Path, folder_b: Path, output: Path
) -> tuple[list[tuple[str, tuple[Path, ...]]], list[Skipped]]:
    """Match the files of two folders by their paths without ending, as a training does it.

    Args:
        folder_a: Folder of A.
        folder_b: Folder of B.
        output: Folder of the outputs, which is left out.

    Returns:
        Names and files of the pairs, in the order of the names of A, and what is in no pair.

    Raises:
        UserError: Names differ by a rule that does not tell which belong together.
    """
    (files_a, skipped_a), (files_b, skipped_b) = (_index_files(folder, output) for folder in (folder_a, folder_b))
    found = match_names(list(files_a), list(files_b))
    skipped = [*skipped_a, *skipped_b]
    for names, files, other in ((found.unmatched_a, files_a, folder_b), (found.unmatched_b, files_b, folder_a)):
        skipped += [Skipped((files[name],), f"no file of this name in {other}") for name in names]
    return [(a, (files_a[a], files_b[b])) for a, b in found.pairs], skipped


def _index_files(folder: Path, output: Path) -> tuple[dict[str, Path], list[Skipped]]:
    """Return the files below a folder by their paths without ending, and what is passed over."""
    files, skipped = list_files(folder, output)
    by_name: defaultdict[str, list[Path]] = defaultdict(list)
    for file in files:
        by_name[get_stem(file)].append(folder / file)
    for paths in by_name.values():
        if len(paths) > 1:
            skipped.append(Skipped(tuple(paths), "several files that differ in their ending alone"))
    return {name: paths[0] for name, paths in by_name.items() if len(paths) == 1}, skipped


def _check_interpolation(value: Any) -> tuple[str, str]:
    both = [value, value] if isinstance(value, str) else [*value]
    if len(both) != 2:
        raise UserError(f"interpolation={value}: one word, or two for A and B, is expected")
    for one in both:
        check_choice("interpolation", one, INTERPOLATIONS)
    return both[0], both[1]
