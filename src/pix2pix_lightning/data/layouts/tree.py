"""Pairs in the folders of a file system or a store: strips, two folders, or files whose names tell A from B."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from pix2pix_lightning.data.files.listing import (
    Listing,
    PathList,
    get_stem,
    list_images_below,
    log_passed_over,
)
from pix2pix_lightning.data.layouts.file_names import NamedSides, find_named_sides
from pix2pix_lightning.data.layouts.layout import Found
from pix2pix_lightning.data.layouts.missing_split import explain_missing_split
from pix2pix_lightning.data.layouts.pairing import (
    find_duplicates,
    format_no_image,
    pair_folders,
    pair_inside,
    pair_named,
)
from pix2pix_lightning.data.layouts.side_folders import (
    SidesInside,
    find_side_folders,
    find_sides_inside,
    list_folders,
    list_side_folders,
)
from pix2pix_lightning.data.pairs import FilePairs, PairFiles, StripPairs
from pix2pix_lightning.data.stores.stored_path import AnyPath
from pix2pix_lightning.data.strips import find_strip_size, is_strip_shape
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import format_names

_log = logging.getLogger(__name__)


class PairTree:
    """Open pairs that lie in folders. Images in folders below these belong to them.

    Layouts of a split, or of ``root`` itself: two folders, ``split/A`` and ``split/B``, ``A/split`` and ``B/split``,
    ``splitA`` and ``splitB``, or with names that the table of sides has in place of A and B; such folders inside those
    of series, ``split/series1/A``; files in one folder whose names end or begin with such names; strips.

    Args:
        root: Folder of the data set.
        layout: ``strip``, ``folders`` and ``names`` look for that layout alone; ``auto`` for all of them. ``photos``
            takes each image as both A and B of a pair.
        names: Names of A and B in folders or files; by default those of the table.
    """

    def __init__(self, root: AnyPath, layout: str = "auto", names: Sequence[str] | None = None) -> None:
        self.root = root
        self.layout = layout
        self.names = names

    def has_split(self, split: str) -> bool:
        """Return whether a split has a folder, or two for A and B."""
        places = [self.root / split, *(folder for sides in list_side_folders(self.root, split) for folder in sides)]
        return any(folder.is_dir() for folder in places) or bool(find_side_folders(self.root, split, self.names))

    def is_flat(self, splits: Iterable[str], *, is_divided: bool) -> bool:
        """Return whether pairs lie in the folder itself."""
        if any(self.has_split(split) for split in splits):
            return False
        if is_divided or self.layout == "photos" or find_side_folders(self.root, "", self.names):
            return self.root.is_dir()
        if list_images_below(self.root, recursive=False).files:
            return True
        files = list_images_below(self.root).files
        return self.layout != "strip" and find_sides_inside(self.root, files, self.names) is not None

    def explain_missing(self, split: str) -> str | None:
        """Explain why a split is not found, or return None."""
        return explain_missing_split(self.root, split, self.names)

    def open(self, split: str) -> Found:
        """Open the pairs of a split, in the order of their files' names. No image is read.

        Returns:
            The pairs, and where they are.

        Raises:
            UserError: The split or one of its two folders is missing, there is no image in it, the names of A and B do
                not tell which belong together, or what is there could be read in two ways.
        """
        folder = self._get_folder(split)
        if self.layout == "photos":
            return _open_photos(folder)
        if folder.is_dir():
            next(iter(folder.iterdir()), None)  # raises the error that names the folder itself, if it may not be read
        complete = find_side_folders(self.root, split, self.names) if self.layout != "strip" else []
        if complete and self.layout != "names":
            return self._open_folders(complete, folder)
        listing = list_images_below(folder)
        if self.layout != "strip":
            found = self._find_sides(folder, listing.files)
            if found is not None:
                log_passed_over(folder, listing)
                return pair_named(folder, found) if isinstance(found, NamedSides) else pair_inside(folder, found)
            if complete:
                return self._open_folders(complete, folder)
        if self.layout == "names":
            raise UserError(
                f"{folder} has no files whose names end or begin with what stands for A and B, as x_A.png and x_B.png: "
                "set data.names=[input,target] to what it is, or list the pairs in a manifest.csv"
            )
        if self.names is not None and self.layout != "strip":
            raise UserError(
                f"data.names=[{','.join(self.names)}]: {folder} has no such folders of A and B, and no files whose "
                "names end or begin with them"
            )
        return self._open_strips(split, folder, listing)

    def _get_folder(self, split: str) -> AnyPath:
        return self.root / split if split else self.root

    def _find_sides(self, folder: AnyPath, files: Sequence[str]) -> NamedSides | SidesInside | None:
        """Find A and B in one folder: by the names of files, or of folders inside those of series."""
        if self.layout in ("auto", "names"):
            is_sure = self.layout == "names" or self.names is not None
            named = find_named_sides(folder, files, self.names, is_sure=is_sure)
            if (
                named is not None
                and not is_sure
                and is_strip_shape(*(find_strip_size(PathList(folder, files)) or (1, 1)))
            ):
                raise UserError(
                    f"{folder}: the files are twice as wide as high, as strips are, and their names, "
                    f"{' and '.join(named.patterns)}, tell A from B: set data.layout=strip or data.layout=names"
                )
            if named is not None:
                return named
        return find_sides_inside(folder, files, self.names) if self.layout != "names" else None

    def _open_folders(self, complete: Sequence[tuple[AnyPath, AnyPath]], folder: AnyPath) -> Found:
        found = pair_folders(*complete[0])
        _warn_passed_over(folder, complete)
        return found

    def _open_strips(self, split: str, folder: AnyPath, listing: Listing) -> Found:
        places = list_side_folders(self.root, split)
        if all(side.is_dir() for side in places[0]):
            listing = _leave_out_sides(folder, listing)
        has_strips = self.layout == "strip" or any("/" not in file for file in listing.files)
        for folder_a, folder_b in places[: 1 if has_strips else None] if self.layout != "strip" else ():
            present, missing = (folder_a, folder_b) if folder_a.is_dir() else (folder_b, folder_a)
            if present.is_dir():
                raise UserError(f"{missing} does not exist, but {present} does: put the other side of each pair there")
        if self.layout == "folders":
            raise UserError(
                f"{folder} has no folders A and B: put A and B of each pair into {folder}/A and {folder}/B, set "
                "data.names=[input,target] to what they are called, or data.layout=strip if each file holds both"
            )
        if not folder.is_dir():
            raise UserError(
                f"{folder} does not exist: put strips of A and B there, or A and B into {folder}/A and {folder}/B"
            )
        log_passed_over(folder, listing)
        if not listing.files:
            raise UserError(format_no_image(folder))
        if self.layout == "auto":
            _check_no_side_folders(folder, listing)
        _warn_of_duplicates(folder, listing.files)
        half = f"half of each file in {folder}"
        return Found(StripPairs(PathList(folder, listing.files)), "strip", f"the left {half}", f"the right {half}")


def _open_photos(folder: AnyPath) -> Found:
    """Open pairs of which A and B are the same file."""
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist: put the photos there")
    listing = list_images_below(folder)
    log_passed_over(folder, listing)
    if not listing.files:
        raise UserError(format_no_image(folder))
    _warn_of_duplicates(folder, listing.files)
    photos = [PathList(folder, listing.files)]
    each = f"each file in {folder}"
    return Found(FilePairs(photos, photos, [get_stem(file) for file in listing.files]), "photos", each, each)


def open_pairs(root: AnyPath, split: str, layout: str = "auto") -> PairFiles:
    """Open the pairs of a split, in whichever layout they are found.

    Args:
        root: Folder of the data set.
        split: Name of the split, such as ``train``; empty for pairs that lie in ``root`` itself.
        layout: As in ``PairTree``.

    Returns:
        The pairs, in the order of their files' names. No image is read.

    Raises:
        UserError: As ``PairTree.open`` raises it.
    """
    return PairTree(root, layout).open(split).pairs


def _warn_of_duplicates(folder: AnyPath, files: Sequence[str]) -> None:
    if duplicates := find_duplicates([get_stem(file) for file in files]):
        _log.warning(
            "%s has several files that differ in their ending alone, each is a pair, and their names are equal: %s",
            folder,
            format_names(duplicates),
        )


def _warn_passed_over(folder: AnyPath, complete: Sequence[tuple[AnyPath, AnyPath]]) -> None:
    """Warn of images next to the two folders that are used, which are in no pair."""
    used = complete[0]
    places = {side: list_images_below(side) for both in complete[1:] for side in both}
    if folder.is_dir():
        places[folder] = list_images_below(folder, recursive=False)
        others = [folder / name for name in list_folders(folder)]
        places |= {other: list_images_below(other) for other in others if other not in used}
    for place, listing in places.items():
        if listing.files:
            _log.warning(
                "%s is passed over, with %d images: the pairs are those of %s and %s; data.names=[A,B] or data.layout= "
                "chooses others",
                place,
                len(listing.files),
                *used,
            )


def _leave_out_sides(folder: AnyPath, listing: Listing) -> Listing:
    """Leave out the images of the folders A and B next to strips, which are no strips."""
    files = [file for file in listing.files if not file.startswith(("A/", "B/"))]
    if not any("/" not in file for file in files):
        return listing
    _log.warning("%s: %d images in its folders A and B are passed over", folder, len(listing.files) - len(files))
    return listing._replace(files=files)


def _check_no_side_folders(folder: AnyPath, listing: Listing) -> None:
    """Refuse strips in several folders of equal names, which are probably the two sides of pairs."""
    if any("/" not in file for file in listing.files):
        return
    stems: dict[str, set[str]] = {}
    for file in listing.files:
        first, _, rest = file.partition("/")
        stems.setdefault(first, set()).add(get_stem(rest))
    one, *others = stems.values()
    if others and all(2 * len(one & other) >= min(len(one), len(other)) for other in others):
        first, *more = stems
        raise UserError(
            f"{folder} has the folders {', '.join(stems)} with the same file names, and which is A and which B is not "
            f"known: set data.names=[{first},{more[0]}], first A, then B; or data.layout=strip if each file holds A "
            "and B side by side"
        )
