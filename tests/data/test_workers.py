"""The number of loader processes, and how they start."""

import logging
import os
import warnings

import cv2
import pytest
import torch

from helpers import make_strips
from pix2pix_lightning.data import PairedDataModule, workers
from pix2pix_lightning.data.workers import check_num_workers, choose_num_workers
from pix2pix_lightning.utils.processes import count_available_cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes have no affinity here")
def test_only_cores_that_this_process_may_use_are_counted():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert count_available_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert count_available_cores() == len(before)


@pytest.mark.parametrize(
    ("cores", "num_workers", "expected"),
    [
        (1, 2, None),
        (1, 3, "warning"),
        (4, 4, None),
        (4, 5, "warning"),
        (4, 32, "warning"),
        (4, 33, "error"),
        (64, 64, None),
        (64, 256, "warning"),
        (64, 257, "error"),
    ],
)
def test_too_many_workers_give_a_warning_or_an_error(monkeypatch, caplog, cores, num_workers, expected):
    monkeypatch.setattr(workers, "count_available_cores", lambda: cores)
    if expected == "error":
        with pytest.raises(ValueError, match=rf"data.num_workers={num_workers}.* {cores} .* data.num_workers={cores}"):
            check_num_workers(num_workers)
    else:
        check_num_workers(num_workers)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == (expected == "warning")
    assert all(f"data.num_workers={num_workers}" in line and f" {cores} " in line for line in lines)


def test_one_warning_is_given_and_none_by_torch(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    root = make_strips(tmp_path / "pairs", train=2, val=1)
    with caplog.at_level(logging.WARNING), warnings.catch_warnings():
        warnings.simplefilter("error")
        data = PairedDataModule(root, size=16, num_workers=3)
        data.setup("fit")
        loaders = data.train_dataloader(), data.val_dataloader()
    assert [loader.num_workers for loader in loaders] == [3, 3]
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("device", "cores", "expected"),
    [("cpu", 1, 1), ("cpu", 64, 1), ("cuda", 1, 1), ("cuda", 2, 1), ("cuda", 4, 3), ("cuda", 9, 8), ("cuda", 64, 8)],
)
def test_workers_for_a_cpu_and_for_a_gpu(device, cores, expected):
    assert choose_num_workers(device, cores) == expected


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_loader_process_has_one_thread(tmp_path, monkeypatch):
    def threads(self, key):
        return {"threads": (cv2.getNumThreads(), torch.get_num_threads())}

    data = PairedDataModule(make_strips(tmp_path / "pairs"), size=16, num_workers=1)
    data.setup("fit")
    monkeypatch.setattr("pix2pix_lightning.data.dataset.PairDataset.__getitem__", threads)
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(2)
    cv2.setNumThreads(2)
    try:
        (batch,) = list(data.val_dataloader())[:1]
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
    assert [int(count) for count in batch["threads"]] == [1, 1]


def test_arguments_of_the_loader(tmp_path, monkeypatch):
    root = make_strips(tmp_path / "pairs", train=2, val=1)

    def loader(**options):
        data = PairedDataModule(root, size=16, **options)
        data.setup("fit")
        return data.train_dataloader()

    assert (loader(num_workers=1).prefetch_factor, loader(num_workers=1, prefetch_factor=5).prefetch_factor) == (2, 5)
    assert loader(num_workers=0, prefetch_factor=5).prefetch_factor is None
    assert [loader(pin_memory=pinned).pin_memory for pinned in (True, False)] == [True, False]
    for has_gpu in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has_gpu=has_gpu: has_gpu)
        assert loader().pin_memory == has_gpu
