"""The data set of a split: its pairs, or a cache of them, with the augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

from torch.utils.data import Subset

from pix2pix_lightning.data.augmentation import PairAugmentation
from pix2pix_lightning.data.cache import compute_fingerprints, open_cache
from pix2pix_lightning.data.dataset import OnError, PairDataset
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.pairs import FilePairs, Pairs, StripPairs
from pix2pix_lightning.data.prepared import PreparedPairs
from pix2pix_lightning.data.sizes import Size, format_size, get_sides
from pix2pix_lightning.data.source_makers import SourceMaker, check_made_source


def build_dataset(
    pairs: Pairs,
    used: Sequence[int],
    spec: PairSpec,
    *,
    split: str,
    augmentation: PairAugmentation | None,
    seed: int,
    on_error: OnError,
    cache_folder: Path | None = None,
    max_pairs: int | None = None,
    source_maker: SourceMaker | None = None,
    is_training: bool = False,
    decode: Literal["exact", "reduced"] = "exact",
    resize_on: Literal["cpu", "device"] = "cpu",
) -> PairDataset:
    """Build the data set of a split.

    Args:
        pairs: All pairs of the split.
        used: Numbers of those that are used, in ascending order.
        spec: Kinds of the sides, sizes and direction.
        split: Name of the split, by which its cache is called.
        augmentation: As for ``PairDataset``.
        seed: Seed of the augmentation.
        on_error: What happens to a pair that cannot be read, as for ``PairDataset``.
        cache_folder: Folder of the caches of these pairs; None for no cache.
        max_pairs: How many pairs were asked for, which a cache is told by.
        source_maker: As for ``PairDataset``.
        is_training: As for ``PairDataset``.
        decode: As for ``PreparedPairs``.
        resize_on: As for ``PreparedPairs``; ``device`` goes with no cache.

    Returns:
        The data set.

    Raises:
        UserError: The cache cannot be built, or the source maker's sources do not fit the source's side.
    """
    if source_maker is not None:
        check_made_source(source_maker, spec)
    fingerprints: list[Any] = []
    if cache_folder is not None:
        fingerprints = compute_fingerprints(pairs)
        fingerprints = [fingerprints[index] for index in used]
    if len(used) < len(pairs):
        is_own = isinstance(pairs, StripPairs | FilePairs)
        pairs = cast(Any, pairs).select(used) if is_own else _select(pairs, used)
    plain = PreparedPairs(pairs, spec, for_crop=augmentation is not None, decode=decode, resize_on=resize_on)
    prepared: Pairs = plain
    if cache_folder is not None:
        settings: dict[str, Any] = {"split": split, "a": plain.a.to_dict(), "b": plain.b.to_dict()}
        prepared = open_cache(
            cache_folder,
            plain,
            title=f"{split}_{_format_resizing(spec, plain.size)}",
            settings={**settings, "max_pairs": None if max_pairs is None else int(max_pairs), "decode": decode},
            fingerprints=fingerprints,
            may_skip=on_error != "raise",
        )
    return PairDataset(
        pairs,
        spec,
        augmentation=augmentation,
        seed=seed,
        prepared=prepared,
        on_error=on_error,
        source_maker=source_maker,
        is_training=is_training,
    )


def _format_resizing(spec: PairSpec, size: Size) -> str:
    """Return what a cache depends on besides kinds and files: the size of its pairs, or the rule of their sizes."""
    if spec.resize == "stretch":
        return format_size(size)
    if spec.resize == "none":
        return "unresized"
    least = "" if spec.is_whole else f"_height_{spec.height}"  # to which flatter pairs are stretched
    return f"width_{get_sides(spec.load_size)[1]}{least}"


class _MaskedSubset(Subset[Any]):
    """Some of the pairs that have masks."""

    def read_mask(self, index: int) -> Any:
        """Return the mask of pair ``index`` of these."""
        return cast(Any, self.dataset).read_mask(self.indices[index])


def _select(pairs: Any, used: Sequence[int]) -> Pairs:
    """Return some pairs of any kind."""
    subset: Any = (_MaskedSubset if hasattr(pairs, "read_mask") else Subset)(pairs, used)
    return cast(Pairs, subset)
