"""What the training files have told about both sides, in the configuration of a run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule
from omegaconf import DictConfig, OmegaConf, open_dict

from pix2pix_lightning.data.recognition import is_open
from pix2pix_lightning.data.sides.ranges import has_channel_ranges, has_percentiles, list_ranges
from pix2pix_lightning.utils.saved_config import load_saved_config

_log = logging.getLogger(__name__)


def restore_sides(cfg: DictConfig, before: DictConfig) -> DictConfig:
    """Fill in what a configuration leaves open of a side from that of a run, whose files have told it.

    Args:
        cfg: Configuration of a training.
        before: The run's configuration.

    Returns:
        A configuration whose sides, where they were open, are the run's but for what is given; or ``cfg`` itself.
    """
    data, saved = cfg.get("data"), before.get("data")
    if not (OmegaConf.is_dict(data) and OmegaConf.is_dict(saved)):
        return cfg
    sides = {key: _restore(data.get(key), saved.get(key)) for key in "ab" if OmegaConf.is_dict(data.get(key))}
    sides = {key: side for key, side in sides.items() if side is not None}
    if not sides:
        return cfg
    restored = cfg.copy()
    with open_dict(restored.data):
        for key, side in sides.items():
            restored.data[key] = side
    return restored


def _restore(side: Any, before: Any) -> dict[str, Any] | None:
    given: Any = OmegaConf.to_container(side, resolve=True)
    if not (is_open(given) and OmegaConf.is_dict(before)):
        return None
    known: Any = OmegaConf.to_container(before, resolve=True)
    # the values that the files have told differ from the texts that stand for them
    told = {"kind"} if given.get("kind") == "auto" else set()
    if _may_have_become(given.get("value_range"), known.get("value_range")):
        told.add("value_range")
    return {**known, **{key: value for key, value in given.items() if value is not None and key not in told}}


def _may_have_become(given: Any, known: Any) -> bool:
    """Return whether files may have made a run's range of one with percentiles: what is no percentile is the same.

    Args:
        given: A range, as a configuration has it.
        known: That of a run; None where it has none.
    """
    if given == "auto":
        return not has_channel_ranges(known)
    if not has_percentiles(given) or known is None:
        return has_percentiles(given)
    if has_channel_ranges(given) != has_channel_ranges(known):
        return False
    ranges, numbers = list_ranges(given), list_ranges(known)
    ranges *= len(numbers) if len(ranges) == 1 else 1
    bounds: list[Any] = [bound for pair in ranges for bound in pair]
    own = [number for pair in numbers for number in pair]
    return len(bounds) == len(own) and all(
        isinstance(bound, str) or bound == number for bound, number in zip(bounds, own, strict=True)
    )


def restore_saved_sides(cfg: DictConfig, saved: Path | None) -> None:
    """Fill in what is open of a side from a run's ``config.yaml``, in place, so that its files are not asked again.

    A range by percentiles stays that of the run, whichever percentiles are given, and a line says so.

    Args:
        cfg: Configuration of a training.
        saved: The ``config.yaml`` of the run that is resumed, or None.
    """
    if saved is None or not saved.is_file():
        return
    restored = restore_sides(cfg, load_saved_config(saved)).data
    for key in "ab":
        given, kept = (OmegaConf.select(data, f"{key}.value_range") for data in (cfg.data, restored))
        if has_percentiles(given) and given != kept:
            _log.info("data.%s.value_range=%s stays %s, which the run has found", key, given, kept)
    cfg.data = restored


def keep_sides(cfg: DictConfig, data: LightningDataModule) -> None:
    """Keep what a data module has found out in the configuration, in place.

    Args:
        cfg: Configuration of a training.
        data: Its data module.
    """
    for key, options in getattr(data, "completed_sides", {}).items():
        with open_dict(cfg.data):
            cfg.data[key] = {**(cfg.data.get(key) or {}), **options}
