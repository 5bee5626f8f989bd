"""Group images of a size, so that the network translates several at once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Any, TypeVar

import numpy.typing as npt

from pix2pix_lightning.data.sizes import get_sides
from pix2pix_lightning.inference.generator import GeneratorNetwork
from pix2pix_lightning.inference.translator import Translator

Item = TypeVar("Item")

_PIXELS = 16 * 256**2  # of a batch: more of them make a CPU no faster, and take memory
_MOST = 16


def compute_input_size(translator: Translator, image: npt.NDArray[Any]) -> tuple[int, int]:
    """Return the height and width in pixels to which a translator resizes an image (H, W, C) for the network."""
    height, width = image.shape[:2]
    if translator.resize is None:
        return height, width
    if translator.resize == "training":
        return translator.pair_spec.compute_resized(height, width)
    return get_sides(translator.resize)


def choose_batch_size(translator: Translator, size: tuple[int, int]) -> int:
    """Return how many images of a height and width, in pixels, a translator takes at once."""
    if not (isinstance(translator.network, GeneratorNetwork) or translator.network.gains_by_batches):
        return 1
    return max(1, min(_MOST, _PIXELS // (size[0] * size[1])))


def group_items(items: Iterable[tuple[Item, Hashable, int]]) -> Iterator[list[Item]]:
    """Group items of equal keys, each as early as its group is full.

    Few items wait at a time: when they are twice as many as fill a group, that of the oldest is yielded as it is.

    Args:
        items: Items, their keys, and the number of items of such a key that fill a group.

    Yields:
        The groups; every item is in one of them.

    Example:
        >>> list(group_items([("a", 1, 2), ("b", 2, 2), ("c", 1, 2), ("d", 3, 1)]))
        [['a', 'c'], ['d'], ['b']]
    """
    groups: dict[Hashable, list[Item]] = {}
    for item, key, full in items:
        groups.setdefault(key, []).append(item)
        if len(groups[key]) >= full:
            yield groups.pop(key)
        elif sum(map(len, groups.values())) >= 2 * full:
            yield groups.pop(next(iter(groups)))
    yield from groups.values()
