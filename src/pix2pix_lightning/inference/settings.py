"""A translator as a configuration asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pix2pix_lightning.inference.translator import Translator

if TYPE_CHECKING:
    from omegaconf import DictConfig


def translator_of(cfg: DictConfig, *, precision: str = "32") -> Translator:
    """The translator of a door's keys.

    Args:
        cfg: ``checkpoint`` and the keywords of ``Translator``, but for ``sample`` and ``precision``.
        precision: As ``Translator`` takes it.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: The file is none, or a value is unknown.
    """
    options = {key: cfg[key] for key in ("mode", "weights", "norm", "dropout", "seed", "device")}
    if isinstance(cfg.dropout, bool):  # what YAML makes of a bare on or off
        options["dropout"] = "on" if cfg.dropout else "off"
    return Translator(str(cfg.checkpoint), precision=precision, trust=cfg.trust or (), **options)
