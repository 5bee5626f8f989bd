"""Random draws as a function of (seed, purpose, counters), and of nothing that happened before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch

_MAX_WORD = 2**32 - 1


class Purpose(IntEnum):
    """What a draw is for; the comments name its counters. The numbers are part of every run's results."""

    ORDER = 1  # epoch
    AUGMENTATION = 2  # epoch, index
    WEIGHTS = 3  # none
    STEP = 4  # batches seen, rank: dropout, the gradient penalty's mixtures, DiffAugment
    SOURCE = 6  # epoch, index: holes in photos
    REPLACEMENT = 5  # epoch, index: other pairs in place of one that cannot be read


def seed_sequence(seed: int, purpose: Purpose, *counters: int) -> np.random.SeedSequence:
    """Return the seed of one draw.

    Args:
        seed: Seed of the run.
        purpose: What the draw is for.
        *counters: Counters of the draw, such as the epoch.
    """
    entropy = [seed, int(purpose), *counters]
    # an array is read in a third of the time; a larger number would be several words
    return np.random.SeedSequence(np.array(entropy, np.uint32) if max(entropy) <= _MAX_WORD else entropy)


@contextmanager
def seed_torch(device: torch.device, seed: int, purpose: Purpose, *counters: int) -> Iterator[None]:
    """Seed torch's global generators for a block, and restore them afterwards.

    Args:
        device: Device whose generator is seeded, besides the CPU's.
        seed: Seed of the run.
        purpose: What the draw is for.
        *counters: Counters of the draw, such as the batch and the rank.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(seed_sequence(seed, purpose, *counters).generate_state(1)[0]))
        yield
