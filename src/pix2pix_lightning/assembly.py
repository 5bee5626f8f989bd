"""Data, module, trainer and callbacks of a training, made from its configuration."""

from __future__ import annotations

from typing import Any, NamedTuple

from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.config import build


class Training(NamedTuple):
    """What is trained, on what, by what; callbacks by their name in the configuration."""

    data: LightningDataModule
    module: LightningModule
    trainer: Trainer
    callbacks: dict[str, Callback]


def assemble(cfg: DictConfig) -> Training:
    """Build everything that a training needs; nothing is written yet.

    Args:
        cfg: Of the training, with ``run_dir`` set.

    Raises:
        ValueError: A setting is out of range, or does not go with another.
    """
    data = instantiate(cfg.data, _convert_="all")
    data.setup("fit")
    seed_everything(cfg.seed, workers=True, verbose=False)
    module = instantiate(cfg.module, pair_spec=data.pair_spec.to_dict())
    callbacks = {name: instantiate(node) for name, node in (cfg.get("callbacks") or {}).items() if node is not None}
    settings: Any = OmegaConf.to_container(cfg.trainer, resolve=True)
    settings["callbacks"] = list(callbacks.values())
    settings["logger"] = [instantiate(node) for node in (cfg.get("logger") or {}).values() if node is not None]
    try:
        trainer = build({"_target_": "lightning.pytorch.Trainer", **settings})
    except (TypeError, ValueError) as error:
        raise ValueError(f"trainer: {error}") from None
    return Training(data, module, trainer, callbacks)
