"""The gain of each option that could be set, measured."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

from omegaconf import DictConfig

from pix2pix_lightning.benchmark.advice import Option
from pix2pix_lightning.benchmark.bare_step import build_bare_step
from pix2pix_lightning.benchmark.cases import Setting
from pix2pix_lightning.benchmark.profiled_training import build_for_profile, profile_training
from pix2pix_lightning.benchmark.turns import take_turns
from pix2pix_lightning.data.dataset import collate
from pix2pix_lightning.networks import pad_for

_MIN_GAIN = 1.03


def measure_gains(
    setting: Setting, options: Sequence[Option], waiting: float, measure: Callable[..., list[float]] | None = None
) -> list[dict[str, Any]]:
    """Try each option on top of those before it that gained, so that the gains multiply.

    Args:
        setting: Configuration of the training, with ``run_dir`` set, its device and a folder.
        options: The options, in the order in which they are tried.
        waiting: Share of a step in which it waits for data.
        measure: Measures how many times as fast a step is with an option, for each turn, from a setting without it,
            one with it, and the option. Default: in turn on a batch in memory, or in trainings one after the other.

    Returns:
        For each option ``set`` (words for the command line), ``reason``, ``ratio`` (how many times as fast a step
        is: the median), ``ratios`` (of each turn) and ``gains``: whether two turns of three are faster, and the median
        by 3 % or more. Without a measurement ``ratios`` is empty, and ``ratio`` is the highest that is possible.
    """
    measure = measure or _measure_gain
    rows = []
    for option in options:
        ratios: list[float] = []
        ratio, gains = 1 / (1 - min(waiting, 0.99)), True
        if option.measured_by != "waiting":
            changed = Setting(_apply(setting, option), setting.device, setting.folder)
            ratios = measure(setting, changed, option)
            ratio = median(ratios)
            slower = sum(one <= 1 for one in ratios)
            gains = ratio >= _MIN_GAIN and slower <= len(ratios) // 3  # a turn that other work disturbs is allowed
            setting = changed if gains else setting
        words = " ".join(f"{key}={str(value).lower()}" for key, value in option.keys.items())
        rows.append({"set": words, "reason": option.reason, "ratio": ratio, "ratios": ratios, "gains": gains})
    return rows


def _apply(setting: Setting, option: Option) -> DictConfig:
    keys = {key.replace(".", "__"): value for key, value in option.keys.items()}
    if any(key.endswith("precision") for key in option.keys):
        keys["speed__winograd_convolutions"] = "auto"  # it was chosen for the precision before
    return setting.override(**keys)


def _measure_gain(before: Setting, after: Setting, option: Option) -> list[float]:
    if option.measured_by == "training":
        return _divide(_time_training(before), _time_training(after))
    contenders = []
    for setting in (before, after):
        contender = setting.build_contender(int(setting.cfg.data.batch_size), ours=True)
        contender.build(partial(_build_step, setting))
        contenders.append(contender)
    take_turns(contenders, before.cfg.rounds)
    return _divide(contenders[0].seconds, contenders[1].seconds)


def _divide(before: list[float], after: list[float]) -> list[float]:
    return [one / other for one, other in zip(before, after, strict=True)]


def _time_training(setting: Setting) -> list[float]:
    gc.collect()
    cfg = setting.cfg
    parts = build_for_profile(cfg, setting.folder, plain=False)
    return profile_training(parts, setting.device, rounds=cfg.rounds, turn=cfg.turn, profiled=False).seconds


def _build_step(setting: Setting) -> Callable[[], object]:
    gc.collect()
    step, data = build_bare_step(setting.cfg, setting.device)
    dataset: Any = data.train_dataloader().dataset
    samples = [dataset[number % len(dataset)] for number in range(int(setting.cfg.data.batch_size))]
    batch = [pad_for(images, *step.networks) for images in step.prepare_batch(collate(samples))]
    return lambda: step(*batch)
