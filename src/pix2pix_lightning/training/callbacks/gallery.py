"""Write the outputs of the same validation pairs before training and after each epoch."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from pix2pix_lightning.metrics import describe_metrics
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.report import UNTRAINED, GalleryFolder, build_pair_folder_name
from pix2pix_lightning.training.loggers import log_images
from pix2pix_lightning.training.pictures import (
    Picture,
    build_pictures,
    can_translate_alone,
    join_pictures,
    read_validation_batches,
    translate_batch,
)
from pix2pix_lightning.training.validation_values import collect_validation_values
from pix2pix_lightning.utils.background import Background
from pix2pix_lightning.utils.checks import check_counts
from pix2pix_lightning.utils.errors import UserError

_log = logging.getLogger(__name__)
_MAX_PENDING = 64  # pairs and pages; training waits for a disk that is slower


class Gallery(Callback):
    """Write input, output and target of the first validation pairs to a folder with a page, and to the loggers.

    The outputs of the untrained generator are there before the first step, then those after each validation. Files are
    written by a thread while training continues. The end of training waits for it.

    Args:
        folder: Folder of the page, ``index.html``.
        num_images: Number of pairs.
        run_dir: Folder of the run, whose ``metrics.csv`` and ``config.yaml`` the page shows. None shows neither.
        max_megabytes: Size of all pictures, in millions of bytes: outputs of earlier epochs become JPEG files, then
            fewer. None keeps all as PNG files.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        num_images: int = 8,
        run_dir: str | Path | None = None,
        max_megabytes: float | None = 48.0,
    ) -> None:
        if max_megabytes is not None and not max_megabytes > 0:
            raise UserError(f"max_megabytes={max_megabytes} must be positive, or null for no limit")
        self._path = Path(folder)
        run = None if run_dir is None else Path(run_dir)
        self._folder = GalleryFolder(self._path, run, max_megabytes=max_megabytes)
        check_counts(num_images=num_images)
        self._num_images = num_images
        self._shown = 0
        self._background = Background("gallery", at_most=_MAX_PENDING)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the pictures of the untrained generator, and log where the page is. A resumed training has them.

        Raises:
            OSError: The disk is full, or the folder is not writable.
        """
        module = cast(Pix2PixModule, pl_module)
        if not trainer.is_global_zero or not trainer.limit_val_batches:
            return
        if module.batches_seen == 0 and can_translate_alone(trainer):
            self._shown = 0
            with isolate_rng():  # a loader of the user's may draw random numbers
                for batch in read_validation_batches(trainer, module):
                    self._write(module, batch, translate_batch(trainer, module, batch), UNTRAINED)
                    if self._shown == self._num_images:
                        break
            if self._shown:
                described = describe_metrics(module.val_metrics.collection)
                self._background.do(partial(self._folder.write_page, metric_info=described))
                self._background.wait()
        _log.info("pictures: %s", self._path / "index.html")

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
        """Write the images of a batch, in a training: ``Trainer.validate`` alone knows no epoch."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or not trainer.is_global_zero:
            return
        if self._shown == self._num_images:
            return
        module = cast(Pix2PixModule, pl_module)
        strips = self._write(module, batch, outputs["output"], trainer.current_epoch)
        log_images(trainer.loggers, strips, module.batches_seen - 1)  # the step of the metrics

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the page, with the metrics that are not in ``metrics.csv`` yet."""
        if not self._shown:
            return
        step = cast(Pix2PixModule, pl_module).batches_seen - 1
        latest = {"step": step, "epoch": trainer.current_epoch, **collect_validation_values(trainer)}
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

    def _write(self, module: Pix2PixModule, batch: Any, output: Tensor, epoch: int) -> dict[str, Picture]:
        """Queue the pictures of the pairs that are still wanted, and return a strip of each for the loggers."""
        wanted = self._num_images - self._shown
        strips = {}
        pictures = build_pictures(module.pair_spec, batch, output, num_pairs=wanted)
        names = batch.get("name", ["pair"] * len(pictures))
        for name, images in zip(names[:wanted], pictures, strict=True):
            self._background.do(partial(self._folder.add, self._shown, name, epoch, images))
            strips[f"gallery/{build_pair_folder_name(self._shown, name)}"] = join_pictures(images)
            self._shown += 1
        return strips
