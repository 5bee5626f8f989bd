"""What ``speed=auto`` comes to on this machine, and why."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from omegaconf import DictConfig

_log = logging.getLogger(__name__)

AUTO = "auto"
_REPAID_AFTER = 20_000  # images: compiling takes about a minute


class Choice(NamedTuple):
    """A key of ``speed``, what it came to, and why."""

    key: str
    value: Any
    reason: str


def choose(cfg: DictConfig) -> list[Choice]:
    """Fill in what is left to ``auto`` in ``cfg.speed``, in place; what is set by hand stays.

    ``compile`` is left: it depends on how long the training is (`choose_compile`).

    Args:
        cfg: Of a training.

    Returns:
        What was chosen here.

    Raises:
        ValueError: A key has a value that it cannot have.
    """
    from pix2pix_lightning.data.workers import available_cores, workers_for

    _check(cfg.speed)
    device = device_of(cfg.trainer.accelerator)
    precision, reason = _precision(device)
    on_cpu, on_gpu = device == "cpu", device == "cuda"
    processes = cfg.trainer.devices if isinstance(cfg.trainer.devices, int) else 1
    choices = [
        Choice("precision", precision, reason),
        Choice("channels_last", on_cpu or on_gpu, "as convolutions compute"),
        Choice("fused_optimizer", on_cpu or on_gpu, "one pass over the weights"),
        Choice("matmul_convolutions", on_cpu, "for CPUs"),
        Choice("keep_memory", on_cpu, "for CPUs"),
        Choice("cuda_graph", False, "by hand only"),
        Choice("num_workers", workers_for(device, available_cores() // max(1, processes)), f"beside a {device}"),
        Choice("pin_memory", on_gpu, "for GPUs"),
        Choice("async_checkpoints", True, "the training goes on meanwhile"),
    ]
    if cfg.trainer.precision != AUTO:  # by hand, or of a run that is resumed
        cfg.speed.precision = cfg.trainer.precision
    chosen = [choice for choice in choices if cfg.speed.get(choice.key) == AUTO]
    for choice in chosen:
        cfg.speed[choice.key] = choice.value
    return chosen


def _check(speed: DictConfig) -> None:
    for key, value in speed.items():
        if key not in ("precision", "num_workers") and value not in (True, False, AUTO):
            raise ValueError(f"speed.{key!s}={value}: true, false or auto is expected")
    if not (speed.num_workers == AUTO or isinstance(speed.num_workers, int)):
        raise ValueError(f"speed.num_workers={speed.num_workers}: a whole number or auto is expected")


def choose_compile(cfg: DictConfig, num_images: int) -> list[Choice]:
    """Decide on ``cfg.speed.compile`` where it is ``auto``, in place.

    Args:
        cfg: Of a training.
        num_images: That it will see.
    """
    if cfg.speed.get("compile") != AUTO:
        return []
    device = device_of(cfg.trainer.accelerator)
    if device != "cuda":
        value, reason = False, "for GPUs"
    elif not find_spec("triton"):
        value, reason = False, "needs triton"
    elif num_images < _REPAID_AFTER:
        value, reason = False, f"{num_images} images do not repay it"
    else:
        value, reason = True, f"{num_images} images repay it"
    choice = Choice("compile", value, reason)
    cfg.speed.compile = choice.value
    return [choice]


def say(choices: list[Choice]) -> None:
    """One line to the log."""
    if choices:
        words = [f"{c.key}={str(c.value).lower()} ({c.reason})" for c in choices]
        _log.info("speed=auto chose %s", ", ".join(words))


def device_of(accelerator: Any) -> str:
    """``cpu``, ``cuda`` or another torch device type that a Trainer takes for ``accelerator`` here."""
    import torch

    if accelerator in ("gpu", "cuda", AUTO) and torch.cuda.is_available():
        return "cuda"
    if accelerator in ("gpu", "mps", AUTO) and torch.backends.mps.is_available():
        return "mps"
    return "cpu" if accelerator in (AUTO, "cpu") else str(accelerator)


def computes_in_bfloat16(device: str) -> bool:
    """Whether the device has instructions for it, not just a way to imitate it."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu":
        return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    return False


def _precision(device: str) -> tuple[str, str]:
    if computes_in_bfloat16(device):
        return "bf16-mixed", "the device computes in bfloat16"
    return "32-true", "the device does not compute in bfloat16"
