"""Train a model: ``python -m pix2pix_lightning.train experiment=facades``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.utils.errors import Interrupted

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pix2pix_lightning.training.run_dir import RunDir
    from pix2pix_lightning.training.run_list import RunList
    from pix2pix_lightning.training.signals import StopSignals

_log = logging.getLogger("pix2pix_lightning.train")  # also as the main module


def train(cfg: DictConfig) -> dict[str, float]:
    """Train a model, and write the run's folder.

    Args:
        cfg: Configuration, as ``compose("train", [...])`` returns it. ``run_dir`` and what is left to ``auto`` are set.

    Returns:
        The last epoch's metrics by name, and ``best/l1``, or the best value of another metric that ``saving.monitor``
        names.

    Raises:
        UserError: The configuration has an error, or the folder is another run's.
        Interrupted: Ctrl-C was pressed, or another signal arrived. If anything was trained, the folder holds a
            checkpoint from which the run can continue.
        SystemExit: A process other than the first was interrupted, or a callback ended the program.
    """
    from pix2pix_lightning.training.config_checks import check_training_config
    from pix2pix_lightning.training.data_download import download_data
    from pix2pix_lightning.training.monitor_choice import resolve_monitor
    from pix2pix_lightning.training.resuming import format_resume_hint, read_finished_metrics
    from pix2pix_lightning.training.run_dir import lock_run_dir, remove_if_empty, resolve_run_dir
    from pix2pix_lightning.training.run_list import keep_in_list
    from pix2pix_lightning.training.run_logging import log_to_terminal
    from pix2pix_lightning.training.schedule_checks import check_schedule_length
    from pix2pix_lightning.training.signals import handle_stop_signals, requeue_slurm_job

    with handle_stop_signals() as signals:
        check_training_config(cfg)
        resolve_monitor(cfg)
        check_schedule_length(cfg)
        download_data(cfg)
        run = resolve_run_dir(cfg)
        try:
            with (
                log_to_terminal(is_first=run.is_first) as log,
                keep_in_list(run) as runs,
                lock_run_dir(run),
                remove_if_empty(run),
            ):
                if (metrics := read_finished_metrics(cfg, run.folder)) is not None:
                    log.info("%s is finished already", run.folder)
                    return metrics
                return _train_in(run, cfg, signals, runs)
        except Interrupted as stop:
            if not run.is_first:
                # a launcher ends the others when one fails: not while the first one saves, but where they wait for this
                raise SystemExit(0 if signals.is_training else stop.status) from None
            if requeue_slurm_job(signals.received):
                raise signals.build_exception("the requeued job continues") from None
            raise signals.build_exception(format_resume_hint(run.folder)) from None


def _train_in(run: RunDir, cfg: DictConfig, signals: StopSignals, runs: RunList) -> dict[str, float]:
    """Train in a folder that is locked."""
    from lightning.pytorch.trainer.states import TrainerStatus

    from pix2pix_lightning.report import format_final_metrics
    from pix2pix_lightning.training.build import build_training
    from pix2pix_lightning.training.callbacks import StopOnSignal
    from pix2pix_lightning.training.performance_choice import log_choices
    from pix2pix_lightning.training.run_files import CONFIG_FILE, collect_metrics, open_run, write_summary

    folder, checkpoint = run.folder, run.checkpoint
    data, module, trainer, callbacks, choices = build_training(
        cfg, folder / CONFIG_FILE if checkpoint else None, checkpoint
    )
    trainer.callbacks.insert(0, StopOnSignal(signals))  # type: ignore[attr-defined]
    trainer.callbacks.append(runs.build_callback())  # type: ignore[attr-defined]
    with open_run(folder, cfg, trainer):
        _log.info("%s %s", f"resuming {checkpoint} in" if checkpoint else "training in", folder)
        log_choices(choices)
        if cfg.get("about"):
            _log.info("%s", cfg.about)
        try:
            trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
        except SystemExit:
            if trainer.state.status != TrainerStatus.INTERRUPTED or not run.is_first:
                raise
            raise Interrupted from None
        metrics = collect_metrics(trainer, callbacks.get("best"))
        if trainer.is_global_zero:
            write_summary(folder, metrics, trainer=trainer, module=module, callbacks=callbacks)
            _log.info("%s", format_final_metrics(folder))
    return metrics


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    return run_command("train", train, argv)


if __name__ == "__main__":
    sys.exit(main())
