"""Translate images: ``python -m pix2pix_lightning.predict checkpoint=<run> input=<folder> output=<folder>``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pix2pix_lightning.cli.errors import format_error
from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def predict(cfg: DictConfig) -> list[Path]:
    """Translate a file, a folder with all that is in it, or the files of a pattern, into PNG files of the same names.

    Args:
        cfg: As ``compose("predict", [...])`` gives it.

    Returns:
        The files that were written.

    Raises:
        ValueError: There is nothing to translate, two inputs would give one file, or, at the end, one was no image.
        FileExistsError: An output exists; nothing is written then.
    """
    from pix2pix_lightning.inference import GeneratorNetwork
    from pix2pix_lightning.inference.folders import endings, find_images, place_results
    from pix2pix_lightning.inference.large import said_of_seams
    from pix2pix_lightning.inference.precision import said
    from pix2pix_lightning.inference.progress import Bars
    from pix2pix_lightning.inference.settings import translator_of
    from pix2pix_lightning.inference.translating import check_noisy, translate_files

    source, output = str(cfg.input), Path(str(cfg.output))
    if output.exists() and not output.is_dir():
        raise UserError(f"output={output} is a file: give a folder")
    inputs = find_images(source, beside=output)
    ends = endings(cfg.samples, spread=cfg.spread)
    results = place_results(inputs, output, ends, overwrite=cfg.overwrite)
    bars = Bars(sum(map(len, results.values())))
    translator = translator_of(cfg, precision=str(cfg.precision), progress=bars.part)
    check_noisy(translator, cfg.samples)
    if cfg.precision == "auto" and isinstance(translator.network, GeneratorNetwork):
        print(said(translator.precision, translator.device))
    broken: list[Path] = []

    def say(path: Path, error: Exception) -> None:
        line = format_error(error, "predict")
        if line is None or len(inputs) == 1:
            raise error
        print(f"error: {line}", file=sys.stderr)
        broken.append(path)
        bars.image(len(results[path]))

    written = []
    output.mkdir(parents=True, exist_ok=True)
    with bars:
        for place in translate_files(translator, results, samples=cfg.samples, broken=say):
            written.append(place)
            bars.image()
    print(f"{len(inputs) - len(broken)} images in {output}")
    if translator.seams:
        print(said_of_seams(translator.seams))
    if broken:
        raise UserError(f"{len(broken)} of {len(inputs)} images could not be translated, as said above")
    return written


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command("predict", predict, argv)


if __name__ == "__main__":
    sys.exit(main())
