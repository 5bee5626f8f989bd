"""Build a translator from the configuration of a command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.checkpoints.choice import describe_choice
from pix2pix_lightning.inference.translator import Translator
from pix2pix_lightning.utils.instantiate import parse_trust
from pix2pix_lightning.utils.text import print_escaped

_KEYS = (
    *("mode", "weights", "norm", "dropout", "seed", "device"),
    *("resize", "tile", "overlap", "memory", "max_pixels", "rounding"),
)


def build_translator(cfg: DictConfig, **overrides: Any) -> Translator:
    """Build the translator that a command's configuration describes.

    Args:
        cfg: Configuration with ``checkpoint``, ``dropout``, ``trust`` and any other of ``Translator``'s keywords.
        **overrides: Further keywords of ``Translator``, which replace those of ``cfg``.

    Returns:
        The translator, with its model loaded.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
        UserError: The file is not a checkpoint, or a value is unknown.
    """
    options = {key: cfg[key] for key in _KEYS if key in cfg}
    if isinstance(options["dropout"], bool):  # YAML reads a bare on or off as a boolean
        options["dropout"] = "on" if options["dropout"] else "off"
    options["half"] = read_half(cfg)
    options["trust"] = True if cfg.trust is True else parse_trust(cfg.trust)
    options |= {"pair": read_pair_spec(cfg), "report": print_escaped}
    return Translator(str(cfg.checkpoint), **{**options, **overrides})


def build_segmenter(cfg: DictConfig) -> Translator:
    """Build the translator of ``cfg.segmenter``, which resizes images as its training did.

    Args:
        cfg: Configuration with ``segmenter``, ``device`` and ``trust``.

    Returns:
        The translator, with its model loaded.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
        UserError: The file is not a checkpoint.
    """
    trust = True if cfg.trust is True else parse_trust(cfg.trust)
    return Translator(str(cfg.segmenter), resize="training", device=cfg.device, trust=trust)


def print_choice(cfg: DictConfig, path: Path | None, weights: str) -> None:
    """Print on standard error which weights a command took, if there was something to choose.

    Args:
        cfg: Configuration with ``checkpoint``, the file or folder that the user named.
        path: The file that was loaded.
        weights: ``trained`` or ``ema``.
    """
    if path is not None and (line := describe_choice(Path(str(cfg.checkpoint)), path, weights)) is not None:
        print_escaped(line, file=sys.stderr)


def read_half(cfg: DictConfig) -> str:
    """Return ``cfg.half``, which YAML reads as false for a bare off; ``auto`` where there is none."""
    return "off" if cfg.get("half") is False else str(cfg.get("half", "auto"))


def read_pair_spec(cfg: DictConfig) -> dict[str, Any] | None:
    """Return the keys of ``cfg.pair`` that are set, as plain data; None where there is none."""
    pair = cast(dict[str, Any], OmegaConf.to_container(cfg.pair, resolve=True)) if cfg.get("pair") else {}
    return {key: value for key, value in pair.items() if value is not None} or None
