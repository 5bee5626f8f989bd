"""Train a model: ``python -m pix2pix_lightning.train experiment=facades``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.door import Interrupted, open_door

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(cfg: DictConfig) -> dict[str, float]:
    """Train as a configuration says.

    Args:
        cfg: As ``config.compose("train", [...])`` gives it. ``run_dir`` is filled in where it is open.

    Returns:
        The last epoch's metrics by name, and ``best/l1``, the lowest ``val/l1``.

    Raises:
        Interrupted: Ctrl-C; the folder holds a checkpoint to go on from. A ``ValueError`` is a mistake in ``cfg``.
    """
    from lightning.pytorch.trainer.states import TrainerStatus

    from pix2pix_lightning import runs

    folder, checkpoint = runs.place(cfg)
    with runs.announced(folder, checkpoint), runs.on_terminal() as log:
        data, module, trainer, callbacks = _built(cfg)
        with runs.opened(folder, cfg, writes=trainer.is_global_zero):
            log.info("%s %s", f"resuming {checkpoint} in" if checkpoint else "training in", folder)
            try:
                trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
            except SystemExit:
                if trainer.state.status != TrainerStatus.INTERRUPTED:
                    raise
                raise Interrupted(f"go on with resume={folder}") from None
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            if (best := getattr(callbacks.get("best"), "best_model_score", None)) is not None:
                metrics["best/l1"] = float(best)
            if trainer.is_global_zero:
                runs.write_summary(folder, metrics, trainer, callbacks)
            log.info("done: %s", ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
    return metrics


def _built(cfg: DictConfig) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Data, module, trainer and its callbacks by name; nothing is written yet."""
    from hydra.utils import instantiate
    from lightning.pytorch import seed_everything
    from omegaconf import OmegaConf

    from pix2pix_lightning.config import build

    data = instantiate(cfg.data, _convert_="all")
    data.setup("fit")
    seed_everything(cfg.seed, workers=True, verbose=False)
    module = instantiate(cfg.module, pair_spec=data.pair_spec.to_dict())
    callbacks = {name: instantiate(node) for name, node in cfg.callbacks.items() if node is not None}
    settings: Any = OmegaConf.to_container(cfg.trainer, resolve=True)
    settings["callbacks"] = list(callbacks.values())
    settings["logger"] = [instantiate(node) for node in cfg.logger.values()]
    try:
        return data, module, build({"_target_": "lightning.pytorch.Trainer", **settings}), callbacks
    except (TypeError, ValueError) as error:
        raise ValueError(f"trainer: {error}") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    return open_door("train", train, argv)


if __name__ == "__main__":
    sys.exit(main())
