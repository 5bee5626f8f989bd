"""Measure a model: ``python -m pix2pix_lightning.evaluate checkpoint=<run> split=test``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pix2pix_lightning.cli.main import run_command

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pix2pix_lightning.evaluation import Interval


def evaluate(cfg: DictConfig, command: str | None = None) -> dict[str, Interval]:
    """Translate a split, compare what a file of each would hold with its target, and write figures and a page.

    Args:
        cfg: As ``compose("evaluate", [...])`` gives it.
        command: That repeats it, for the page.

    Returns:
        Each metric over all images, with its 95 % interval.

    Raises:
        ValueError: The data does not fit the checkpoint, or a metric does not fit the data.
        FileExistsError: The output folder has something in it.
    """
    from rich.console import Console
    from rich.progress import track

    from pix2pix_lightning import evaluation
    from pix2pix_lightning.checkpoints.files import checkpoint_in, kind_of
    from pix2pix_lightning.inference.settings import packages, translator_of
    from pix2pix_lightning.reports.evaluation import render_evaluation_page

    checkpoint = checkpoint_in(Path(str(cfg.checkpoint)))
    run = evaluation.run_of(checkpoint)
    described = partial(evaluation.described, cfg, run, () if cfg.trust is True else packages(cfg.trust))
    says_nothing = kind_of(checkpoint) == "junyanz"  # of its images: the data does
    translator = translator_of(cfg, **({"pair": evaluation.pairs_of(described())} if says_nothing else {}))
    description = described()
    spec = translator.pair_spec
    metrics, left_out = evaluation.chosen(cfg.metrics, spec.target, spec.size)
    batches = evaluation.open_data(description, spec, cfg.split)
    facts = evaluation.facts(cfg, checkpoint, translator, description)  # before a training replaces the file
    facts |= {"command": command, "left_out": left_out}
    output = evaluation.place(cfg, run)
    with evaluation.new_folder(output, overwrite=cfg.overwrite) as folder:
        pictures = evaluation.Pictures(folder, spec)
        console = Console(stderr=True)
        shown = track(batches, str(cfg.split), console=console, transient=True, disable=not console.is_terminal)
        scores = evaluation.score(translator, shown, metrics, each=pictures)
        evaluation.write_csv(folder, scores)
        evaluation.write_json(folder, scores, facts)
        page = render_evaluation_page(scores, pictures.folders, facts, size=(spec.size, spec.size))
        (folder / "index.html").write_text(page, encoding="utf-8")
    for name, reason in left_out.items():
        print(f"{name} left out: it {reason}")
    for name, figure in scores.figures.items():
        print(f"{name:12} {figure.mean:9.4f}   {figure.low:.4f} to {figure.high:.4f}")
    print(f"{len(scores.names)} pairs of {cfg.split}, 95 % intervals; {output / 'index.html'}")
    return scores.figures


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    words = sys.argv[1:] if argv is None else argv
    command = shlex.join(["python", "-m", "pix2pix_lightning.evaluate", *words])
    return run_command("evaluate", partial(evaluate, command=command), words)


if __name__ == "__main__":
    sys.exit(main())
