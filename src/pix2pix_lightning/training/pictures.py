"""Pictures of pairs and of what a generator makes of them, while a training runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import DataLoader

from pix2pix_lightning.data.dataset import DroppingLoader
from pix2pix_lightning.data.files.image_files import write_image
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.models.pix2pix import Pix2PixModule

Picture = npt.NDArray[np.uint8]


def build_pictures(
    spec: PairSpec, batch: Mapping[str, Any], output: Tensor | None = None, *, num_pairs: int | None = None
) -> list[dict[str, Picture]]:
    """Build pictures for people of the pairs of a batch.

    Args:
        spec: What the images mean.
        batch: ``source`` and ``target``, (B, C, H, W) in [-1, 1], and ``mask``, False where a pixel does not count.
        output: The generator's output in the shape of ``target``, if it is shown too; without a value where a target of
            kind ``raw`` does not count.
        num_pairs: Number of pairs that are shown, the first ones; default all.

    Returns:
        For each pair ``input``, ``output`` and ``target`` by name, in this order, (H, W, 1 or 3) uint8.
    """
    source, target = batch["source"][:num_pairs], batch["target"][:num_pairs]
    columns = {"input": (spec.source, spec.source.decode(source))}
    if output is not None:
        stored = source if "mask" not in batch else source.masked_fill(~batch["mask"][:num_pairs], torch.nan)
        columns["output"] = (spec.target, spec.decode(output[:num_pairs], stored))
    columns["target"] = (spec.target, spec.decode(target, source, is_output=False))
    return [
        {name: side.preview(values[index]) for name, (side, values) in columns.items()} for index in range(len(source))
    ]


def join_pictures(pictures: Mapping[str, Picture]) -> Picture:
    """Place pictures side by side, (H, W, 3) uint8."""
    return np.concatenate([np.broadcast_to(one, (*one.shape[:2], 3)) for one in pictures.values()], axis=1)


def write_strip(path: Path, pictures: Mapping[str, Picture]) -> None:
    """Write pictures side by side to a file, whose folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, join_pictures(pictures), overwrite=True)


def translate_batch(trainer: Trainer, module: Pix2PixModule, batch: Mapping[str, Any]) -> Tensor:
    """Return the generator's outputs as validation computes them. Weights and random numbers stay as they are.

    Args:
        trainer: The trainer that trains the module.
        module: The module.
        batch: ``source``, images (B, C, H, W) in [-1, 1] on the module's device.

    Returns:
        Images (B, C', H, W) in [-1, 1].
    """
    with isolate_rng(), torch.no_grad(), trainer.precision_plugin.val_step_context():
        return module.generate(batch["source"])


def can_translate_alone(trainer: Trainer) -> bool:
    """Return whether a process can run the generator while others do not, which sharded weights do not allow."""
    return trainer.world_size == 1 or isinstance(trainer.strategy, DDPStrategy)


def read_validation_batches(trainer: Trainer, module: Pix2PixModule) -> Iterator[dict[str, Any]]:
    """Read the batches of the validation, in this process and without the loader's state.

    Args:
        trainer: A trainer that is about to train.
        module: The module. Its hooks, or the data module's, prepare the batches.

    Yields:
        Batches on the module's device, as a validation step gets them. None where validation is switched off, or its
        loader is no plain one.
    """
    loader: Any = trainer.val_dataloaders
    data: Any = getattr(trainer, "datamodule", None)
    if loader is None and data is not None:  # Lightning opens it before the first validation
        loader = data.val_dataloader()
    limit = trainer.limit_val_batches
    if not isinstance(loader, DataLoader) or loader.batch_sampler is None or not limit:
        return
    kind = DroppingLoader if isinstance(loader, DroppingLoader) else DataLoader
    plain: Any = kind(  # without processes, and with a generator that nobody else draws from
        loader.dataset,
        batch_sampler=loader.batch_sampler,
        collate_fn=loader.collate_fn,
        generator=torch.Generator().manual_seed(0),
    )
    hooks = data if is_overridden("on_before_batch_transfer", data) else module  # as Lightning chooses
    for batch in islice(plain, limit if isinstance(limit, int) else int(limit * len(loader))):
        prepared = hooks.on_before_batch_transfer(trainer.precision_plugin.convert_input(batch), 0)
        yield trainer.strategy.batch_to_device(prepared)
