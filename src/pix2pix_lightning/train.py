"""Train a model: ``python -m pix2pix_lightning.train experiment=facades``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.utils.errors import Interrupted

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(cfg: DictConfig) -> dict[str, float]:
    """Train a model, and write the run's folder.

    Args:
        cfg: Configuration, as ``compose("train", [...])`` returns it. ``run_dir`` and what is left to ``auto`` are set.

    Returns:
        The last epoch's metrics by name, and ``best/l1``, or the best value of another metric that
        ``callbacks.best`` monitors.

    Raises:
        UserError: The configuration has an error, or the folder is another run's.
        Interrupted: Ctrl-C was pressed. The folder holds a checkpoint from which the run can continue.
        SystemExit: A process other than the first was interrupted, or a callback ended the program.
    """
    from lightning.pytorch.trainer.states import TrainerStatus

    from pix2pix_lightning.reports import format_final_metrics
    from pix2pix_lightning.training.build import build_training
    from pix2pix_lightning.training.config_checks import check_training_config
    from pix2pix_lightning.training.performance_choice import log_choices
    from pix2pix_lightning.training.resuming import format_resume_hint, read_finished_metrics
    from pix2pix_lightning.training.run_dir import lock_run_dir, remove_if_empty, resolve_run_dir
    from pix2pix_lightning.training.run_files import CONFIG_FILE, collect_metrics, open_run, write_summary
    from pix2pix_lightning.training.run_logging import log_to_terminal

    check_training_config(cfg)
    run = resolve_run_dir(cfg)
    folder, checkpoint = run.folder, run.checkpoint
    with log_to_terminal(is_first=run.is_first) as log, lock_run_dir(run), remove_if_empty(run):
        if checkpoint is not None and (metrics := read_finished_metrics(cfg, folder)) is not None:
            log.info("%s is finished already", folder)
            return metrics
        data, module, trainer, callbacks, choices = build_training(cfg, folder / CONFIG_FILE if checkpoint else None)
        with open_run(folder, cfg, trainer):
            log.info("%s %s", f"resuming {checkpoint} in" if checkpoint else "training in", folder)
            log_choices(choices)
            if cfg.get("about"):
                log.info("%s", cfg.about)
            try:
                trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
            except SystemExit:
                if trainer.state.status != TrainerStatus.INTERRUPTED or not run.is_first:
                    raise
                raise Interrupted(format_resume_hint(folder)) from None
            metrics = collect_metrics(trainer, callbacks.get("best"))
            if trainer.is_global_zero:
                write_summary(folder, metrics, trainer=trainer, module=module, callbacks=callbacks)
                log.info("%s", format_final_metrics(folder))
    return metrics


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    return run_command("train", train, argv)


if __name__ == "__main__":
    sys.exit(main())
