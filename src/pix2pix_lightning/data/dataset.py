"""Pairs as tensors and the order of pairs; both are functions of (seed, epoch, index)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NotRequired, TypedDict, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info
from torch.utils.data.distributed import DistributedSampler

from pix2pix_lightning.data.augmentation import PairAugmentation, Placement
from pix2pix_lightning.data.device_resize import UnresizedImage, UnresizedImages
from pix2pix_lightning.data.files.image_files import format_reason
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.pairs import Image, Pairs
from pix2pix_lightning.data.prepared import MAX_UNREADABLE, PreparedPairs, build_unreadable_error, format_too_small
from pix2pix_lightning.data.sizes import get_sides
from pix2pix_lightning.data.source_makers import SourceMaker
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.seeding import Purpose, seed_sequence

OnError = Literal["raise", "replace", "drop"]

_IMAGES = ("source", "target")
_log = logging.getLogger(__name__)


class Sample(TypedDict):
    """One pair: images of (C, H, W) in the type of their files, the pair's name and, if its pairs have one, its mask.

    The mask is (1, H, W) booleans, True where the pair counts.
    """

    source: Tensor | UnresizedImage
    target: Tensor | UnresizedImage
    name: str
    mask: NotRequired[Tensor]


class PairDataset(Dataset[Sample | None]):
    """Resize and augment pairs, and return them as source and target.

    It is indexed by ``(epoch, index)``, so that a worker which lives for many epochs knows the epoch. A plain index
    means epoch 0.

    Args:
        pairs: The pairs as their files hold them.
        spec: Kinds of the sides, size and direction.
        augmentation: Applied to images that are resized for a crop; None only resizes.
        seed: Seed of the augmentation, not negative.
        prepared: The same pairs as the augmentation takes them, from a cache, with their masks if it has them. By
            default a pair is prepared each time it is read.
        source_maker: Makes the source out of the target after the augmentation, in place of what the pairs have.
        is_training: Whether what is random in it changes from epoch to epoch.
        on_error: What happens to a pair that cannot be read: ``raise`` ends with an error; ``replace`` returns another
            pair, drawn by (seed, epoch, index); ``drop`` returns None. The latter two log each such pair once.
    """

    def __init__(
        self,
        pairs: Pairs,
        spec: PairSpec,
        *,
        augmentation: PairAugmentation | None,
        seed: int,
        prepared: Pairs | None = None,
        on_error: OnError = "raise",
        source_maker: SourceMaker | None = None,
        is_training: bool = True,
    ) -> None:
        self.pairs = pairs
        plain = PreparedPairs(pairs, spec, for_crop=augmentation is not None)
        self.prepared = plain if prepared is None else prepared
        self.spec = spec
        self.augmentation = augmentation
        self.seed = seed
        self.on_error = on_error
        # a batch has masks of all of its pairs or of none
        self._masks: Any = (self.prepared if hasattr(prepared, "read_mask") else plain) if plain.has_masks else None
        self.source_maker = source_maker
        self.is_training = is_training
        # shared with the loader's processes, so that a pair is logged by the first that meets it
        self._unreadable = None if on_error == "raise" else torch.zeros(len(pairs), dtype=torch.bool)
        if self._unreadable is not None:
            self._unreadable.share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.pairs)

    @property
    def num_unreadable(self) -> int:
        """Number of pairs that could not be read so far, by any of the loader's processes."""
        return 0 if self._unreadable is None else int(self._unreadable.sum())

    def __getitem__(self, key: int | tuple[int, int]) -> Sample | None:
        """Return pair ``index`` with the augmentation of ``epoch``, or None for an unreadable pair that is dropped.

        Raises:
            UserError: A file cannot be read or does not fit the description of its side, and ``on_error`` is
                ``raise``; or many pairs in a row are so.
        """
        epoch, index = key if isinstance(key, tuple) else (0, key)
        seed = seed_sequence(self.seed, Purpose.AUGMENTATION, epoch, index)
        found = self._read(epoch, index, seed)
        if found is None:
            return None
        images, name, placement = found
        if self.augmentation is not None and placement is not None:
            images = self.augmentation.finish(images, seed, is_mirrored=placement.is_mirrored)
        if self.source_maker is not None:
            seed = seed_sequence(self.seed, Purpose.SOURCE, epoch if self.is_training else 0, index)
            images = {**images, "source": self.source_maker(images["target"], seed)}
        sample: Sample = {
            "source": _to_tensor(images["source"]),
            "target": _to_tensor(images["target"]),
            "name": name,
        }
        if "mask" in images:
            sample["mask"] = _to_tensor(images["mask"]).bool()
        return sample

    def _read(
        self, epoch: int, index: int, seed: np.random.SeedSequence
    ) -> tuple[dict[str, Image], str, Placement | None] | None:
        """Return a prepared pair, or the part of it that the augmentation takes; or what takes its place."""
        generator, place = None, index
        for _ in range(MAX_UNREADABLE):
            try:
                return self._read_part(place, seed)
            except (UserError, OSError) as error:
                reason = format_reason(error)
                if self._unreadable is None:
                    raise UserError(f"{reason}; data.on_error=skip goes on without such pairs") from error
            if not self._unreadable[place]:
                self._unreadable[place] = True
                _log.warning("a pair is left out, number %d of such: %s", self.num_unreadable, reason)
            if self.on_error == "drop":
                return None
            if generator is None:
                generator = np.random.default_rng(seed_sequence(self.seed, Purpose.REPLACEMENT, epoch, index))
            place = int(generator.integers(len(self.pairs)))
        raise build_unreadable_error(reason)

    def _read_part(self, place: int, seed: np.random.SeedSequence) -> tuple[dict[str, Image], str, Placement | None]:
        """Return source, target and mask, if pairs have masks, with the name and the part that they are of."""
        prepared, placement = self.prepared, None
        if self.augmentation is not None and isinstance(prepared, PreparedPairs) and prepared.reads_windows:
            size = prepared.read_size(place)
            placement = self._place(self.augmentation, size, prepared.get_name(place), seed)
            a, b, name = prepared.read_window(place, placement.window)
        else:
            a, b, name = prepared[place]
            size = a.shape[:2]
            if self.augmentation is not None:
                placement = self._place(self.augmentation, size, name, seed)
                # of a cache, whose images are views of a file, this is all that is read
                a, b = a[placement.window.slices], b[placement.window.slices]
        source, target = (b, a) if self.spec.direction == "b_to_a" else (a, b)
        images = {"source": source, "target": target}
        if self._masks is not None:
            images["mask"] = self._masks.read_mask(place, size, None if placement is None else placement.window)
        return images, name, placement

    @staticmethod
    def _place(
        augmentation: PairAugmentation, size: tuple[int, int], name: str, seed: np.random.SeedSequence
    ) -> Placement:
        """Choose the part of a pair that the augmentation takes."""
        least = get_sides(augmentation.size or 1)
        if size[0] < least[0] or size[1] < least[1]:
            raise UserError(f"pair {name} {format_too_small(size, least)}")
        return augmentation.place(*size, seed)


class DroppingLoader(DataLoader[Any]):
    """Load batches by ``collate_kept``, without those of which no sample is left."""

    def __iter__(self) -> Any:
        """Yield the batches."""
        return (batch for batch in super().__iter__() if batch is not None)


def collate(samples: Sequence[Sample]) -> Any:
    """Return samples as a batch, whose images keep the channels last in memory.

    A sample alone is not copied, except to the memory that processes share.

    Returns:
        The values of the samples by their names; ``UnresizedImages`` of the sides that are resized on a device.
    """
    unresized = {key for key, value in samples[0].items() if isinstance(value, UnresizedImage)}
    if unresized:
        rest: Any = [{key: value for key, value in sample.items() if key not in unresized} for sample in samples]
        images: Any = {key: UnresizedImages([cast(Any, sample)[key] for sample in samples]) for key in unresized}
        return {**collate(rest), **images}
    values = [cast(dict[str, Any], sample) for sample in samples]
    if len(values) == 1 and get_worker_info() is None:
        return {key: [value] if isinstance(value, str) else value[None] for key, value in values[0].items()}
    # in the order of the memory: torch stacks that much faster
    rows = [{key: value.permute(1, 2, 0) if key in _IMAGES else value for key, value in v.items()} for v in values]
    batch = default_collate(rows)
    return {key: value.permute(0, 3, 1, 2) if key in _IMAGES else value for key, value in batch.items()}


def collate_kept(samples: Sequence[Sample | None]) -> Any:
    """Collate the samples that a ``PairDataset`` has not dropped; None if there are none."""
    kept = [sample for sample in samples if sample is not None]
    return collate(kept) if kept else None


class EpochSampler(DistributedSampler[tuple[int, int]]):
    """Yield ``(epoch, index)``; the order is a function of (seed, epoch), and each rank gets other indices.

    It is a ``DistributedSampler``, so that Lightning does not wrap it in one of its own.

    Args:
        num_pairs: Number of pairs in the whole data set.
        seed: Seed of the order, not negative.
        shuffle: Draw a new order for each epoch; else use that of the files.
        rank: Rank of this process, from 0.
        world_size: Number of processes. With ``shuffle`` each gets equally many indices, and the first ones are
            repeated where the numbers do not divide. Without it each index comes once.

    Attributes:
        skip: Number of indices of this rank that the next iteration leaves out, to continue within an epoch.
    """

    def __init__(self, num_pairs: int, *, seed: int, shuffle: bool, rank: int = 0, world_size: int = 1) -> None:
        pairs: Any = range(num_pairs)
        super().__init__(pairs, num_replicas=world_size, rank=rank, shuffle=shuffle, seed=seed)
        self.num_pairs = num_pairs
        self.world_size = world_size
        self.skip = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration; the trainer calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of indices of this rank in an epoch."""
        return len(self._compute_indices())

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield this rank's indices without the first ``skip``, which is set to 0 again."""
        indices, self.skip = self._compute_indices()[self.skip :], 0
        epoch = self.epoch
        return iter([(epoch, int(index)) for index in indices])

    def _compute_indices(self) -> np.ndarray:
        order = np.arange(self.num_pairs)
        if self.shuffle:
            order = np.random.default_rng(seed_sequence(self.seed, Purpose.ORDER, self.epoch)).permutation(order)
            order = np.resize(order, -(-self.num_pairs // self.world_size) * self.world_size)
        return order[self.rank :: self.world_size]


def _to_tensor(image: Image | UnresizedImage) -> Any:
    """Return (C, H, W) of an image (H, W, C), whose memory keeps the channels last and is nobody else's."""
    if isinstance(image, UnresizedImage):
        return image
    return torch.from_numpy(np.array(image, order="C")).permute(2, 0, 1)
