"""Train a model: ``python -m pix2pix_lightning.train experiment=facades``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.utils.errors import Interrupted

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(cfg: DictConfig) -> dict[str, float]:
    """Train as a configuration says.

    Args:
        cfg: As ``compose("train", [...])`` gives it. ``run_dir`` is filled in where it is open.

    Returns:
        The last epoch's metrics by name, and ``best/l1``, or the best of what else ``callbacks.best`` monitors.

    Raises:
        Interrupted: Ctrl-C; the folder holds a checkpoint to go on from. A ``ValueError`` is a mistake in ``cfg``.
    """
    from lightning.pytorch.trainer.states import TrainerStatus

    from pix2pix_lightning.reports import format_final_metrics
    from pix2pix_lightning.training import run_dir as runs
    from pix2pix_lightning.training.build import assemble
    from pix2pix_lightning.training.performance_choice import say

    found = runs.place(cfg)
    folder, checkpoint = found.folder, found.checkpoint
    with runs.on_terminal(found) as log, runs.announced(found), runs.kept_if_begun(found):
        if (metrics := runs.finished(cfg, found)) is not None:
            log.info("%s has come to its end already", folder)
            return metrics
        data, module, trainer, callbacks, chosen = assemble(cfg, folder / "config.yaml" if checkpoint else None)
        with runs.opened(folder, cfg, trainer):
            log.info("%s %s", f"resuming {checkpoint} in" if checkpoint else "training in", folder)
            say(chosen)
            if cfg.get("about"):
                log.info("%s", cfg.about)
            try:
                trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
            except SystemExit:
                if trainer.state.status != TrainerStatus.INTERRUPTED or not found.is_first:
                    raise
                raise Interrupted(runs.how_to_go_on(folder)) from None
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            best: Any = callbacks.get("best")
            if (score := getattr(best, "best_model_score", None)) is not None:
                metrics[f"best/{best.monitor.removeprefix('val/')}"] = float(score)
            if trainer.is_global_zero:
                runs.write_summary(folder, metrics, trainer, callbacks)
                log.info("%s", format_final_metrics(folder))
    return metrics


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    return run_command("train", train, argv)


if __name__ == "__main__":
    sys.exit(main())
