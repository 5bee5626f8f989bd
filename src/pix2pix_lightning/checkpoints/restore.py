"""From what was saved to a module: what it needs to be made of it, and to go on from it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from lightning.pytorch import LightningModule

from pix2pix_lightning.checkpoints.files import PROJECT_KEY
from pix2pix_lightning.data.sides import PairSpec
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import build, check_trusted, is_description

Module = TypeVar("Module", bound=LightningModule)

_log = logging.getLogger(__name__)
_UNFIT = (TypeError, ValueError, RuntimeError, AttributeError, LookupError, ArithmeticError, MemoryError)
"""What is raised where descriptions or weights are not those of a module."""


def module_of(
    cls: type[Module],
    saved: Mapping[str, Any],
    *,
    whence: str | Path,
    trust: Sequence[str] = (),
    strict: bool = True,
    live: Mapping[str, Any],
) -> Module:
    """The module of class ``cls`` that was saved. Nothing that is named there is called before all of it is checked.

    Args:
        cls: ``Pix2PixModule`` or a class of one's own that extends it.
        saved: ``hyper_parameters``, ``state_dict`` and what the module adds, as ``read_checkpoint`` and
            ``pretrained.read`` give them.
        whence: The file, for the message.
        trust: Packages, beside this one and torch's, whose networks and losses may be named.
        strict: Whether all weights have to fit.
        live: Arguments of the constructor, in place of the saved ones.

    Raises:
        ValueError: It makes no module, names what is not trusted, or a live object is missing.
    """
    missing = [str(name) for name in saved[PROJECT_KEY]["live"] if str(name).partition(".")[0] not in live]
    if missing:
        raise UserError(
            f"{whence} was made with live objects: give {', '.join(f'{name}=' for name in missing)} as arguments"
        )
    parts = {key: value for key, value in saved["hyper_parameters"].items() if key not in live}
    parts = {key: value for key, value in parts.items() if not key.startswith("_")}
    check_trusted(parts, trust, origin=str(whence))
    state = saved["state_dict"]
    try:
        _check_fits(_described_sizes(parts), state, strict)
        module = cls(**parts, **live)
        module.on_load_checkpoint(dict(saved))
        own = {name: value.shape for name, value in module.state_dict().items()}
        _check_fits(own, state, strict)
        foreign = [name for name in state if name not in own]
        if strict and foreign:
            raise UserError(f"it has no place for {len(foreign)} of the weights there, such as {foreign[0]}")
        module.load_state_dict(state, strict=strict)
    except _UNFIT as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{whence} does not make a {cls.__name__}: {reason}") from None
    return module


def _described_sizes(parts: Mapping[str, Any]) -> dict[str, torch.Size]:
    """Of the weights, before there is memory for them: a stranger's description may be of any size.

    Parts of trusted packages are left out: they may do anything when they are built.
    """
    named = {name: parts.get(name) for name in ("generator", "discriminator", "adversarial")}
    named |= {f"reconstruction.{name}": part for name, part in (parts.get("reconstruction") or {}).items()}
    ours = {name: cast(Mapping[str, Any], part) for name, part in named.items() if _is_ours(part)}
    with torch.device("meta"):
        networks = {name: build(part) for name, part in ours.items()}
    return {
        f"{name}.{key}": value.shape
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }


def _is_ours(part: Any) -> bool:
    try:
        check_trusted(part)
    except ValueError:
        return False
    return is_description(part)


def _check_fits(sizes: Mapping[str, torch.Size], state: Mapping[str, torch.Tensor], strict: bool) -> None:
    """In one line what torch says in one for each weight."""
    other = [name for name, size in sizes.items() if name in state and state[name].shape != size]
    if other:
        there, here = ("x".join(map(str, size)) for size in (state[other[0]].shape, sizes[other[0]]))
        raise UserError(f"{other[0]} is {there} there, and {here} by its description")
    lacking = [name for name in sizes if name not in state]
    if strict and lacking:
        raise UserError(f"it lacks {len(lacking)} weights, such as {lacking[0]}")


def check_goes_on(spec: PairSpec, own: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Refuse to go on from a checkpoint of other pairs or other networks; warn of other optimizers.

    Args:
        spec: Of the pairs that are trained on.
        own: The module's hyperparameters.
        saved: The checkpoint's.

    Raises:
        ValueError: The line names what differs.
    """
    _check_pairs(spec, PairSpec.from_dict(saved["pair_spec"]))
    for name in ("generator", "discriminator"):
        if saved[name] != own[name]:
            raise UserError(
                f"the checkpoint's {name} is {saved[name]}, not {own[name]}: resume with the run's own settings"
            )
    for name in ("optimizer_g", "optimizer_d"):
        if saved[name] != own[name]:
            _log.warning("%s goes on with the checkpoint's settings, not with %s", name, own[name])


def _check_pairs(own: PairSpec, saved: PairSpec) -> None:
    if own.direction != saved.direction:
        raise UserError(
            f"data.direction={own.direction}, but the checkpoint was trained {saved.direction}: go on with the run's "
            "own direction, or start anew without resume="
        )
    sides = ("a", "b") if own.direction == "a_to_b" else ("b", "a")
    for key, side, before in zip(sides, (own.source, own.target), (saved.source, saved.target), strict=True):
        if (side.kind, side.channels) != (before.kind, before.channels):
            raise UserError(
                f"data.{key}.kind={side.kind} (channels: {side.channels}), but the checkpoint was trained with "
                f"kind={before.kind} (channels: {before.channels}): go on with the run's own data, or start anew "
                "without resume="
            )
        if side.palette != before.palette:
            raise UserError(
                f"data.{key}.palette is not the one that the checkpoint was trained with: go on with the run's own "
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
