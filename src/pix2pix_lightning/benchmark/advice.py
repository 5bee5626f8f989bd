"""What to set for a faster training step: which options apply here, by what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from platform import libc_ver
from typing import Any, NamedTuple

from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.benchmark.profiled_training import StepProfile
from pix2pix_lightning.benchmark.step_parts import GPU_WAITING, WAITING
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.networks.fast_convolutions.layers import suits_matmul, suits_winograd
from pix2pix_lightning.training.cuda_graph import check_capturable
from pix2pix_lightning.training.performance import PerformanceOptions
from pix2pix_lightning.utils.devices import supports_bfloat16
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.processes import count_available_cores

_MIN_PAGE_FAULTS = 1000  # of a step: 4 MB that are asked for anew
_MIN_WAITING, _MIN_GPU_WAITING = 0.05, 0.2  # shares of a step
_FEW_WORKERS = 8


class Option(NamedTuple):
    """An option that is off and applies here.

    Attributes:
        keys: Keys of the configuration with the values to set.
        reason: Why, in a few words.
        measured_by: ``step``: its gain is measured on a batch in memory; ``training``: in a training; ``waiting``: not
            measured, its gain is at most the time of waiting for data.
    """

    keys: dict[str, Any]
    reason: str
    measured_by: str = "step"


@dataclass(frozen=True)
class Facts:
    """What decides which options apply.

    Attributes:
        device: Type of the training's device.
        computes_bfloat16: Whether the device has instructions for bfloat16.
        is_own: Whether both networks are of this package, none of which depends on the order of memory.
        can_fuse: Whether an optimizer can update all weights in one pass and does not.
        has_matmul: Whether a network has convolutions that matrix products may compute.
        has_winograd: Whether a network has convolutions that Winograd's minimal filtering may compute.
        can_keep_memory: Whether the C library is one that keeps freed memory when told.
        can_capture: Whether the step can be a CUDA graph here.
        can_compile: Whether networks can be compiled for this device.
        cores: Number of CPU cores.
        page_faults: Page faults of a step.
        waiting: Share of a step in which it waits for data.
        gpu_waiting: Share of a step in which the GPU waits for Python.
    """

    device: str
    computes_bfloat16: bool
    is_own: bool
    can_fuse: bool
    has_matmul: bool
    has_winograd: bool
    can_keep_memory: bool
    can_capture: bool
    can_compile: bool
    cores: int
    page_faults: float = 0.0
    waiting: float = 0.0
    gpu_waiting: float = 0.0


def collect_facts(cfg: DictConfig, module: Pix2PixModule, trainer: Trainer, device: str) -> Facts:
    """Collect what is known before a training.

    Args:
        cfg: Configuration of the training, without ``auto``.
        module: The module before its training.
        trainer: Its trainer.
        device: Type of the training's device.

    Returns:
        Facts without what is measured.
    """
    networks = {"optimizer_g": module.generator, "optimizer_d": module.discriminator}
    present = {key: network for key, network in networks.items() if network is not None}
    layers = [layer for network in present.values() for layer in network.modules()]
    fused = PerformanceOptions(fused_optimizer=True)
    can_fuse = module.gradient_clip is None or trainer.precision != "16-mixed"
    r1_every = module.r1_every if module.r1_weight else 1
    return Facts(
        device=device,
        computes_bfloat16=supports_bfloat16(device),
        is_own=all(type(network).__module__.startswith("pix2pix_lightning.") for network in present.values()),
        can_fuse=any(
            "fused" not in module.parts[key]
            and "fused" in fused.add_optimizer_flags(module.parts[key], network, can_fuse=can_fuse)
            for key, network in present.items()
            if isinstance(module.parts[key], dict)
        ),
        has_matmul=any(suits_matmul(layer) for layer in layers),
        has_winograd=any(suits_winograd(layer) for layer in layers),
        can_keep_memory=libc_ver()[0] == "glibc",
        can_capture=_can_capture(trainer, accumulate=module.accumulate, r1_every=r1_every),
        can_compile=device == "cuda" and find_spec("triton") is not None,
        cores=count_available_cores(),
    )


def _can_capture(trainer: Trainer, **settings: int) -> bool:
    try:
        check_capturable(trainer, **settings)
    except UserError:
        return False
    return True


def add_measured(facts: Facts, result: StepProfile) -> Facts:
    """Return the facts with what a profile adds to them."""
    total = sum(result.parts.values())
    return replace(
        facts,
        page_faults=result.page_faults or 0.0,
        waiting=result.parts.get(WAITING, 0.0) / total,
        gpu_waiting=result.parts.get(GPU_WAITING, 0.0) / total,
    )


def find_options(cfg: DictConfig, facts: Facts) -> list[Option]:
    """Find the options that are off and apply here, in the order in which they are tried.

    Args:
        cfg: Configuration of the training, without ``auto``.
        facts: What decides.

    Returns:
        The options; none where nothing is left to set.
    """
    return [*_iterate_step_options(cfg, facts), *_iterate_data_options(cfg, facts)]


def _iterate_step_options(cfg: DictConfig, facts: Facts) -> Iterator[Option]:
    speed, on_cpu, on_gpu = cfg.speed, facts.device == "cpu", facts.device == "cuda"
    if facts.computes_bfloat16 and cfg.trainer.precision in ("32-true", "32", 32):
        # trainer.precision is that of speed, unless it was set by hand
        group = "speed" if OmegaConf.is_interpolation(cfg.trainer, "precision") else "trainer"
        yield Option({f"{group}.precision": "bf16-mixed"}, "the device computes in bfloat16")
    if not speed.channels_last and facts.is_own and (on_cpu or on_gpu):
        yield Option({"speed.channels_last": True}, "the layout of convolutions")
    if not speed.fused_optimizer and facts.can_fuse and (on_cpu or on_gpu):
        yield Option({"speed.fused_optimizer": True}, "one pass over the weights")
    if not speed.matmul_convolutions and facts.has_matmul and on_cpu:
        yield Option({"speed.matmul_convolutions": True}, "convolutions on small maps as matrix products")
    is_float = not facts.computes_bfloat16 and str(cfg.trainer.precision).startswith(("32", "64"))
    if not speed.winograd_convolutions and facts.has_winograd and on_cpu and is_float:
        yield Option({"speed.winograd_convolutions": True}, "large convolutions with fewer products")
    if not speed.keep_memory and facts.can_keep_memory and on_cpu and facts.page_faults >= _MIN_PAGE_FAULTS:
        yield Option({"speed.keep_memory": True}, f"{facts.page_faults:.0f} page faults in a step")
    if facts.gpu_waiting < _MIN_GPU_WAITING or speed.checkpoint_activations:
        return
    waits = f"the GPU waits for Python for {facts.gpu_waiting:.0%} of a step"
    if not speed.cuda_graph and facts.can_capture:
        yield Option({"speed.cuda_graph": True}, waits)
    if not speed.compile and facts.can_compile and facts.is_own:
        yield Option({"speed.compile": True}, waits)


def _iterate_data_options(cfg: DictConfig, facts: Facts) -> Iterator[Option]:
    if facts.waiting < _MIN_WAITING:
        return
    waits = f"{facts.waiting:.0%} of a step is waiting for data"
    workers = cfg.data.num_workers
    more = min(2 * workers or 1, facts.cores, _FEW_WORKERS)
    if more > workers:
        yield Option({"data.num_workers": more}, waits, "training")
    if "cache" in cfg.data and not cfg.data.cache and cfg.data.get("resize_on", "cpu") != "device":
        procedural = str(cfg.data["_target_"]).endswith(".ProceduralDataModule")
        yield Option({"data.cache": "<folder>" if procedural else True}, waits, "waiting")
