"""A checkpoint is written where training stops, unless a step of the two networks was cut in two."""

from types import SimpleNamespace

import pytest
import torch

from pix2pix_lightning.models.accumulation import AccumulationWindow
from pix2pix_lightning.training.callbacks import SaveOnInterrupt


@pytest.mark.parametrize(
    ("error", "in_step", "world_size", "is_saved"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True, 1, False),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed"), True, 1, False),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed"), False, 1, True),
        (RuntimeError("another"), False, 2, False),
        (OSError("a file in the middle of a window"), "window", 1, False),
        (KeyboardInterrupt(), True, 1, True),
        (KeyboardInterrupt(), False, 2, True),
    ],
)
def test_what_is_saved(error, in_step, world_size, is_saved):
    saved = []
    strategy = SimpleNamespace(checkpoint_io=None)
    trainer = SimpleNamespace(world_size=world_size, strategy=strategy, save_checkpoint=saved.append)
    window = AccumulationWindow(is_last=in_step != "window")
    module = SimpleNamespace(losses={} if in_step is True else None, window=window)
    callback = SaveOnInterrupt("last.ckpt")
    callback.on_train_batch_end(trainer)
    callback.on_exception(trainer, module, error)
    assert [path.name for path in saved] == ["last.ckpt"] * is_saved
