"""Which files a path, a folder or a pattern stands for, and where their translations go."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from pathlib import Path

from pix2pix_lightning.data.image_files import IMAGE_SUFFIXES
from pix2pix_lightning.utils.errors import UserError


def find_images(source: str, *, beside: Path) -> dict[Path, Path]:
    """The image files that ``source`` stands for, in the order of their names.

    Args:
        source: A file; a folder, which is searched with all that is in it; or a pattern with ``*``, ``?`` or ``**``.
        beside: A folder that is passed over where it lies in the one that is searched: where results go.

    Returns:
        Each file, and its path below the folder or below the part of the pattern that is no pattern.

    Raises:
        ValueError: There is none.
    """
    given = Path(source)
    if given.is_file():
        return {given: Path(given.name)}
    if given.is_dir():
        found = _below(given, beside)
    elif glob.has_magic(source):
        given = _fixed_part(given)
        found = [Path(name) for name in glob.glob(source, recursive=True)]  # noqa: PTH207 (Path's takes hidden ones)
        is_inside = _lies_in(beside, given)
        found = [path for path in found if _is_image(path) and not (is_inside and _lies_in(path, beside))]
    else:
        raise UserError(f"input={source} does not exist: give an image, a folder of images or a pattern")
    if not found:
        raise UserError(f"input={source} has no image in it: give an image, a folder of images or a pattern")
    return {path: path.relative_to(given) for path in sorted(found)}


def endings(samples: int | None, *, spread: bool) -> tuple[str, ...]:
    """What the names of an image's results end with.

    Args:
        samples: Translations of each image; None is the one that has the image's name.
        spread: Whether a picture of how far the samples differ is written too.

    Raises:
        ValueError: There is nothing to differ.
    """
    if samples is None:
        if spread:
            raise UserError("spread=true without samples: say samples=8 and mode=paper")
        return (".png",)
    if type(samples) is not int or samples < 1:
        raise UserError(f"samples={samples}: a whole number of at least 1 is expected")
    if spread and samples == 1:
        raise UserError("spread=true of one sample: say samples=8 or so")
    return (*(f".sample_{number}.png" for number in range(samples)), *([".spread.png"] if spread else []))


def place_results(
    inputs: Mapping[Path, Path], output: Path, endings: tuple[str, ...], *, overwrite: bool = False
) -> dict[Path, list[Path]]:
    """Where the results of each input go: below ``output`` as the inputs lie, ``<name><ending>``.

    Raises:
        ValueError: Two inputs would give one file.
        FileExistsError: A file exists, and ``overwrite`` is off.
    """
    results = {
        path: [output / relative.with_name(f"{relative.stem}{ending}") for ending in endings]
        for path, relative in inputs.items()
    }
    owner: dict[str, Path] = {}
    for path, places in results.items():
        for place in places:
            other = owner.setdefault(str(place).lower(), path)  # some disks know no capitals
            if other != path:
                raise UserError(f"{other} and {path} would both give {place}: rename one of them")
    for place in () if overwrite else (place for places in results.values() for place in places):
        if place.exists():
            raise FileExistsError(f"{place} exists: choose another output, or say overwrite=true")
    return results


def _below(folder: Path, beside: Path) -> list[Path]:
    found = []
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        here = Path(parent)
        folders[:] = [name for name in folders if not name.startswith(".") and not _is_same(here / name, beside)]
        found += [here / name for name in names if _is_image(here / name)]
    return found


def _refuse(error: OSError) -> None:
    """A folder that cannot be read is not passed over."""
    raise error


def _fixed_part(pattern: Path) -> Path:
    fixed = Path()
    for part in pattern.parts:
        if glob.has_magic(part):
            break
        fixed /= part
    return fixed


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _lies_in(path: Path, folder: Path) -> bool:
    return folder.exists() and folder.resolve() in path.resolve().parents


def _is_same(path: Path, other: Path) -> bool:
    return other.exists() and path.resolve() == other.resolve()
