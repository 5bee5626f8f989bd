"""Translate images: ``python -m pix2pix_lightning.predict checkpoint=<run> input=<folder> output=<folder>``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pix2pix_lightning.door import open_door

if TYPE_CHECKING:
    from omegaconf import DictConfig


def predict(cfg: DictConfig) -> list[Path]:
    """Translate a file or the images of a folder, and write PNG files of the same names.

    Args:
        cfg: As ``config.compose("predict", [...])`` gives it.

    Returns:
        The files that were written.

    Raises:
        ValueError: There is nothing to translate, an input is no image, or two inputs would give one file.
        FileExistsError: An output exists; nothing is written then.
    """
    from pix2pix_lightning.images import list_images
    from pix2pix_lightning.inference.settings import translator_of

    source, output = Path(str(cfg.input)), Path(str(cfg.output))
    if not source.exists():
        raise ValueError(f"input={source} does not exist: give an image or a folder of images")
    paths = list_images(source) if source.is_dir() else [source]
    if not paths:
        raise ValueError(f"input={source} has no image in it: give an image or a folder of images")
    if output.exists() and not output.is_dir():
        raise ValueError(f"output={output} is a file: give a folder")
    results = {path: output / f"{path.stem}.png" for path in paths}
    if len(set(results.values())) < len(results):
        raise ValueError(f"input={source} has files that differ in their ending only: rename one of each")
    for result in results.values():
        if result.exists() and not cfg.overwrite:
            raise FileExistsError(f"{result} exists: choose another output, or say overwrite=true")

    translator = translator_of(cfg, precision=str(cfg.precision))
    if cfg.precision == "auto":
        print(_choice(translator.precision, translator.device.type))
    output.mkdir(parents=True, exist_ok=True)
    written = translator.write_files(results)
    print(f"{len(paths)} images in {output}")
    return written


def _choice(precision: str, device: str) -> str:
    if precision == "bf16":
        return f"precision=bf16, in which this {device} is faster; precision=32 rounds less"
    return f"precision=32, since this {device} has no instructions for bf16"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return open_door("predict", predict, argv)


if __name__ == "__main__":
    sys.exit(main())
