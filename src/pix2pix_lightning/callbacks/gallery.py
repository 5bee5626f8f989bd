"""Pictures of the same validation pairs after each epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from lightning.pytorch import Callback, LightningModule, Trainer

from pix2pix_lightning.loggers import log_pictures
from pix2pix_lightning.module import Pix2PixModule
from pix2pix_lightning.reports import GalleryFolder


class Gallery(Callback):
    """Writes input, output and target of the first validation pairs to a folder with a page, and to the loggers.

    Args:
        folder: Of the page, ``index.html``.
        num_images: How many pairs.
        run_dir: The run's folder, whose ``metrics.csv`` and ``config.yaml`` the page shows.
    """

    def __init__(self, folder: str | Path, *, num_images: int = 8, run_dir: str | Path | None = None) -> None:
        self._folder = GalleryFolder(Path(folder), None if run_dir is None else Path(run_dir))
        self._num_images = num_images
        self._shown = 0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A new epoch."""
        self._shown = 0

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write what validation has just made of this batch."""
        wanted = min(self._num_images - self._shown, len(batch["name"]))
        if wanted <= 0 or trainer.sanity_checking or not trainer.is_global_zero:
            return
        module = cast(Pix2PixModule, pl_module)
        spec = module.pair_spec
        columns = {
            "input": spec.source.decode(batch["source"][:wanted]),
            "output": spec.decode(outputs["output"][:wanted], batch["source"][:wanted]),
            "target": spec.decode(batch["target"][:wanted], batch["source"][:wanted]),
        }
        sides = {"input": spec.source, "output": spec.target, "target": spec.target}
        strips = {}
        for index, name in enumerate(batch["name"][:wanted]):
            images = {column: sides[column].picture(values[index]) for column, values in columns.items()}
            called = self._folder.add(self._shown + index, name, trainer.current_epoch, images)
            strips[f"gallery/{called}"] = np.concatenate([_rgb(image) for image in images.values()], axis=1)
        log_pictures(trainer.loggers, strips, module.batches_seen - 1)  # as Lightning counts
        self._shown += wanted

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the page, with the figures that the loggers may still hold back."""
        if not self._shown:
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        step = cast(Pix2PixModule, pl_module).batches_seen - 1  # as Lightning counts for the loggers
        self._folder.write_page({"step": step, "epoch": trainer.current_epoch, **metrics})


def _rgb(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.broadcast_to(image, (*image.shape[:2], 3))
