"""A translator as a configuration asks for it."""

from __future__ import annotations

from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.inference.translator import Translator
from pix2pix_lightning.utils.errors import UserError

_KEYS = (
    *("mode", "weights", "norm", "dropout", "seed", "device"),
    *("resize", "tile", "overlap", "statistics", "max_pixels"),
)


def translator_of(cfg: DictConfig, **more: Any) -> Translator:
    """The translator of a door's keys.

    Args:
        cfg: ``checkpoint``, and those of ``Translator``'s keywords that the door has.
        **more: Further ones.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: The file is none, or a value is unknown.
    """
    options = {key: cfg[key] for key in _KEYS if key in cfg}
    if isinstance(options["dropout"], bool):  # what YAML makes of a bare on or off
        options["dropout"] = "on" if options["dropout"] else "off"
    options["trust"] = True if cfg.trust is True else packages(cfg.trust)
    options["pair"] = said_of_pair(cfg)
    return Translator(str(cfg.checkpoint), **{**options, **more})


def packages(trust: Any) -> tuple[str, ...]:
    """The packages that ``trust`` names.

    Raises:
        ValueError: It names none.
    """
    names = [trust] if isinstance(trust, str) else list(trust) if OmegaConf.is_list(trust) else trust or []
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise UserError(f"trust={trust}: a list of packages is expected, trust=[my_project]")
    return tuple(names)


def said_of_pair(cfg: DictConfig) -> dict[str, Any] | None:
    """What a door's ``pair`` says, as plain data; None where it says nothing."""
    pair = cast(dict[str, Any], OmegaConf.to_container(cfg.pair, resolve=True)) if cfg.get("pair") else {}
    return {key: value for key, value in pair.items() if value is not None} or None
