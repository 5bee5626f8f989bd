"""Write the outputs of the same validation pairs after each epoch."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from lightning.pytorch import Callback, LightningModule, Trainer

from pix2pix_lightning.metrics import describe_metrics
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.reports import GalleryFolder, build_pair_folder_name
from pix2pix_lightning.training.loggers import log_images
from pix2pix_lightning.utils.background import Background
from pix2pix_lightning.utils.checks import check_counts

_log = logging.getLogger(__name__)
_MAX_PENDING = 64  # pairs and pages; training waits for a disk that is slower


class Gallery(Callback):
    """Write input, output and target of the first validation pairs to a folder with a page, and to the loggers.

    Files are written by a thread while training continues. The end of training waits for it.

    Args:
        folder: Folder of the page, ``index.html``.
        num_images: Number of pairs.
        run_dir: Folder of the run, whose ``metrics.csv`` and ``config.yaml`` the page shows. None shows neither.
    """

    def __init__(self, folder: str | Path, *, num_images: int = 8, run_dir: str | Path | None = None) -> None:
        self._path = Path(folder)
        self._folder = GalleryFolder(self._path, None if run_dir is None else Path(run_dir))
        check_counts(num_images=num_images)
        self._num_images = num_images
        self._shown = 0
        self._background = Background("gallery", at_most=_MAX_PENDING)

    def on_train_batch_end(self, *args: object, **kwargs: object) -> None:
        """End training if images could not be written.

        Raises:
            OSError: The disk is full, or the folder is not writable.
        """
        self._background.check()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start with the first pair again."""
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
        """Write the images of a batch."""
        wanted = min(self._num_images - self._shown, len(batch["source"]))
        if wanted <= 0 or trainer.sanity_checking or not trainer.is_global_zero:
            return
        module = cast(Pix2PixModule, pl_module)
        spec = module.pair_spec
        columns = {
            "input": spec.source.decode(batch["source"][:wanted]),
            "output": spec.decode(outputs["output"][:wanted], batch["source"][:wanted]),
            "target": spec.decode(batch["target"][:wanted], batch["source"][:wanted], is_output=False),
        }
        sides = {"input": spec.source, "output": spec.target, "target": spec.target}
        strips = {}
        for index, name in enumerate(batch.get("name", ["pair"] * wanted)[:wanted]):
            images = {column: sides[column].to_picture(values[index]) for column, values in columns.items()}
            position = self._shown + index
            self._background.do(partial(self._folder.add, position, name, trainer.current_epoch, images))
            strips[f"gallery/{build_pair_folder_name(position, name)}"] = np.concatenate(
                [_to_rgb(image) for image in images.values()], axis=1
            )
        log_images(trainer.loggers, strips, module.batches_seen - 1)  # the step of the metrics
        self._shown += wanted

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the page, with the metrics that are not in ``metrics.csv`` yet."""
        if not self._shown:
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        step = cast(Pix2PixModule, pl_module).batches_seen - 1
        latest = {"step": step, "epoch": trainer.current_epoch, **metrics}
        described = describe_metrics(cast(Pix2PixModule, pl_module).val_metrics.collection)
        self._background.do(partial(self._folder.write_page, latest, metric_info=described))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Wait until everything is written.

        Raises:
            OSError: The disk is full, or the folder is not writable.
        """
        self._background.wait()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Wait until everything is written. An error of the disk is only logged: another error has ended training."""
        try:
            self._background.wait()
        except OSError as error:
            _log.warning("%s is not up to date: %s", self._path, error.strerror)


def _to_rgb(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.broadcast_to(image, (*image.shape[:2], 3))
