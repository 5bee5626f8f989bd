import filecmp
import logging
import pickle
import threading
from collections import OrderedDict
from concurrent.futures import wait
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LambdaCallback, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn, TrainerState, TrainerStatus
from torch import nn

from helpers import make_strips
from pix2pix_lightning import PairedDataModule, Pix2PixModule
from pix2pix_lightning.checkpoints import io as checkpoint_io
from pix2pix_lightning.checkpoints.files import read_checkpoint, write_checkpoint
from pix2pix_lightning.checkpoints.io import AtomicCheckpointIO, BackgroundCheckpointIO
from pix2pix_lightning.training.callbacks import SaveOnInterrupt

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in ("Checkpoint directory", "You have overridden `on_after_batch_transfer`", "The number of training")
]
TRAINING = {"fn": TrainerFn.FITTING, "status": TrainerStatus.RUNNING}


@pytest.fixture
def state():
    return TrainerState(**TRAINING)


@pytest.fixture
def background(state):
    background = BackgroundCheckpointIO(state)
    yield background
    background.teardown()


@pytest.fixture
def gate(monkeypatch):
    """Return an event that all writing waits for, with the names of the written files."""
    gate, gate.written = threading.Event(), []

    def write(checkpoint, path):
        gate.wait()
        gate.written.append(path.name)
        write_checkpoint(checkpoint, path)

    monkeypatch.setattr(checkpoint_io, "write_checkpoint", write)
    yield gate
    gate.set()


def network():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.rand(2, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    return network, optimizer


def as_checkpoint(network, optimizer, **more):
    buffer = torch.arange(10.0)
    return {
        "state_dict": network.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "views": OrderedDict(even=buffer[::2], odd=buffer[1::2]),
        "hyper_parameters": {"weights": {"l1": 100.0}, "names": ["a", None]},
        **more,
    }


def held_copies(background):
    return len({id(write.snapshot) for write in background._writes})


def in_a_thread(call, *args):
    thread = threading.Thread(target=call, args=args)
    thread.start()
    return thread


def test_file_has_the_bytes_of_the_moment_of_saving(tmp_path, background, gate):
    parts = network()
    write_checkpoint(as_checkpoint(*parts), tmp_path / "expected.ckpt")
    background.save_checkpoint(as_checkpoint(*parts), tmp_path / "a.ckpt")
    with torch.no_grad():
        parts[0][0].weight.fill_(7)
        parts[0][1].running_mean.fill_(7)
        parts[1].state[parts[0][0].weight]["exp_avg"].fill_(7)
    assert not (tmp_path / "a.ckpt").exists()
    gate.set()
    background.teardown()
    assert filecmp.cmp(tmp_path / "a.ckpt", tmp_path / "expected.ckpt", shallow=False)
    read = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert read["state_dict"]["0.weight"].is_contiguous(memory_format=torch.channels_last)
    assert read["state_dict"]._metadata["1"] == {"version": 2}
    even, odd = read["views"].values()
    assert even.untyped_storage().data_ptr() == odd.untyped_storage().data_ptr()


def test_equal_checkpoints_share_a_copy(tmp_path, background, gate):
    parts = network()
    background.save_checkpoint(as_checkpoint(*parts), tmp_path / "best.ckpt")
    background.save_checkpoint(as_checkpoint(*parts), tmp_path / "last.ckpt")
    assert held_copies(background) == 1
    parts[0][1].num_batches_tracked.data.add_(1)  # not counted by torch's version counters
    background.save_checkpoint(as_checkpoint(*parts), tmp_path / "later.ckpt")
    assert held_copies(background) == 2
    gate.set()
    background.teardown()
    best, last, later = (read(tmp_path / f"{name}.ckpt") for name in ("best", "last", "later"))
    assert (best, last, later) == (1, 1, 2)


def read(path):
    return torch.load(path, weights_only=True)["state_dict"]["1.num_batches_tracked"].item()


def test_equal_weights_of_another_epoch_are_written_with_their_epoch(tmp_path, background, gate):
    parts = network()
    for epoch in (0, 1):
        background.save_checkpoint(as_checkpoint(*parts, epoch=epoch), tmp_path / f"{epoch}.ckpt")
    gate.set()
    background.teardown()
    assert [torch.load(tmp_path / f"{epoch}.ckpt", weights_only=True)["epoch"] for epoch in (0, 1)] == [0, 1]


def test_third_copy_waits(tmp_path, background, gate):
    for number in range(2):
        background.save_checkpoint({"number": number}, tmp_path / f"{number}.ckpt")
    third = in_a_thread(background.save_checkpoint, {"number": 2}, tmp_path / "2.ckpt")
    third.join(0.2)
    assert third.is_alive()
    assert held_copies(background) == 2
    gate.set()
    third.join()
    background.teardown()
    assert gate.written == ["0.ckpt", "1.ckpt", "2.ckpt"]


def test_waiting_copies_are_replaced_by_newer_ones_of_the_same_path(tmp_path, background, gate):
    for number in range(20):
        background.save_checkpoint({"number": number}, tmp_path / "last.ckpt")
        while number == 0 and not background._writes[0].done.running():
            pass
        assert held_copies(background) <= 3
    gate.set()
    background.teardown()
    assert gate.written == ["last.ckpt", "last.ckpt"]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True) == {"number": 19}


@pytest.mark.parametrize("status", [TrainerStatus.INITIALIZING, TrainerStatus.FINISHED, TrainerStatus.INTERRUPTED])
def test_outside_of_training_the_file_is_written_at_once(tmp_path, state, background, status):
    background.save_checkpoint({"number": 0}, tmp_path / "last.ckpt")
    state.status = status
    background.save_checkpoint({"number": 1}, tmp_path / "last.ckpt")
    assert torch.load(tmp_path / "last.ckpt", weights_only=True) == {"number": 1}


def test_reading_and_removing_wait_for_earlier_writes(tmp_path, background, gate):
    background.save_checkpoint({"number": 0}, tmp_path / "a.ckpt")
    background.remove_checkpoint(tmp_path / "a.ckpt")
    background.save_checkpoint({"number": 1}, tmp_path / "b.ckpt")
    found = []
    reader = in_a_thread(lambda: found.append(background.load_checkpoint(tmp_path / "b.ckpt", weights_only=True)))
    reader.join(0.2)
    assert reader.is_alive()
    gate.set()
    reader.join()
    assert found == [{"number": 1}]
    assert gate.written == ["a.ckpt", "b.ckpt"]
    assert not (tmp_path / "a.ckpt").exists()


FULL = r"No space left on device: '.*/full\.ckpt'"


@pytest.fixture
def full(tmp_path, full_disk):
    """The path of an existing checkpoint that cannot be overwritten, as the disk is full."""
    path = tmp_path / "full.ckpt"
    path.write_bytes(b"the last good one")
    full_disk.append(path)
    return path


@pytest.mark.parametrize("call", ["check", "save_checkpoint", "teardown", "load_checkpoint"])
def test_full_disk_is_raised_once_by_the_next_call(tmp_path, background, gate, full, call):
    background.save_checkpoint({"weight": torch.zeros(100_000)}, full)
    background.save_checkpoint({"number": 1}, tmp_path / "other.ckpt")
    gate.set()
    assert background._writes[0].done.exception()
    arguments = {"save_checkpoint": [{}, tmp_path / "next.ckpt"], "load_checkpoint": [tmp_path / "other.ckpt"]}
    with pytest.raises(OSError, match=FULL):
        getattr(background, call)(*arguments.get(call, []))
    assert (tmp_path / "full.ckpt").read_bytes() == b"the last good one"
    assert torch.load(tmp_path / "other.ckpt", weights_only=True) == {"number": 1}
    background.teardown()  # raises nothing


def test_full_disk_does_not_hide_the_reason_of_an_interruption(tmp_path, state, background, full, caplog):
    background.save_checkpoint({"weight": torch.zeros(100_000)}, full)
    state.status = TrainerStatus.INTERRUPTED
    with caplog.at_level(logging.WARNING):
        background.teardown()
    assert caplog.messages == [f"{tmp_path}/full.ckpt stays as it was: No space left on device"]


def test_unpicklable_values_are_raised_at_once(tmp_path, background):
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        background.save_checkpoint({"weight": lambda: None}, tmp_path / "a.ckpt")


# ---- in a training -------------------------------------------------------------------------------------------------


class Spoiler(Callback):
    """Call a function when a batch of an epoch starts, by default the second."""

    def __init__(self, epoch, call, batch=1):
        self.epoch, self.batch, self.call = epoch, batch, call

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            self.call(trainer)


@pytest.fixture
def fit(tmp_path):
    """Return a function that trains in a folder, with the checkpoints of the command train."""
    make_strips(tmp_path / "pairs", train=4, val=1)

    def fit(folder, in_background, *callbacks, epochs=2):
        data = PairedDataModule("pairs", size=32, batch_size=2, num_workers=0)
        generator = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 3, "base_channels": 2}
        module = Pix2PixModule(generator, None, pair_spec=data.pair_spec)
        named = partial(ModelCheckpoint, dirpath=folder, save_on_train_epoch_end=True, enable_version_counter=False)
        best, last = named(filename="best", monitor="val/l1"), named(filename="last")
        trainer = Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            callbacks=[best, last, SaveOnInterrupt(Path(folder) / "last.ckpt"), *callbacks],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        checkpoint_io = BackgroundCheckpointIO(trainer.state) if in_background else AtomicCheckpointIO()
        trainer.strategy.checkpoint_io = checkpoint_io
        trainer.fit(module, data)
        return trainer

    return fit


def test_training_writes_the_same_checkpoints_in_the_background(fit):
    trainer = fit("one", False)
    other = fit("two", True)
    for name in ("best.ckpt", "last.ckpt"):
        one, two = (read_checkpoint(Path(folder) / name) for folder in ("one", "two"))
        assert one.keys() == two.keys()
        assert one["epoch"] == two["epoch"]
        for key, value in one["state_dict"].items():
            assert torch.equal(value, two["state_dict"][key]), key
    assert trainer.checkpoint_callback.best_model_score == other.checkpoint_callback.best_model_score
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("checkpoints")]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError("the real reason")])
def test_interrupted_training_saves_its_last_batch(fit, error):
    def stop(trainer):
        raise error

    with pytest.raises(SystemExit if isinstance(error, KeyboardInterrupt) else ZeroDivisionError):
        fit("run", True, Spoiler(1, stop))
    assert read_checkpoint("run/last.ckpt")["pix2pix_lightning"]["batches_seen"] == 3
    assert read_checkpoint("run/best.ckpt")["epoch"] == 0


def wait_for_writes(trainer):
    """Wait until all is written or has failed."""
    wait([write.done for write in trainer.strategy.checkpoint_io._writes])


@pytest.fixture
def fill_disk(full_disk):
    """A function that fills the disk for the last checkpoint."""

    def fill(trainer):
        wait_for_writes(trainer)
        full_disk.append("run/last.ckpt")

    return fill


def test_full_disk_ends_training_at_the_next_batch(fit, fill_disk):
    started = []
    count = LambdaCallback(on_train_batch_start=lambda trainer, *_: started.append(trainer.current_epoch))
    with pytest.raises(OSError, match=r"No space left on device: '.*run/last\.ckpt'"):
        fit("run", True, count, Spoiler(1, fill_disk), Spoiler(2, fill_disk, batch=0), epochs=3)
    assert started == [0, 0, 1, 1, 2]
    assert read_checkpoint("run/last.ckpt")["epoch"] == 0


def test_full_disk_at_the_last_checkpoint_is_raised_too(fit, fill_disk):
    with pytest.raises(OSError, match=r"No space left on device: '.*run/last\.ckpt'"):
        fit("run", True, Spoiler(1, fill_disk))
    assert read_checkpoint("run/last.ckpt")["epoch"] == 0
