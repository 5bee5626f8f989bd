"""Loaders of pairs."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch.utils.data import DataLoader

from pix2pix_lightning.data.dataset import DroppingLoader, EpochSampler, PairDataset, collate, collate_kept
from pix2pix_lightning.data.workers import use_one_thread


def build_loader(
    dataset: PairDataset,
    sampler: EpochSampler,
    *,
    batch_size: int,
    num_workers: int,
    pin_memory: bool,
    prefetch_factor: int | None,
    seed: int,
) -> DataLoader[Any]:
    """Build the loader of a split.

    Args:
        dataset: Pairs of the split.
        sampler: The order of the pairs.
        batch_size: Pairs in a batch of each process.
        num_workers: Number of loader processes.
        pin_memory: Whether batches are copied to page-locked memory.
        prefetch_factor: Batches that each loader process has ready; None is torch's default.
        seed: Seed of the loader's own generator.

    Returns:
        A loader of batches ``{"source", "target", "name"}``.
    """
    drops = dataset.on_error == "drop"  # a replacement would be measured twice
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # check_num_workers has warned
        return (DroppingLoader if drops else DataLoader)(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            collate_fn=collate_kept if drops else collate,
            num_workers=num_workers,
            pin_memory=pin_memory,
            prefetch_factor=prefetch_factor if num_workers else None,
            persistent_workers=num_workers > 0,
            worker_init_fn=use_one_thread,
            # without it, each iterator draws a number from the global generator
            generator=torch.Generator().manual_seed(seed),
        )
