"""Measure a model: ``python -m pix2pix_lightning.evaluate checkpoint=<run> split=test``."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.utils.allocator import keep_memory
from pix2pix_lightning.utils.devices import list_devices
from pix2pix_lightning.utils.launching import run_on_devices
from pix2pix_lightning.utils.processes import Process, detect_process, gather_results, quiet_others
from pix2pix_lightning.utils.text import print_escaped

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pix2pix_lightning.evaluation import Division, Interval, TranslatedPair

_ALONE = Process()


def evaluate(cfg: DictConfig, command: str | None = None, process: Process = _ALONE) -> dict[str, Interval]:
    """Translate a split, compare the outputs, as 8-bit files hold them, with the targets, and write results and a page.

    Args:
        cfg: Configuration, as ``compose("evaluate", [...])`` returns it.
        command: Command line that repeats the evaluation, for the page; None leaves it out.
        process: Which of several processes this is, which divide the pairs among them; the first one writes. Those of
            ``cfg.devices`` are started here.

    Returns:
        Each metric's value over all images, with its 95 % interval; NaN as ends for a metric without one.

    Raises:
        UserError: The data does not fit the checkpoint, or a metric does not fit the data.
        FileExistsError: The output folder is not empty.
    """
    devices = list_devices(cfg.devices, str(cfg.device), process)
    if len(devices) > 1:
        return run_on_devices(partial(_evaluate_on_device, cfg, command), devices)[0]
    from pix2pix_lightning.evaluation import Division

    with gather_results(process) as gather:
        return _evaluate(cfg, command, Division(process, gather))


def _evaluate_on_device(cfg: DictConfig, command: str | None, device: str, process: Process) -> dict[str, Interval]:
    """Measure the part of one of the processes that `evaluate` has started."""
    quiet_others(process)
    keep_memory()
    cfg.device, cfg.devices = device, 1
    return evaluate(cfg, command, process)


def _evaluate(cfg: DictConfig, command: str | None, division: Division) -> dict[str, Interval]:
    from omegaconf import OmegaConf
    from rich.console import Console
    from rich.progress import track

    import pix2pix_lightning.evaluation as evaluation
    from pix2pix_lightning.checkpoints.files import find_checkpoint, infer_checkpoint_kind
    from pix2pix_lightning.inference.from_config import build_translator, print_choice
    from pix2pix_lightning.report import update_pages
    from pix2pix_lightning.report.evaluation import render_evaluation_page
    from pix2pix_lightning.utils.checks import check_switch
    from pix2pix_lightning.utils.instantiate import parse_trust

    check_switch("flicker", cfg.flicker)
    checkpoint = find_checkpoint(Path(str(cfg.checkpoint)))
    run = evaluation.find_run(checkpoint)
    describe_data = partial(evaluation.describe_data, cfg, run, () if cfg.trust is True else parse_trust(cfg.trust))
    lacks_pair_spec = infer_checkpoint_kind(checkpoint) == "junyanz"  # the data has it
    pair = {"pair": evaluation.read_pair_spec(describe_data())} if lacks_pair_spec else {}
    output = evaluation.resolve_output(cfg, run)
    translator = build_translator(cfg, **pair)
    description = describe_data()
    evaluation.check_output(output, checkpoint, description)
    spec = translator.pair_spec
    requested: Any = OmegaConf.to_container(cfg.metrics) if OmegaConf.is_config(cfg.metrics) else cfg.metrics
    features: Any = OmegaConf.to_container(cfg.features) if OmegaConf.is_config(cfg.features) else cfg.features
    side = min(spec.height, spec.width)
    requested, judges = evaluation.build_judges(cfg, requested, translator, features)
    infos = [info for judge in judges for info in judge.infos]
    batches = evaluation.open_data(description, spec, cfg.split)
    num_images = evaluation.count_pairs(batches)
    metrics, left_out = evaluation.choose_metrics(
        requested, spec.target, side, features, others=infos, num_images=num_images
    )
    if cfg.flicker:
        evaluation.check_clip(spec.target, side, evaluation.list_names(batches))
    facts = evaluation.collect_facts(cfg, checkpoint, translator, description)  # before a training replaces the file
    facts |= {"command": command, "left_out": left_out}
    if evaluation.use_features(metrics, infos):
        facts["features"] = features
        evaluation.warn_of_trained_network(checkpoint, features)
    with _open_folder(output, division, overwrite=cfg.overwrite) as folder:
        writer = evaluation.PairWriter(
            folder / f"part_{division.process.rank}" if division.is_divided else folder, spec
        )
        console = Console(stderr=True)
        is_shown = console.is_terminal and division.is_first
        show = partial(track, console=console, transient=True, disable=not is_shown)

        def write_pair(pair: TranslatedPair) -> None:
            if cfg.flicker:
                evaluation.check_frame(pair)
            for judge in judges:
                judge.add(pair)
            writer(pair)

        if division.is_first:
            print_choice(cfg, translator.checkpoint, translator.weights)
        shown = show(batches, str(cfg.split))
        scores = evaluation.compute_scores(
            translator, shown, metrics, samples=cfg.samples, on_pair=write_pair, division=division
        )
        for judge in judges:
            judge.merge(division.merge)
            scores = judge.add_scores(scores)
        if division.is_divided:
            written = division.merge([writer.folder / each for each in writer.folders])
            if not division.is_first:
                return scores.figures
            writer = evaluation.PairWriter(folder, spec)
            for name, each in zip(scores.names, written, strict=True):
                writer.move(name, each)
            for rank in range(division.process.total):
                shutil.rmtree(folder / f"part_{rank}", ignore_errors=True)
        if cfg.flicker:
            show_steps = partial(show, description="flicker")
            scores = evaluation.add_flicker(
                scores, [folder / name for name in writer.folders], spec.target, show=show_steps
            )
        evaluation.write_csv(folder, scores)
        evaluation.write_json(folder, scores, facts)
        size = (spec.width, spec.height) if spec.resize == "stretch" else None
        page = render_evaluation_page(scores, writer.folders, facts, size=size)
        (folder / "index.html").write_text(page, encoding="utf-8")
    if run is not None:
        update_pages([run])
    pairs = f"{len(scores.names)} pairs of {cfg.split}, 95 % intervals; {output / 'index.html'}"
    print_escaped(evaluation.format_summary(scores, left_out), pairs)
    return scores.figures


@contextmanager
def _open_folder(output: Path, division: Division, *, overwrite: bool) -> Iterator[Path]:
    """Open the folder of the results in the first process, and tell the others where it is."""
    import pix2pix_lightning.evaluation as evaluation

    if division.is_first:
        with evaluation.open_output_folder(output, overwrite=overwrite) as folder:
            division.gather(folder)
            yield folder
    else:
        yield division.gather(None)[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status. Several processes of torchrun divide the pairs."""
    words = sys.argv[1:] if argv is None else argv
    command = shlex.join(["python", "-m", "pix2pix_lightning.evaluate", *words])
    return run_command("evaluate", partial(_run, command=command), words)


def _run(cfg: DictConfig, command: str) -> None:
    process = detect_process()
    quiet_others(process)
    keep_memory()
    evaluate(cfg, command=command, process=process)


if __name__ == "__main__":
    sys.exit(main())
