"""Translate images with ``python -m pix2pix_lightning.predict checkpoint=<run> input=<folder> output=<folder>``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.cli.errors import format_error
from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import escape_controls, print_escaped

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pix2pix_lightning.inference import Translator
    from pix2pix_lightning.inference.source_files import Source


def predict(cfg: DictConfig) -> list[Path]:
    """Translate a file, a folder with its subfolders, or the files of a pattern, into files of the same names.

    A manifest gives the files of its rows, several of a row as the channels of one image. Outputs hold the target's own
    type and range: PNG files where these hold it, else TIFF files. Of one image, ``output`` may also be the file to
    write, in the format of its suffix. A video becomes an MP4 file.

    Args:
        cfg: Configuration of ``compose("predict", [...])``.

    Returns:
        The files that were written.

    Raises:
        UserError: There is nothing to translate, or two inputs have the same output; a video cannot be read, or not be
            written by this model; or, after all others were translated, an input is not an image.
        FileExistsError: An output exists; nothing is written then.
    """
    from pix2pix_lightning.inference.file_paths import (
        check_apart,
        check_inputs_stay,
        choose_suffixes,
        find_images,
        is_output_file,
        is_video,
        list_suffixes,
        plan_outputs,
    )
    from pix2pix_lightning.inference.listed_sources import check_split, find_listed, is_manifest
    from pix2pix_lightning.inference.progress import ProgressBars
    from pix2pix_lightning.inference.tiled_inference import format_seams
    from pix2pix_lightning.inference.translate_files import check_format, check_sampling, translate_files
    from pix2pix_lightning.utils.atomic import create_folder, remove_old_leftovers
    from pix2pix_lightning.utils.checks import check_absent, check_folder

    source, output = str(cfg.input), Path(str(cfg.output))
    split = None if cfg.split is None else str(cfg.split)
    check_split(source, split)
    if is_video(source):
        return [_predict_video(cfg, Path(source), output)]
    build = partial(_build_translator, cfg)
    if is_manifest(source):
        translator = build()  # which tells the column
        inputs = find_listed(Path(source), split, translator.pair_spec)
    else:
        translator = None
        inputs = find_images(source, excluded=output)
    list_endings = partial(list_suffixes, cfg.samples, spread=cfg.spread)
    num_outputs = len(list_endings())
    to_file = is_output_file(output, inputs, cfg.samples, spread=cfg.spread)
    check_apart(source, output, is_file=to_file, overwrite=cfg.overwrite)
    folder = output.parent if to_file else output
    check_folder("output", folder)
    if to_file:
        check_absent(output, overwrite=cfg.overwrite)
    bars = ProgressBars(len(inputs) * num_outputs)
    translator = translator or build()
    translator.progress = bars.update_tiles
    check_sampling(translator, cfg.samples)
    target = translator.pair_spec.target
    if to_file:
        check_format(output, target)
        outputs = {path: [output] for path in inputs}
    else:
        endings = {path: list_endings(suffix=suffix) for path, suffix in choose_suffixes(inputs, target).items()}
        outputs = plan_outputs(inputs, output, endings, overwrite=cfg.overwrite)
    check_inputs_stay(outputs)
    _print_model(cfg, translator)
    failed: list[Source] = []

    def report_error(source: Source, error: Exception) -> None:
        line = format_error(error, "predict", cfg)
        if line is None or len(inputs) == 1:
            raise error
        print(f"error: {escape_controls(line)}", file=sys.stderr)
        failed.append(source)
        bars.advance_images(len(outputs[source]))

    written = []
    for parent in {path.parent for paths in outputs.values() for path in paths}:
        remove_old_leftovers(parent)  # of a command that was killed
    with create_folder(folder), bars:
        for path in translate_files(
            translator, outputs, samples=cfg.samples, on_error=report_error, overwrite=cfg.overwrite
        ):
            written.append(path)
            bars.advance_images()
    count = len(inputs) - len(failed)
    what = str(output) if to_file else f"{count} image{'' if count == 1 else 's'} in {output}"
    halves = translator.reader.format_halves()
    print_escaped(f"{what}, from {halves}" if halves else what)
    if translator.seams:
        print(format_seams(translator.seams))
    if failed:
        raise UserError(f"{len(failed)} of {len(inputs)} images could not be translated: see the errors above")
    return written


def _predict_video(cfg: DictConfig, source: Path, output: Path) -> Path:
    """Translate a video and return the file that was written."""
    from pix2pix_lightning.inference.file_paths import plan_video
    from pix2pix_lightning.inference.progress import ProgressBars
    from pix2pix_lightning.inference.tiled_inference import format_seams
    from pix2pix_lightning.inference.video import VideoReader, check_video_sides, translate_video
    from pix2pix_lightning.utils.atomic import create_folder, remove_old_leftovers
    from pix2pix_lightning.utils.checks import check_folder

    if cfg.samples is not None or cfg.spread:
        key = f"samples={cfg.samples}" if cfg.samples is not None else "spread=true"
        raise UserError(f"{key} with the video input={source}: leave it out; seed= chooses other noise with mode=paper")
    path = plan_video(source, output, overwrite=cfg.overwrite)
    check_folder("output", path.parent)
    with VideoReader(source, max_pixels=cfg.max_pixels) as reader:
        bars = ProgressBars(reader.num_frames, "frames")
        translator = _build_translator(cfg, progress=bars.update_tiles)
        check_video_sides(source, translator.pair_spec)
        _print_model(cfg, translator)
        remove_old_leftovers(path.parent)
        with create_folder(path.parent), bars:
            result = translate_video(
                translator, reader, source, path, overwrite=cfg.overwrite, on_frame=bars.advance_images
            )
    print_escaped(f"{path}: {result.describe()}")
    for note in result.notes:
        print(f"warning: {escape_controls(note)}", file=sys.stderr)
    if translator.seams:
        print(format_seams(translator.seams))
    return path


def _build_translator(cfg: DictConfig, **overrides: Any) -> Translator:
    """Build the translator of a command; one of ``precision=int8`` quantizes its generator first."""
    if cfg.precision == "int8":
        from pix2pix_lightning.export.int8.translator import build_int8_translator

        return build_int8_translator(cfg, **overrides)
    from pix2pix_lightning.inference.from_config import build_translator

    for key, default in (("calibrate", None), ("engine", "onnxruntime")):
        if cfg[key] != default:
            raise UserError(f"{key}={cfg[key]} has no effect without precision=int8: set that, or leave {key} out")
    return build_translator(cfg, precision=str(cfg.precision), **overrides)


def _print_model(cfg: DictConfig, translator: Translator) -> None:
    """Print which weights were chosen, and the precision where it was left open."""
    from pix2pix_lightning.inference import GeneratorNetwork
    from pix2pix_lightning.inference.from_config import print_choice
    from pix2pix_lightning.inference.precision import describe_precision

    print_choice(cfg, translator.checkpoint, translator.weights)
    if cfg.precision == "auto" and isinstance(translator.network, GeneratorNetwork):
        print(describe_precision(translator.precision, translator.device))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    return run_command("predict", predict, argv)


if __name__ == "__main__":
    sys.exit(main())
