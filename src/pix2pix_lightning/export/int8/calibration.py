"""Images on which a generator is calibrated: sources of its run's training pairs, or those of a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from pix2pix_lightning.data.files.listing import list_images_below
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.evaluation import describe_data, open_data
from pix2pix_lightning.inference.source_files import SourceReader
from pix2pix_lightning.utils.checks import check_counts
from pix2pix_lightning.utils.errors import UserError

NUM_IMAGES = 64
"""How many images are read by default."""
_HELD_OUT = 4  # of so many images one is left out of the calibration
_SPLIT = "train"


@dataclass(frozen=True)
class Images:
    """Images as a generator sees them, each (1, C, H, W) in [-1, 1].

    Args:
        calibration: Those by which the ranges of maps are measured.
        held_out: Others, by which the quantized generator is compared with the float one.
        origin: Where they are from, for a message.
    """

    calibration: Sequence[Tensor]
    held_out: Sequence[Tensor]
    origin: str


def read_images(
    spec: PairSpec,
    *,
    checkpoint: Path,
    run: Path | None,
    folder: Path | None,
    count: int = NUM_IMAGES,
    trust: Sequence[str] = (),
) -> Images:
    """Read images, evenly chosen from all that there are; of four, three are for calibration.

    Args:
        spec: Meaning of the images.
        checkpoint: The model's file, for messages.
        run: Folder of its run, whose training pairs are read where no folder is given.
        folder: Folder of images, resized as in the training.
        count: Number of images, two at least; fewer are read where there are no more.
        trust: Packages whose classes the run's description of its data may name.

    Returns:
        The images.

    Raises:
        UserError: ``count`` is below two, there is neither run nor folder, there are fewer than two images, or a file
            cannot be read.
    """
    check_counts(at_least=2, calibration_images=count)
    if folder is not None:
        images, origin = list(_read_folder(spec, folder, count)), str(folder)
    elif run is not None:
        images, origin = list(_read_training_pairs(spec, checkpoint, run, count, trust)), "the training"
    else:
        raise UserError(
            f"precision=int8 is calibrated on images, and checkpoint={checkpoint} is in no run's folder, which would "
            "name the training's: set calibrate=<folder of source images>"
        )
    if len(images) < 2:
        raise UserError(
            f"precision=int8 needs two source images or more, for calibration and for a comparison, and {origin} has "
            f"{len(images)}: set calibrate=<folder of more>"
        )
    held_out = images[1::_HELD_OUT]
    return Images([image for index, image in enumerate(images) if index % _HELD_OUT != 1], held_out, origin)


def _read_folder(spec: PairSpec, folder: Path, count: int) -> Iterator[Tensor]:
    if not folder.is_dir():
        raise UserError(f"calibrate={folder} is no folder: give one of source images")
    reader = SourceReader(spec)
    source = spec.source
    for name in _choose_evenly(list(list_images_below(folder).files), count):
        array = reader.read(folder / name)
        try:
            array = source.prepare_and_resize(array, *spec.compute_resized(*array.shape[:2]))
        except UserError as error:
            raise UserError(f"{folder / name}: {error}") from None
        yield _encode(spec, torch.from_numpy(array.transpose(2, 0, 1).copy())[None])


def _read_training_pairs(
    spec: PairSpec, checkpoint: Path, run: Path, count: int, trust: Sequence[str]
) -> Iterator[Tensor]:
    keys = OmegaConf.create({"checkpoint": str(checkpoint), "data": {}, "batch_size": 1})
    description = describe_data(keys, run, trust)
    # validation pairs are not augmented, and cropped in their centre as the training crops them
    description |= {"val_split": _SPLIT, "num_workers": 0, "val_whole": False, "cache": None}
    pairs: Any = getattr(open_data(description, spec, "val"), "dataset", None)
    if not hasattr(pairs, "__len__"):
        raise UserError(f"{run}: its data module lists no pairs: set calibrate=<folder of source images>")
    for index in _choose_evenly(range(len(pairs)), count):
        if (sample := pairs[index]) is not None:
            yield _encode(spec, torch.as_tensor(sample["source"])[None])


def _choose_evenly(items: Sequence[Any], count: int) -> list[Any]:
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def _encode(spec: PairSpec, batch: Tensor) -> Tensor:
    return spec.source.fill_missing(spec.encode(batch, "source")).contiguous()
