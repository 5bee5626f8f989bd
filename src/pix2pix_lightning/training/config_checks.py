"""Check the values of a training's configuration before its folder is made."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from hydra.errors import InstantiationException
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import EarlyStopping
from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.recognition import check_open_side, is_open
from pix2pix_lightning.data.sizes import format_size, get_sides
from pix2pix_lightning.models.components import Parts, build_optimizers
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.training.callbacks.judge import Judge
from pix2pix_lightning.utils.checks import check_folder, is_whole_number
from pix2pix_lightning.utils.errors import UserError, add_key
from pix2pix_lightning.utils.instantiate import is_description

_OF_THE_MODULE = {"gradient_clip_val": "gradient_clip", "accumulate_grad_batches": "accumulate"}
_LEAST = {"check_val_every_n_epoch": 1, "log_every_n_steps": 1, "num_nodes": 1, "num_sanity_val_steps": -1}
"""Keys of the trainer that are whole numbers, with the least that they can be."""
_MAX_SEED = 2**32 - 1
"""Of NumPy."""


def check_training_config(cfg: DictConfig) -> None:
    """Check what can be seen without building anything.

    Args:
        cfg: Configuration of a training.

    Raises:
        UserError: A value is out of range; the line has its key.
    """
    _check_descriptions(cfg)
    if (weights := cfg.get("init_weights", "trained")) != "trained" and not cfg.get("init_from"):
        raise UserError(f"init_weights={weights} is of the files of init_from=: set that too, or leave it out")
    for key in ("seed", "data.seed", "module.seed"):
        seed = OmegaConf.select(cfg, key, default=0)
        if not (is_whole_number(seed) and 0 <= seed <= _MAX_SEED):
            raise UserError(f"{key}={seed}: a whole number from 0 to {_MAX_SEED} is expected")
    for node in ("data", "module", "trainer"):
        for key, value in _iterate_numbers(OmegaConf.to_container(cfg[node], resolve=True), node):
            if not math.isfinite(value):
                raise UserError(f"{key}={value}: a finite number is expected")
    if str(cfg.data.get("_target_")).startswith("pix2pix_lightning."):
        for side in ("a", "b"):
            described = cfg.data.get(side) or OmegaConf.create()
            if not OmegaConf.is_dict(described):
                raise UserError(f"data.{side}={described}: keys are expected, such as data.{side}.kind=rgb")
            values = cast(dict[Any, Any], OmegaConf.to_container(described, resolve=True))
            with name_key(f"data.{side}", values, always=True):
                if is_open(values):
                    check_open_side(values)
                else:
                    PairSpec.from_dict({"source": values})
    trainer = cfg.trainer
    for key, name in _OF_THE_MODULE.items():
        if trainer.get(key) not in (None, 1 if name == "accumulate" else None):
            raise UserError(
                f"trainer.{key}={trainer[key]} does not work with two networks: set module.{name}={trainer[key]}"
            )
    for key, least in _LEAST.items():
        value = trainer.get(key)
        if value is not None and not (is_whole_number(value) and value >= least):
            raise UserError(f"trainer.{key}={value}: a whole number of at least {least} is expected")
    epochs = trainer.get("max_epochs")
    if epochs is not None and not (is_whole_number(epochs) and (epochs >= 1 or epochs == -1)):
        raise UserError(f"trainer.max_epochs={epochs}: at least 1 is expected, or -1 for no limit")
    for key in ("limit_train_batches", "max_steps"):
        if trainer.get(key) == 0:
            raise UserError(f"trainer.{key}=0 trains nothing: set a number above 0, or leave it out")
    for key, node in (cfg.get("callbacks") or {}).items():
        is_captured = (cfg.get("speed") or {}).get("cuda_graph") is True
        if is_captured and OmegaConf.is_dict(node) and node.get("on_nan") == "skip_batch":
            raise UserError(
                f"callbacks.{key}.on_nan=skip_batch looks at each step before it is taken, which a captured step does "
                f"not allow: set speed.cuda_graph=false, or callbacks.{key}.on_nan=stop"
            )
    folder = Path(str(cfg.get("name") or "default"))
    if folder.is_absolute() or ".." in folder.parts:
        raise UserError(f"name={folder} leaves the folder runs/: set a name without .., or run_dir=<folder>")
    if cfg.get("run_dir") and not cfg.get("resume"):
        check_folder("run_dir", Path(str(cfg.run_dir)))


def _check_descriptions(cfg: DictConfig) -> None:
    """Check that what is built is described by its class."""
    nodes = {name: cfg[name] for name in ("data", "module")}
    for group in ("callbacks", "logger"):
        nodes |= {f"{group}.{name}": node for name, node in (cfg.get(group) or {}).items() if node is not None}
    for key, node in nodes.items():
        if not is_description(node):
            raise UserError(f"{key}={node}: a class is expected, {{_target_: package.Class, argument: value}}")


def _iterate_numbers(value: Any, key: str) -> Iterator[tuple[str, float]]:
    """Yield the numbers with a fraction in plain data, by their dotted keys."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _iterate_numbers(item, f"{key}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from _iterate_numbers(item, key)
    elif isinstance(value, float):
        yield key, value


@contextmanager
def name_key(key: str, arguments: Mapping[Any, Any], *, always: bool = False) -> Iterator[None]:
    """Put a configuration key in front of errors that are raised inside by the class that it describes.

    Args:
        key: The key, such as ``callbacks.ema``.
        arguments: Arguments of the class by name. A message that begins with one of them gets ``key.`` before it.
        always: Whether other messages get ``key:`` before them.

    Raises:
        UserError: An argument is wrong, with the key in the message.
        InstantiationException: Hydra's error of another cause.
    """
    try:
        yield
    except InstantiationException as error:
        cause = error.__cause__
        if not isinstance(cause, UserError | MisconfigurationException):
            raise
        raise UserError(add_key(key, str(cause), arguments, always=always)) from cause
    except UserError as error:
        raise UserError(add_key(key, str(error), arguments, always=always)) from error


def check_built_module(module: LightningModule, spec: PairSpec) -> None:
    """Check what a training would find out in its first step: the optimizers, and the size of the images.

    Args:
        module: The module. One with optimizers of its own is not checked for them.
        spec: Size of the images. Whole images, which are padded, may have any.

    Raises:
        UserError: An optimizer or a schedule does not take its arguments or cannot train such networks, or a network
            cannot take images of this size.
    """
    if not isinstance(module, Pix2PixModule):
        return
    if not spec.is_whole:
        _check_size(module, spec)
    has_own = type(module).configure_optimizers is not Pix2PixModule.configure_optimizers
    if not has_own:
        parts: Parts = {key: part for key, part in module.parts.items() if key == "schedule" or is_description(part)}
        parts["schedule"] = parts["schedule"] if is_description(parts["schedule"]) else None
        trained = {"g": module.generator, "d": module.discriminator}
        build_optimizers(parts, **{key: net for key, net in trained.items() if f"optimizer_{key}" in parts})


def _check_size(module: Pix2PixModule, spec: PairSpec) -> None:
    networks = {name: getattr(module, name) for name in ("generator", "discriminator")}
    multiples = {name: int(getattr(network, "side_multiple", 1)) for name, network in networks.items()}
    least_sides = {name: int(getattr(network, "min_side", 1)) for name, network in networks.items()}
    step = math.lcm(*multiples.values())
    sides, key = get_sides(spec.size), spec.size_key
    height, width = (-(-max(side, *least_sides.values()) // step) * step for side in sides)  # for both networks
    for name, multiple in multiples.items():
        least = max(least_sides[name], multiple)
        if min(sides) < least or any(side % multiple for side in sides):
            accepted = f"multiples of {multiple} from {least}" if multiple > 1 else f"sides from {least}"
            fits = format_size(height if height == width else (height, width))
            arguments = inspect.signature(type(networks[name])).parameters
            depth = next((argument for argument in ("num_downs", "num_layers") if argument in arguments), None)
            other = f"a smaller network by module.{name}.{depth}" if depth else f"choose another {name}="
            raise UserError(f"{spec.size_setting}: the {name} takes {accepted}; set {key}={fits}, or {other}")


def check_without_validation(callbacks: Mapping[str, Callback]) -> None:
    """Check that a training without validation is neither judged nor to be stopped by a metric of it.

    Args:
        callbacks: Callbacks by their name in the configuration.

    Raises:
        UserError: It is.
    """
    for key, callback in callbacks.items():
        if isinstance(callback, Judge):
            raise UserError(
                f"callbacks.{key} measures in the validation, which trainer.limit_val_batches=0 leaves out: set "
                f"callbacks.{key}=null, or leave trainer.limit_val_batches out"
            )
        if isinstance(callback, EarlyStopping) and callback.strict and str(callback.monitor).startswith("val/"):
            raise UserError(
                f"callbacks.{key}.monitor={callback.monitor} is never computed with trainer.limit_val_batches=0: set "
                f"callbacks.{key}=null, or leave trainer.limit_val_batches out"
            )


def check_monitors(callbacks: Mapping[str, Callback], module: LightningModule) -> None:
    """Check that the metrics which callbacks follow are those of the validation, which is seen after an epoch else.

    Args:
        callbacks: Callbacks by their name in the configuration.
        module: The module. One with a validation of its own is not checked.

    Raises:
        UserError: A callback follows a metric ``val/...`` that the module does not compute.
    """
    steps = ("validation_step", "on_validation_epoch_end")
    if not isinstance(module, Pix2PixModule) or any(
        inspect.unwrap(getattr(type(module), step)) is not getattr(Pix2PixModule, step) for step in steps
    ):
        return
    known = [str(name) for name in module.val_metrics.collection]
    judges: dict[str, Any] = {name: one for one in callbacks.values() for name in getattr(one, "names", ())}  # Judge
    known += judges
    for key, callback in callbacks.items():
        monitor = getattr(callback, "monitor", None)
        every = getattr(judges.get(str(monitor)), "every_n_epochs", 1)
        if isinstance(callback, EarlyStopping) and every > 1:
            raise UserError(
                f"callbacks.{key}.monitor={monitor} is measured every {every} epochs, and looked at "
                "after each: set callbacks.judge.every_n_epochs=1, or another monitor"
            )
        if isinstance(monitor, str) and monitor.startswith("val/") and monitor not in known:
            raise UserError(
                f"callbacks.{key}.monitor={monitor} is no metric of the validation, which has {', '.join(known)}: set "
                f"callbacks.{key}.monitor= to one of them (and its mode=min or max), or add it to module.metrics"
            )
