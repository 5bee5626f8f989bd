"""A data folder that disappears while it is read, such as that of a network disk, and returns."""

import warnings

import pytest
import torch

from helpers import make_strips
from pix2pix_lightning import PairedDataModule
from pix2pix_lightning.train import train
from pix2pix_lightning.utils.errors import UserError
from tiny_training import NO_GALLERY, StopAt, configure, use_probe


def read_batches(data, epoch):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("num_workers", [0, 1])
def test_reading_fails_while_it_is_away_and_goes_on_after(tmp_path, num_workers):
    root, away = make_strips(tmp_path / "pairs", train=4, val=1, side=16), tmp_path / "away"
    data = PairedDataModule(root, size=16, batch_size=2, num_workers=num_workers, seed=1)
    data.setup("fit")
    before = [read_batches(data, epoch) for epoch in (0, 1)]
    root.rename(away)
    with pytest.raises(UserError, match=r"train_\d\.png"):
        read_batches(data, 0)
    away.rename(root)
    for epoch in (0, 1):
        after = read_batches(data, epoch)
        assert [batch["name"] for batch in after] == [batch["name"] for batch in before[epoch]]
        assert all(torch.equal(a["source"], b["source"]) for a, b in zip(after, before[epoch], strict=True))


@pytest.mark.slow
def test_a_training_stops_with_the_file_and_is_resumed_bit_for_bit(tmp_path):
    root, away = make_strips(tmp_path / "pairs", train=6, val=1, side=16), tmp_path / "away"

    def run(name, *words):
        with warnings.catch_warnings(action="ignore"):
            train(configure(f"data.root={root}", f"run_dir={tmp_path / name}", NO_GALLERY, *words))
        return torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]

    expected = run("whole")
    with pytest.raises(UserError, match=r"train_\d\.png"):
        run("cut", use_probe(StopAt(4, lambda: root.rename(away))))
    away.rename(root)
    resumed = run("cut", "resume=auto")
    assert resumed.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.items())
