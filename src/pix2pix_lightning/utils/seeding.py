"""Whatever is drawn at random is a function of (seed, purpose, counters), and of nothing that happened before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch


class Purpose(IntEnum):
    """What a draw is for, and what its counters are; the numbers are part of every run's results."""

    ORDER = 1  # epoch
    AUGMENTATION = 2  # epoch, index
    WEIGHTS = 3  # none
    STEP = 4  # batches seen, rank: dropout, and the gradient penalty's mixtures


def seed_sequence(seed: int, purpose: Purpose, *counters: int) -> np.random.SeedSequence:
    """The seeds of one draw."""
    return np.random.SeedSequence([seed, int(purpose), *counters])


@contextmanager
def seed_torch(device: torch.device, seed: int, purpose: Purpose, *counters: int) -> Iterator[None]:
    """Inside, torch's global generators give this draw; after, they go on as if nothing was.

    Args:
        device: Beside the CPU's, whose generator is used.
        seed: Of the run.
        purpose: Of the draw.
        *counters: Of the draw.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(seed_sequence(seed, purpose, *counters).generate_state(1)[0]))
        yield
