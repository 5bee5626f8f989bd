"""Shared by all tests."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tensors are tiny, and threads would wait for each other

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _run_in_an_empty_folder(tmp_path, monkeypatch):
    """Whatever a test leaves behind is left in its own folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIX2PIX_DATA_DIR", raising=False)


@pytest.fixture(scope="session")
def small_pairs(tmp_path_factory):
    """Pairs of 16 pixels, four for training and two for validation, which tests only read."""
    from helpers import make_strips

    return make_strips(tmp_path_factory.mktemp("small") / "pairs", train=4, val=2, side=16)
