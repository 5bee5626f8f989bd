"""Pictures of the same validation pairs after each epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from pix2pix_lightning.images import SideSpec
from pix2pix_lightning.module import Pix2PixModule
from pix2pix_lightning.reports import GalleryFolder


class Gallery(Callback):
    """Writes input, output and target of the first validation pairs to a folder with a page.

    Args:
        folder: Of the page, ``index.html``.
        num_images: How many pairs.
    """

    def __init__(self, folder: str | Path, *, num_images: int = 8) -> None:
        self._folder = GalleryFolder(Path(folder))
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
        spec = cast(Pix2PixModule, pl_module).pair_spec
        columns = {
            "input": spec.source.decode(batch["source"][:wanted]),
            "output": spec.decode(outputs["output"][:wanted], batch["source"][:wanted]),
            "target": spec.decode(batch["target"][:wanted], batch["source"][:wanted]),
        }
        for index, name in enumerate(batch["name"][:wanted]):
            sides = {"input": spec.source, "output": spec.target, "target": spec.target}
            images = {column: _visible(values[index], sides[column]) for column, values in columns.items()}
            self._folder.add(f"{self._shown + index:03d}_{name}", trainer.current_epoch, images)
        self._shown += wanted

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the page."""
        if self._shown:
            self._folder.write_page()


def _visible(image: Tensor, side: SideSpec) -> Any:
    """(H, W, C) uint8; class numbers without colours are spread over the grey levels."""
    if side.kind == "label" and not side.palette:
        image = image * (255 // max(1, side.channels - 1))
    return image.permute(1, 2, 0).to("cpu", torch.uint8).numpy()
