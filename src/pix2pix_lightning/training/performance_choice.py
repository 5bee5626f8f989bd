"""Choose what ``speed=auto`` stands for on this machine."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from pix2pix_lightning.utils.devices import AUTO, resolve_device, supports_bfloat16
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import TARGET, is_description
from pix2pix_lightning.utils.processes import count_available_cores, count_processes
from pix2pix_lightning.utils.saved_config import load_saved_config
from pix2pix_lightning.utils.saved_files import build_damaged_error

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig

    from pix2pix_lightning.data import PairedDataModule

_log = logging.getLogger(__name__)

_OF_THE_DATA = ("num_workers", "pin_memory")  # keys of data, which take the value of speed by default
_WITHOUT = {"winograd_convolutions": False}  # what a run has whose version did not know the key
_MIN_IMAGES = 20_000  # compiling takes about a minute, which a run of fewer images does not win back


class Choice(NamedTuple):
    """An option that was left to ``auto``.

    Attributes:
        key: Key of ``speed``.
        value: The value that was chosen.
        reason: Why, in a few words.
    """

    key: str
    value: Any
    reason: str


def choose_options(cfg: DictConfig, saved: Path | None = None) -> list[Choice]:
    """Fill in what is left to ``auto`` in ``cfg.speed``, in place. What is set by hand stays.

    ``compile`` is left open: it depends on the length of the training (`choose_compile`).

    Args:
        cfg: Configuration of a training.
        saved: The ``config.yaml`` of the run that is resumed. Its values are taken first.

    Returns:
        What was chosen for this machine and is used.

    Raises:
        UserError: A key has a value that it cannot have.
    """
    from pix2pix_lightning.data.workers import choose_num_workers

    _check_values(cfg.speed)
    if saved is not None and saved.is_file():
        _restore_values(cfg, saved)
    device = resolve_device(cfg.trainer.accelerator)
    precision, reason = _choose_precision(device)
    on_cpu, on_gpu = device == "cpu", device == "cuda"
    if cfg.trainer.precision != AUTO:  # set by hand, or the resumed run's
        cfg.speed.precision = cfg.trainer.precision
    is_float = _is_float(precision if cfg.speed.precision == AUTO else cfg.speed.precision)
    processes = max(1, count_processes(cfg.trainer) // cfg.trainer.num_nodes)
    choices = [
        Choice("precision", precision, reason),
        Choice("channels_last", on_cpu or on_gpu, "the layout of convolutions"),
        Choice("fused_optimizer", on_cpu or on_gpu, "one pass over the weights"),
        Choice("matmul_convolutions", on_cpu, "for CPUs"),
        Choice("winograd_convolutions", on_cpu and is_float, "for CPUs, in float32"),
        Choice("keep_memory", on_cpu, "for CPUs"),
        Choice("cuda_graph", False, "only by hand"),
        Choice("num_workers", choose_num_workers(device, count_available_cores() // processes), f"on {device}"),
        Choice("pin_memory", on_gpu, "for GPUs"),
        Choice("async_checkpoints", True, "training continues meanwhile"),
    ]
    unused = {key for key in _OF_THE_DATA if cfg.data.get(key) != AUTO}
    if isinstance(given := cfg.data.get("num_workers"), int):  # set by hand
        cfg.speed.num_workers = given
    own = all(_is_own(cfg.module.get(network)) for network in ("generator", "discriminator"))
    if not own and cfg.speed.channels_last == AUTO:
        cfg.speed.channels_last = False  # a network of the user's may depend on the memory order
    chosen = [choice for choice in choices if cfg.speed.get(choice.key) == AUTO]
    for choice in chosen:
        cfg.speed[choice.key] = choice.value
    if cfg.trainer.precision == AUTO:
        cfg.trainer.precision = cfg.speed.precision
    return [choice for choice in chosen if choice.key not in unused]


def _restore_values(cfg: DictConfig, saved: Path) -> None:
    """Replace ``auto`` by the values of a resumed run, in place."""
    before: Any = load_saved_config(saved)
    speed = before.get("speed") or {}
    if not isinstance(speed, Mapping):
        raise build_damaged_error(saved, f"speed={speed}")
    if cfg.trainer.precision == AUTO:
        cfg.trainer.precision = before.trainer.precision
    for key, value in cfg.speed.items():
        if value == AUTO and key in {**_WITHOUT, **speed}:
            cfg.speed[key] = {**_WITHOUT, **speed}[key]


def computes_float(trainer: DictConfig) -> bool:
    """Return whether a trainer whose settings are not ``auto`` computes in float32 or float64 on a CPU."""
    return resolve_device(trainer.accelerator) == "cpu" and _is_float(trainer.precision)


def _is_float(precision: Any) -> bool:
    return str(precision).startswith(("32", "64"))


def _is_own(network: Any) -> bool:
    return network is None or (is_description(network) and str(network[TARGET]).startswith("pix2pix_lightning."))


def _check_values(speed: DictConfig) -> None:
    for key, value in speed.items():
        if key not in ("precision", "num_workers") and value not in (True, False, AUTO):
            raise UserError(f"speed.{key!s}={value}: true, false or auto is expected")
    workers = speed.num_workers
    if workers != AUTO and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 0):
        raise UserError(f"speed.num_workers={speed.num_workers}: a whole number or auto is expected")


def choose_compile(cfg: DictConfig, data: PairedDataModule) -> list[Choice]:
    """Choose ``cfg.speed.compile`` where it is ``auto``, in place.

    Args:
        cfg: Configuration of a training.
        data: The data module after ``setup``. It tells how many images the training will see.

    Returns:
        The choice, or an empty list if it was set by hand.
    """
    if cfg.speed.get("compile") != AUTO:
        return []
    device = resolve_device(cfg.trainer.accelerator)
    if device != "cuda":
        value, reason = False, "for GPUs"
    elif not find_spec("triton"):
        value, reason = False, "needs triton"
    elif not _is_own(cfg.module.generator) or not _is_own(cfg.module.discriminator):
        value, reason = False, "only for networks of this package"
    elif cfg.speed.checkpoint_activations:
        value, reason = False, "not with checkpoint_activations"
    elif (num_images := _count_images(cfg.trainer, data)) is None:
        value, reason = False, "only if trainer.max_epochs is set"
    else:
        value, reason = num_images >= _MIN_IMAGES, f"{num_images} images, worth it from {_MIN_IMAGES}"
    choice = Choice("compile", value, reason)
    cfg.speed.compile = choice.value
    return [choice]


def _count_images(trainer: DictConfig, data: PairedDataModule) -> int | None:
    """Count the images that a training will see in all its epochs; None if their number is open."""
    if trainer.max_epochs is None or trainer.max_epochs < 0:
        return None
    batches, limit = len(data.train_dataloader()), trainer.get("limit_train_batches")
    if isinstance(limit, int):
        batches = min(batches, limit)
    elif limit is not None:  # for Lightning a float is a share, also 1.0
        batches = int(batches * limit)
    return int(batches * data.batch_size * trainer.max_epochs)


def log_choices(choices: list[Choice]) -> None:
    """Log what matters most in one short line, and all choices with their reasons to the run's file."""
    if not choices:
        return
    main = [f"{c.key}={_format_value(c)}" for c in choices if c.key in ("precision", "compile", "num_workers")]
    words = [f"{c.key}={_format_value(c)} ({c.reason})" for c in choices]
    _log.info("speed=auto: %s (see train.log)", " ".join(main) or len(choices))
    _log.debug("speed=auto chose %s", ", ".join(words))


def _format_value(choice: Choice) -> str:
    return str(choice.value).lower()


def _choose_precision(device: str) -> tuple[str, str]:
    if supports_bfloat16(device):
        return "bf16-mixed", "the device computes in bfloat16"
    return "32-true", "the device does not compute in bfloat16"
