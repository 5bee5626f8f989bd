"""Measure what WatchNumbers and WatchTraining cost: their share of a training's time, in the same run.

python examples/measure_watching.py --size 256 --channels 64 --batches 12
"""

import argparse
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.models.defaults import PATCH_70, UNET_256
from pix2pix_lightning.training.callbacks import WatchNumbers, WatchTraining


class Total(Callback):
    """The seconds of all batches, callbacks included."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        wait()
        self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        wait()
        self.seconds = time.perf_counter() - self.start


def main() -> None:
    """Print the share of each callback, and the milliseconds of a batch."""
    parser = argparse.ArgumentParser(description="time of the callbacks that watch a training")
    parser.add_argument("--size", type=int, default=256, help="side of the images")
    parser.add_argument("--channels", type=int, default=64, help="base channels of both networks")
    parser.add_argument("--depth", type=int, default=8, help="levels of the U-Net")
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--every", type=int, default=20, help="batches between two looks")
    options = parser.parse_args()
    generator = {**UNET_256, "num_downs": options.depth, "base_channels": options.channels}
    module = Pix2PixModule(generator, {**PATCH_70, "base_channels": options.channels}, metrics=["l1"])
    images = [torch.randint(0, 256, (1, 3, options.size, options.size), dtype=torch.uint8) for _ in range(2)]
    batch = {"source": images[0], "target": images[1], "name": ["pair"]}
    seconds: dict[str, float] = {}
    watching: list[Callback] = [WatchNumbers(), WatchTraining()]
    for callback in watching:
        for hook in ("on_train_batch_end", "on_train_epoch_start", "on_train_epoch_end"):
            setattr(callback, hook, measure(getattr(callback, hook), type(callback).__name__, seconds))
    total = Total()
    trainer = Trainer(
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=options.every,
        callbacks=[*watching, total],
    )
    trainer.fit(module, DataLoader([batch] * options.batches, batch_size=None))  # type: ignore[arg-type]
    print(f"{options.size} px, {options.channels} channels: {1e3 * total.seconds / options.batches:.2f} ms a batch")
    for name, value in seconds.items():
        print(f"{name}: {1e3 * value / options.batches:.3f} ms a batch, {value / total.seconds:.2%}")


def measure(hook: Callable[..., None], name: str, seconds: dict[str, float]) -> Callable[..., None]:
    """Return a hook that adds its seconds, the device's included."""

    @wraps(hook)
    def measured(*args: Any, **kwargs: Any) -> None:
        wait()
        start = time.perf_counter()
        hook(*args, **kwargs)
        wait()
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start

    return measured


def wait() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
