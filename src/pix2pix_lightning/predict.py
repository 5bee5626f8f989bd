"""Translate images with ``python -m pix2pix_lightning.predict checkpoint=<run> input=<folder> output=<folder>``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pix2pix_lightning.cli.errors import format_error
from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.utils.allocator import keep_memory
from pix2pix_lightning.utils.devices import AUTO, list_devices
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.launching import run_on_devices
from pix2pix_lightning.utils.processes import Gather, Process, detect_process, gather_results, quiet_others
from pix2pix_lightning.utils.text import escape_controls, print_escaped

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pix2pix_lightning.inference import Translator
    from pix2pix_lightning.inference.source_files import Source
    from pix2pix_lightning.inference.tiles import Seams

_ALONE = Process()


def predict(cfg: DictConfig, process: Process = _ALONE) -> list[Path]:
    """Translate a file, a folder with its subfolders, or the files of a pattern, into files of the same names.

    A manifest gives the files of its rows, several of a row as the channels of one image. Outputs hold the target's own
    type and range: PNG files where these hold it, else TIFF files. Of one image, ``output`` may also be the file to
    write, in the format of its suffix. A video becomes an MP4 file.

    Args:
        cfg: Configuration of ``compose("predict", [...])``.
        process: Which of several processes this is, which divide the files among them. Those of ``cfg.devices`` are
            started here.

    Returns:
        The files that this process, or those that it has started, have written.

    Raises:
        UserError: There is nothing to translate, or two inputs have the same output; a video cannot be read, or not be
            written by this model; or, after all others were translated, an input is not an image.
        FileExistsError: An output exists; nothing is written then.
    """
    devices = _plan_devices(cfg, process)
    if len(devices) > 1:
        parts = run_on_devices(partial(_predict_on_device, cfg), devices)
        return [path for part in parts for path in part]
    with gather_results(process) as gather:
        return _predict(cfg, process, gather)


def _predict_on_device(cfg: DictConfig, device: str, process: Process) -> list[Path]:
    """Translate the part of one of the processes that `predict` has started."""
    quiet_others(process)
    keep_memory()
    cfg.device, cfg.devices = device, 1
    return predict(cfg, process)


def _plan_devices(cfg: DictConfig, process: Process) -> list[str]:
    """Return the devices of the processes to start, a single one where ``auto`` finds nothing that can be divided."""
    devices = list_devices(cfg.devices, str(cfg.device), process)
    if len(devices) == 1:
        return devices
    from pix2pix_lightning.inference.listed_sources import is_manifest
    from pix2pix_lightning.inference.shares import check_divisible

    source = str(cfg.input)
    is_one = Path(source).is_file() and not is_manifest(source)
    together = Process(0, len(devices))
    try:
        check_divisible(cfg.shard, together, source, Path(str(cfg.output)), is_file=is_one, devices=cfg.devices)
    except UserError:
        if cfg.devices == AUTO:
            return [str(cfg.device)]
        raise
    return devices


def _predict(cfg: DictConfig, process: Process, gather: Gather) -> list[Path]:
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
    from pix2pix_lightning.inference.loading import ignore_line
    from pix2pix_lightning.inference.progress import ProgressBars
    from pix2pix_lightning.inference.shares import check_divisible, parse_shard, plan_share
    from pix2pix_lightning.inference.translate_files import check_format, check_sampling, translate_files
    from pix2pix_lightning.utils.atomic import create_folder, remove_old_leftovers
    from pix2pix_lightning.utils.checks import check_absent, check_folder

    source, output = str(cfg.input), Path(str(cfg.output))
    split = None if cfg.split is None else str(cfg.split)
    check_split(source, split)
    share = plan_share(cfg.shard, process)
    is_one = Path(source).is_file() and not is_manifest(source)
    check_divisible(cfg.shard, process, source, output, is_file=is_one)
    if is_video(source):
        return [_predict_video(cfg, Path(source), output)]
    quiet = {} if process.rank == 0 else {"report": ignore_line}
    build = partial(_build_translator, cfg, **quiet)
    if is_manifest(source):
        translator = build()  # which tells the column
        inputs = find_listed(Path(source), split, translator.pair_spec)
    else:
        translator = None
        inputs = find_images(source, excluded=output)
    list_endings = partial(list_suffixes, cfg.samples, spread=cfg.spread)
    num_outputs = len(list_endings())
    to_file = is_output_file(output, inputs, cfg.samples, spread=cfg.spread)
    check_divisible(cfg.shard, process, source, output, is_file=to_file)
    check_apart(source, output, is_file=to_file, overwrite=cfg.overwrite)
    folder = output.parent if to_file else output
    check_folder("output", folder)
    if to_file:
        check_absent(output, overwrite=cfg.overwrite)
    num_own = len(share.take(inputs))
    bars = ProgressBars(num_own * num_outputs, process=process)
    translator = translator or build()
    translator.progress = bars.update_parts
    check_sampling(translator, cfg.samples)
    target = translator.pair_spec.target
    if to_file:
        check_format(output, target)
        outputs = {path: [output] for path in inputs}
    else:
        endings = {path: list_endings(suffix=suffix) for path, suffix in choose_suffixes(inputs, target).items()}
        outputs = plan_outputs(inputs, output, endings, overwrite=True)
    own_outputs = share.take(outputs)
    for path in (path for paths in own_outputs.values() for path in paths):
        check_absent(path, overwrite=cfg.overwrite)
    check_inputs_stay(outputs)
    outputs = own_outputs
    if process.rank == 0:
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
    if share.total > 1:  # then it is kept after an error, since others may be about to write to it
        folder.mkdir(parents=True, exist_ok=True)
    with create_folder(folder), bars:
        for path in translate_files(
            translator, outputs, samples=cfg.samples, on_error=report_error, overwrite=cfg.overwrite
        ):
            written.append(path)
            bars.advance_images()
    own = _Result(num_own - len(failed), len(failed), translator.reader.num_halves, translator.seams)
    parts: list[_Result] = gather(own)
    translator.reader.num_halves = sum(part.num_halves for part in parts)
    place = parse_shard(cfg.shard) if len(parts) == process.total else share
    what = f", part {place.number + 1} of {place.total}" if place.total > 1 else ""
    count, num_failed = (sum(numbers) for numbers in zip(*(part[:2] for part in parts), strict=True))
    if process.rank == 0:
        name = str(output) if to_file else f"{count} image{'' if count == 1 else 's'} in {output}"
        _print_results(f"{name}{what}", translator, [seams for part in parts for seams in part.seams])
    if num_failed and (process.rank == 0 or len(parts) == 1):
        total = count + num_failed
        raise UserError(f"{num_failed} of {total} images could not be translated: see the errors above")
    return written


class _Result(NamedTuple):
    """What a process has to tell at the end."""

    num_translated: int
    num_failed: int
    num_halves: int
    seams: list[Seams]


def _print_results(line: str, translator: Translator, seams: list[Seams]) -> None:
    from pix2pix_lightning.inference.large_images import format_seams

    halves = translator.reader.format_halves()
    print_escaped(f"{line}, from {halves}" if halves else line)
    if seams:
        print(format_seams(seams))


def _predict_video(cfg: DictConfig, source: Path, output: Path) -> Path:
    """Translate a video and return the file that was written."""
    from pix2pix_lightning.inference.file_paths import plan_video
    from pix2pix_lightning.inference.large_images import format_seams
    from pix2pix_lightning.inference.progress import ProgressBars
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
        translator = _build_translator(cfg, progress=bars.update_parts)
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
    """Run the command line and return the exit status. Several processes of torchrun or srun divide the files."""
    return run_command("predict", _run, argv)


def _run(cfg: DictConfig) -> None:
    process = detect_process()
    quiet_others(process)
    keep_memory()
    predict(cfg, process=process)


if __name__ == "__main__":
    sys.exit(main())
