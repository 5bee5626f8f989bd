"""Rebuild a module from saved hyperparameters and weights, and check that training can be resumed from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from lightning.pytorch import LightningModule
from torch import nn

from pix2pix_lightning.checkpoints.files import PROJECT_KEY, open_checkpoint, read_ema_weights
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.finite import check_finite
from pix2pix_lightning.utils.instantiate import TARGET, build, check_trusted, get_argument, is_description
from pix2pix_lightning.utils.memory import is_out_of_memory

Module = TypeVar("Module", bound=LightningModule)

_UNFIT = (TypeError, ValueError, RuntimeError, AttributeError, LookupError, ArithmeticError, MemoryError)
"""What is raised when descriptions or weights do not fit a module."""


def restore_module(
    cls: type[Module],
    saved: Mapping[str, Any],
    *,
    origin: str | Path,
    trust: Sequence[str] = (),
    strict: bool = True,
    live: Mapping[str, Any],
) -> Module:
    """Rebuild a module from saved hyperparameters and weights.

    Every class that the hyperparameters name is checked before the first is called.

    Args:
        cls: `Pix2PixModule` or a subclass of it.
        saved: ``hyper_parameters``, ``state_dict`` and ``PROJECT_KEY``, as `read_checkpoint` and `read_pretrained`
            return them.
        origin: Path of the file, for error messages.
        trust: Packages, besides this one and torch's, whose networks and losses may be named.
        strict: Whether the weights must be exactly those of the module. Shapes must fit in any case.
        live: Arguments of the constructor, in place of the saved ones.

    Returns:
        The module, in training mode.

    Raises:
        UserError: The data does not fit the class, names a class that is not trusted, or lacks a live object; or its
            weights are not finite.
    """
    missing = [str(name) for name in saved[PROJECT_KEY]["live"] if str(name).partition(".")[0] not in live]
    if missing:
        raise UserError(
            f"{origin} was made with live objects: give {', '.join(f'{name}=' for name in missing)} as arguments"
        )
    parts = {key: value for key, value in saved["hyper_parameters"].items() if key not in live}
    parts = {key: value for key, value in parts.items() if not key.startswith("_")}
    check_trusted(parts, trust, origin=str(origin))
    state = saved["state_dict"]
    try:
        _check_shapes(_infer_shapes(parts), state, strict)
        module = cls(**parts, **live)
        module.on_load_checkpoint(dict(saved))
        own = {name: value.shape for name, value in module.state_dict().items()}
        _check_shapes(own, state, strict)
        foreign = [name for name in state if name not in own]
        if strict and foreign:
            raise UserError(f"it has no place for {len(foreign)} of the saved weights, such as {foreign[0]}")
        module.load_state_dict(state, strict=strict)
    except _UNFIT as error:
        if is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{origin} does not make a {cls.__name__}: {reason}") from None
    check_finite(state, module, origin)
    return module


def _infer_shapes(parts: Mapping[str, Any]) -> dict[str, torch.Size]:
    """Return the shapes of the weights by key, without memory for them: a stranger's description may be of any size.

    Parts of other trusted packages are left out, since they may do anything when they are built.
    """
    named = {name: parts.get(name) for name in ("generator", "discriminator", "adversarial")}
    named |= {f"reconstruction.{name}": part for name, part in (parts.get("reconstruction") or {}).items()}
    own = {name: cast(Mapping[str, Any], part) for name, part in named.items() if _is_own_description(part)}
    with torch.device("meta"):
        networks = {name: build(part) for name, part in own.items()}
    return {
        f"{name}.{key}": value.shape
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }


def _is_own_description(part: Any) -> bool:
    try:
        check_trusted(part)
    except ValueError:
        return False
    return is_description(part)


def _check_shapes(shapes: Mapping[str, torch.Size], state: Mapping[str, torch.Tensor], strict: bool) -> None:
    """Check the weights, with an error of one line where torch's has a line for each weight."""
    wrong = [name for name, shape in shapes.items() if name in state and state[name].shape != shape]
    if wrong:
        saved, expected = ("x".join(map(str, shape)) for shape in (state[wrong[0]].shape, shapes[wrong[0]]))
        raise UserError(f"{wrong[0]} is {saved} in the file, and {expected} by its description")
    missing = [name for name in shapes if name not in state]
    if strict and missing:
        raise UserError(f"it lacks {len(missing)} weights, such as {missing[0]}")


def check_resumable(spec: PairSpec, own: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Check that training can resume from a checkpoint: its images and networks must be the same.

    Args:
        spec: What the training images mean.
        own: Hyperparameters of the module.
        saved: Hyperparameters of the checkpoint.

    Raises:
        UserError: Images or networks differ; the message names the setting.
    """
    _check_pairs(spec, PairSpec.from_dict(saved["pair_spec"]))
    for name in ("generator", "discriminator"):
        before, now = saved[name], own[name]
        if bool(before) != bool(now):
            raise UserError(f"the checkpoint's {name} is {before}, not {now}: resume with the run's own settings")
        before, now = before or {}, now or {}
        for key in (*now, *before):
            values = now.get(key), before.get(key)
            if values[0] != values[1] and now.get(TARGET) == before.get(TARGET):
                # a checkpoint of an earlier version lacks new keys, which stand for the default of their class
                values = get_argument(now, key), get_argument(before, key)
            if values[0] != values[1]:
                raise UserError(
                    f"module.{name}.{key}={values[0]}, but the checkpoint was trained with {values[1]}: resume with "
                    "the run's own settings, or start anew without resume="
                )


def check_same_pairs(own: PairSpec, path: Path) -> None:
    """Check that images mean what they meant to the training of a checkpoint.

    Args:
        own: What the images mean.
        path: The checkpoint.

    Raises:
        UserError: A side or the direction differs; the message names the setting.
    """
    with open_checkpoint(path, skip=None) as checkpoint:
        _check_pairs(own, PairSpec.from_dict(checkpoint["hyper_parameters"]["pair_spec"]))


def _check_pairs(own: PairSpec, saved: PairSpec) -> None:
    if own.direction != saved.direction:
        raise UserError(
            f"data.direction={own.direction}, but the checkpoint was trained {saved.direction}: resume with the run's "
            "own direction, or start anew without resume="
        )
    sides = ("a", "b") if own.direction == "a_to_b" else ("b", "a")
    for key, side, before in zip(sides, (own.source, own.target), (saved.source, saved.target), strict=True):
        if (side.kind, side.channels) != (before.kind, before.channels):
            raise UserError(
                f"data.{key}.kind={side.kind} (channels: {side.channels}), but the checkpoint was trained with "
                f"kind={before.kind} (channels: {before.channels}): resume with the run's own data, or start anew "
                "without resume="
            )
        if side.palette != before.palette:
            raise UserError(
                f"data.{key}.palette is not the one that the checkpoint was trained with: resume with the run's own "
                "data, or start anew without resume="
            )


def detach_lr_tensors(checkpoint: dict[str, Any]) -> None:
    """Replace learning rates that are tensors by numbers, in place, so that a checkpoint fits a run without them.

    Args:
        checkpoint: What the trainer is about to save.
    """
    for state in checkpoint.get("optimizer_states", []):
        for group in state["param_groups"]:
            group.update({key: float(value) for key, value in group.items() if isinstance(value, torch.Tensor)})
    for state in checkpoint.get("lr_schedulers", []):
        _detach_schedule(state)


def _detach_schedule(schedule: dict[str, Any]) -> None:
    for key in {"base_lrs", "_last_lr"} & schedule.keys():
        schedule[key] = [float(rate) for rate in schedule[key]]
    for inner in schedule.get("_schedulers") or ():
        _detach_schedule(inner)


def load_ema_weights(generator: nn.Module, path: Path, *, otherwise: str = "weights=trained") -> None:
    """Load the EMA weights of a checkpoint into its generator.

    Args:
        generator: The generator of the checkpoint.
        path: The checkpoint.
        otherwise: What to set to take other weights, for the error.

    Raises:
        UserError: The file has no EMA weights, or they are not finite.
        OSError: The file cannot be read.
    """
    weights = read_ema_weights(path, otherwise=otherwise)
    check_finite(weights, generator, path)
    generator.load_state_dict(weights)
