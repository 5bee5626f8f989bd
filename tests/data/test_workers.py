"""More loader processes than make sense."""

import logging
import os
import warnings

import cv2
import pytest
import torch

from helpers import make_strips
from pix2pix_lightning.data import PairedDataModule, workers
from pix2pix_lightning.data.workers import available_cores, check_workers, workers_for


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes have no affinity here")
def test_cores_are_those_that_this_process_may_use():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert available_cores() == len(before)


@pytest.mark.parametrize(
    ("cores", "num_workers", "expected"),
    [
        (1, 2, None),
        (1, 3, "warned"),
        (4, 4, None),
        (4, 5, "warned"),
        (4, 32, "warned"),
        (4, 33, "refused"),
        (64, 64, None),
        (64, 256, "warned"),
        (64, 257, "refused"),
    ],
)
def test_many_are_warned_of_and_nonsense_is_refused(monkeypatch, caplog, cores, num_workers, expected):
    monkeypatch.setattr(workers, "available_cores", lambda: cores)
    if expected == "refused":
        with pytest.raises(
            ValueError, match=rf"data.num_workers={num_workers}, but {cores} .* data.num_workers={cores}"
        ):
            check_workers(num_workers)
    else:
        check_workers(num_workers)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == (expected == "warned")
    assert all(f"data.num_workers={num_workers}, but {cores} CPU cores" in line for line in lines)


def test_it_is_said_once_and_not_by_torch_again(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    root = make_strips(tmp_path / "pairs", train=2, val=1)
    with caplog.at_level(logging.WARNING), warnings.catch_warnings():
        warnings.simplefilter("error")
        data = PairedDataModule(root, size=32, num_workers=3)
        data.setup("fit")
        loaders = data.train_dataloader(), data.val_dataloader()
    assert [loader.num_workers for loader in loaders] == [3, 3]
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("device", "cores", "expected"),
    [("cpu", 1, 1), ("cpu", 64, 1), ("cuda", 1, 1), ("cuda", 2, 1), ("cuda", 4, 3), ("cuda", 9, 8), ("cuda", 64, 8)],
)
def test_a_cpu_trains_on_all_cores_and_a_gpu_is_served_by_those_that_are_left(device, cores, expected):
    assert workers_for(device, cores) == expected


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_loader_process_has_one_thread(tmp_path, monkeypatch):
    def threads(self, key):
        return {"threads": (cv2.getNumThreads(), torch.get_num_threads())}

    data = PairedDataModule(make_strips(tmp_path / "pairs"), size=32, num_workers=1)
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


def test_what_a_loader_is_made_with(tmp_path, monkeypatch):
    root = make_strips(tmp_path / "pairs", train=2, val=1)

    def loader(**options):
        data = PairedDataModule(root, size=32, **options)
        data.setup("fit")
        return data.train_dataloader()

    assert (loader(num_workers=1).prefetch_factor, loader(num_workers=1, prefetch_factor=5).prefetch_factor) == (2, 5)
    assert loader(num_workers=0, prefetch_factor=5).prefetch_factor is None
    assert [loader(pin_memory=pinned).pin_memory for pinned in (True, False)] == [True, False]
    for has_gpu in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has_gpu=has_gpu: has_gpu)
        assert loader().pin_memory == has_gpu
