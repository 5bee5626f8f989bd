"""Pairs as tensors, and the order in which they come: both functions of (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypedDict

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler

from pix2pix_lightning.data.augmentation import PairAugmentation
from pix2pix_lightning.data.pairs import Image, Pairs
from pix2pix_lightning.data.prepared import PreparedPairs
from pix2pix_lightning.data.sides import PairSpec
from pix2pix_lightning.utils.seeding import Purpose, seed_sequence


class Sample(TypedDict):
    """One pair of a batch: (C, H, W) uint8 each, and the pair's name."""

    source: Tensor
    target: Tensor
    name: str


class PairDataset(Dataset[Sample]):
    """Pairs, resized, augmented, turned to source and target.

    It is indexed by ``(epoch, index)``: so a worker that lives for many epochs knows which one it is in. A plain index
    is of epoch 0.

    Args:
        pairs: The files.
        spec: Kinds, size and direction.
        augmentation: Applied to images of ``spec.load_size``; None resizes to ``spec.size`` and nothing else.
        seed: Seed of the augmentation.
        prepared: The same pairs as the augmentation takes them, out of a cache; by default each is prepared when it
            is asked for.
    """

    def __init__(
        self,
        pairs: Pairs,
        spec: PairSpec,
        *,
        augmentation: PairAugmentation | None,
        seed: int,
        prepared: Pairs | None = None,
    ) -> None:
        length = spec.size if augmentation is None else spec.load_size
        self.pairs = pairs
        self.prepared = PreparedPairs(pairs, spec, length) if prepared is None else prepared
        self.spec = spec
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        """Return pair ``index`` as it is seen in ``epoch``.

        Raises:
            ValueError: A file is damaged or does not fit the description of its side.
        """
        epoch, index = key if isinstance(key, tuple) else (0, key)
        a, b, name = self.prepared[index]
        source, target = (b, a) if self.spec.direction == "b_to_a" else (a, b)
        if self.augmentation is not None:
            seed = seed_sequence(self.seed, Purpose.AUGMENTATION, epoch, index)
            source, target = self.augmentation(source, target, seed)
        return {"source": _tensor(source), "target": _tensor(target), "name": name}


class EpochSampler(DistributedSampler[tuple[int, int]]):
    """Yields ``(epoch, index)``; the order is a function of (seed, epoch), and ranks see other indices.

    It is a ``DistributedSampler``, so that Lightning does not put one of its own around it.

    Args:
        num_pairs: Number of pairs in the whole data set.
        seed: Seed of the order.
        shuffle: A new order each epoch; else the files' own.
        rank: Rank of this process.
        world_size: Number of processes. With ``shuffle`` each gets equally many indices, the first ones again
            where they do not divide; else each index comes once.
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
        return len(self._indices())

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield this rank's indices; skip the first ``skip`` once, to continue in the middle of an epoch."""
        indices, self.skip = self._indices()[self.skip :], 0
        epoch = self.epoch
        return iter([(epoch, int(index)) for index in indices])

    def _indices(self) -> np.ndarray:
        order = np.arange(self.num_pairs)
        if self.shuffle:
            order = np.random.default_rng(seed_sequence(self.seed, Purpose.ORDER, self.epoch)).permutation(order)
            order = np.resize(order, -(-self.num_pairs // self.world_size) * self.world_size)
        return order[self.rank :: self.world_size]


def _tensor(image: Image) -> Tensor:
    height, width, channels = image.shape
    planes = np.empty((channels, height, width), np.uint8)
    cv2.split(image, list(planes))  # into the planes; a fifth of NumPy's time for it
    return torch.from_numpy(planes)
