"""ProceduralDataModule: batches of facades that the program draws."""

import zlib
from pathlib import Path
from typing import Any

from pix2pix_lightning.data.data_module import PairedDataModule
from pix2pix_lightning.data.pairs import Pairs
from pix2pix_lightning.data.procedural import MIN_SIZE, ProceduralPairs
from pix2pix_lightning.data.sizes import format_size, get_sides
from pix2pix_lightning.utils.checks import check_choice, check_counts
from pix2pix_lightning.utils.errors import UserError

_OF_FILES = (
    *("archive", "check", "columns", "decode", "download", "layout", "names", "on_error", "source_maker", "split_seed"),
    *("test_fraction", "val_fraction", "resize", "crop", "val_whole"),
)
"""Options of `PairedDataModule` that drawn pairs do not have."""


class ProceduralDataModule(PairedDataModule):
    """Draw street facades: label maps (B) and photos of them (A), without any files.

    Args:
        num_train: Number of training pairs.
        num_val: Number of validation pairs, and of test pairs.
        num_looks: Number of streets, whose buildings share materials and weather (see ``ProceduralPairs``).
        **options: Arguments of ``PairedDataModule`` except ``root`` and ``archive``. A ``val_split`` is ``train``,
            ``val`` or ``test``.

    Raises:
        UserError: An argument is out of range.
    """

    def __init__(
        self, *, num_train: int = 400, num_val: int = 40, num_looks: int | None = None, **options: Any
    ) -> None:
        check_counts(prefix="data.", num_train=num_train, num_val=num_val)
        if num_looks is not None:
            check_counts(prefix="data.", num_looks=num_looks)
        if options.get("cache") is True:
            raise UserError(
                "data.cache=true: drawn pairs have no folder of their own for the cache: set one, data.cache=<folder>"
            )
        for key in _OF_FILES:
            if key in options:
                raise UserError(f"data.{key}={options[key]}: drawn pairs have no files: leave it out")
        self.num_pairs = {"train": num_train, "val": num_val, "test": num_val}  # before the cache's folder is resolved
        self.num_looks = num_looks
        super().__init__(".", **options)
        if min(get_sides(self.pair_spec.size)) < MIN_SIZE:
            raise UserError(
                f"data.size={format_size(self.pair_spec.size)}: drawn pairs have {MIN_SIZE} pixels or more: set "
                f"data.size={MIN_SIZE}"
            )
        check_choice("data.val_split", self.val_split, self.num_pairs)

    def resolve_cache_folder(self) -> Path:
        """Return the folder of the caches of these pairs; pairs of other settings have another."""
        drawn = [*self.num_pairs.values(), self.seed, self.num_looks]
        return Path(str(self.cache)) / f"procedural_{zlib.crc32(repr(drawn).encode()):08x}"

    def find_strips(self) -> bool:
        """Return False: no files hold A and B side by side."""
        return False

    def open_split(self, split: str) -> Pairs:
        """Build the pairs of a split, squares of the size to which images are resized, or of its longer side."""
        size = max(get_sides(self.pair_spec.load_size if split == "train" else self.pair_spec.size))
        return ProceduralPairs(self.num_pairs[split], size=size, seed=self.seed, split=split, num_looks=self.num_looks)
