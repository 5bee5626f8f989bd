"""The parts that a module is made of: objects, or descriptions of them that are completed, checked and built."""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Mapping, Sequence
from numbers import Real
from typing import Any, cast

from torch import nn
from torch.optim import Optimizer, SparseAdam
from torch.optim.lr_scheduler import ReduceLROnPlateau

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.utils.checks import check_counts, check_numbers
from pix2pix_lightning.utils.errors import UserError, add_key
from pix2pix_lightning.utils.instantiate import TARGET, build, is_description, locate

Batch = dict[str, Any]
"""``source`` and ``target``, images (B, C, H, W), and ``name``, a list of strings, if there are names."""
Description = Mapping[str, Any]
Parts = dict[str, Any]
"""The arguments of a module that can be described, by name; ``reconstruction`` holds a part for each name."""

_MAX_DOWNS = 8
_LOGGED_NAMES = (
    *("adversarial", "feature_matching", "mode_seeking", "loss_g", "loss_d", "d_real", "d_fake"),
    *("gradient_penalty", "r1", "label_mix"),
)
_OWN = "pix2pix_lightning"
_EXAMPLES = {
    "generator": f"{_OWN}.networks.UNetGenerator",
    "discriminator": f"{_OWN}.networks.PatchDiscriminator",
    "adversarial": f"{_OWN}.losses.VanillaAdversarial",
    "optimizer_g": "torch.optim.Adam",
    "optimizer_d": "torch.optim.Adam",
    "schedule": f"{_OWN}.training.schedulers.LinearDecay",
}
"""A class for each part that can be described."""


def complete_parts(parts: Parts, spec: PairSpec, *, conditional: bool) -> Parts:
    """Give described networks the channels and the depth that follow from the pairs.

    Args:
        parts: The parts as they were given.
        spec: What the images mean.
        conditional: Whether the discriminator sees the source next to the target.

    Returns:
        The parts with complete descriptions.

    Raises:
        UserError: A description contradicts the pairs, or names an optimizer or a schedule that does not exist.
    """
    _check_kinds(parts)
    source, target = spec.source.channels, spec.target.channels
    generator = fill_channels("generator", parts["generator"], in_channels=source, out_channels=target)
    discriminator = parts["discriminator"]
    if discriminator is not None:
        channels = {"in_channels": source * conditional + target}
        if is_description(discriminator):
            known = _list_arguments(discriminator)
            channels |= {k: v for k, v in {"target_channels": target, "num_classes": source}.items() if k in known}
        discriminator = fill_channels("discriminator", discriminator, **channels)
    for name in ("optimizer_g", "optimizer_d", "schedule"):
        if is_description(parts[name]):
            locate(parts[name][TARGET])  # a wrong name is refused now, not when training starts
    return {**parts, "generator": infer_depth(generator, spec), "discriminator": discriminator}


def _list_arguments(description: Description) -> Collection[str]:
    """Return the names of the arguments of a described class; none if there is no such class, which is told later."""
    try:
        return inspect.signature(locate(description[TARGET])).parameters
    except (UserError, TypeError, ValueError):
        return ()


def _check_kinds(parts: Parts) -> None:
    """Check that each part is an object, a function or a description, and that none is missing."""
    needed = ["generator", "adversarial", "optimizer_g"]
    needed += ["optimizer_d"] if parts["discriminator"] is not None else []
    for name, example in _EXAMPLES.items():
        part = parts[name]
        is_plain = isinstance(part, str | int | float | list | tuple | Mapping) and not is_description(part)
        if is_plain or (part is None and name in needed):
            or_null = "" if name in needed else ", or null"
            shown = "null" if part is None else part
            raise UserError(f"{name}={shown}: a description is expected, such as {{_target_: {example}}}{or_null}")


def fill_channels(name: str, network: nn.Module | Description, **channels: int) -> nn.Module | Description:
    """Fill in the channels that a description leaves open; return an object as it is.

    Args:
        name: What the network is called in an error.
        network: An object or a description.
        **channels: Numbers of channels that the pairs have, by the argument's name.

    Returns:
        The object itself, or a new description in which no channels are open.

    Raises:
        UserError: The description gives other numbers.
    """
    if not is_description(network):
        return network
    network = cast(Description, network)
    for key, value in channels.items():
        if network.get(key) not in (None, value):
            raise UserError(f"{name}.{key}={network[key]}, but the pairs make it {value}: leave it out")
    return {**network, **{key: value for key, value in channels.items() if network.get(key) is None}}


def infer_depth(network: nn.Module | Description, spec: PairSpec) -> nn.Module | Description:
    """Set an open ``num_downs`` of a description to the number of times that the images can be halved, up to 8.

    Args:
        network: An object, which is returned as it is, or a description.
        spec: Size of the training images. Whole images are padded, so that their sides need not be even.

    Returns:
        The object itself, or a description with a ``num_downs`` that is set, if it has one.

    Raises:
        UserError: A side is odd.
    """
    if not is_description(network):
        return network
    network = cast(Description, network)
    if "num_downs" not in network or network["num_downs"] is not None:
        return network
    if spec.is_whole:
        return {**network, "num_downs": min(_MAX_DOWNS, min(spec.height, spec.width).bit_length() - 1)}
    sides = spec.height | spec.width  # as often as both can be halved
    if sides % 2:
        raise UserError(
            f"{spec.size_setting} is odd, and the generator halves it: choose 256, 128, or another even size"
        )
    return {**network, "num_downs": min(_MAX_DOWNS, (sides & -sides).bit_length() - 1)}


def describe_parts(parts: Parts) -> tuple[Parts, list[str]]:
    """Return the descriptions as plain data, with None for objects, and the names of the objects."""
    described: Parts = {}
    live: list[str] = []
    for name, part in parts.items():
        if name == "reconstruction":
            described[name], inner = describe_parts(part)
            live += [f"{name}.{key}" for key in inner]
        else:
            described[name] = dict(part) if is_description(part) else None
            live += [name] if part is not None and not is_description(part) else []
    return described, live


def build_module(name: str, part: nn.Module | Description) -> nn.Module:
    """Build what is described; return an object as it is.

    Args:
        name: What the part is called in an error.
        part: A description or an object.

    Returns:
        The object.

    Raises:
        UserError: An argument is wrong.
    """
    if not is_description(part):
        return cast(nn.Module, part)
    description = cast(Description, part)
    try:
        module: nn.Module = build(description)
    except UserError as error:
        raise UserError(add_key(name, str(error), description)) from error
    return module


def build_or_call(name: str, builder: Any, *args: Any) -> Any:
    """Build from a description, or call a function.

    Args:
        name: What an error's line begins with.
        builder: A description or a function.
        *args: Positional arguments of the class or the function.

    Returns:
        The new object, or what the function returned.

    Raises:
        UserError: The arguments do not fit.
    """
    arguments = builder if is_description(builder) else ()
    try:
        return build(builder, *args) if is_description(builder) else builder(*args)
    except (TypeError, ValueError, LookupError) as error:
        raise UserError(add_key(name, str(error), arguments, always=True)) from None


def build_optimizers(parts: Parts, **networks: nn.Module | None) -> tuple[list[Optimizer], list[dict[str, Any]]]:
    """Build an optimizer for each network and, where there is a schedule, one for each optimizer.

    Args:
        parts: The parts, with ``optimizer_<name>`` for each network, and ``schedule``.
        **networks: Networks by a short name, ``g`` and ``d``; None is left out.

    Returns:
        The optimizers in the order of the networks, and the schedules as Lightning takes them.

    Raises:
        UserError: An optimizer or the schedule does not take its arguments, the optimizer needs more than gradients
            for a step, or the schedule needs a metric.
    """
    optimizers, schedules = [], []
    for name, network in networks.items():
        if network is not None:
            _check_optimizer(f"optimizer_{name}", parts[f"optimizer_{name}"])
            optimizer = build_or_call(f"optimizer_{name}", parts[f"optimizer_{name}"], network.parameters())
            optimizers.append(optimizer)
            if parts["schedule"] is not None:
                schedule = build_or_call("schedule", parts["schedule"], optimizer)
                if isinstance(schedule, ReduceLROnPlateau):
                    raise UserError("schedule: ReduceLROnPlateau follows a metric; choose a schedule of the epochs")
                schedules.append({"scheduler": schedule, "name": f"lr_{name}"})
    return optimizers, schedules


def _check_optimizer(name: str, optimizer: Any) -> None:
    """Check that a step needs gradients alone, and what torch's optimizers leave open: infinite rates, other betas."""
    if not is_description(optimizer):
        return
    cls = locate(optimizer[TARGET])
    closure = inspect.signature(cls.step).parameters.get("closure") if hasattr(cls, "step") else None
    needs_closure = closure is not None and closure.default is inspect.Parameter.empty
    if needs_closure or cls is SparseAdam:
        needed = "a function that computes the loss again" if needs_closure else "sparse gradients"
        raise UserError(
            f"{name}._target_={optimizer[TARGET]} needs {needed}, which a step here does not have: choose "
            "torch.optim.Adam or another optimizer that steps from gradients"
        )
    if not cls.__module__.startswith("torch."):  # others may have three betas, or a rate of their own
        return
    rate, betas = optimizer.get("lr", 0.0), optimizer.get("betas", (0.0, 0.0))
    if not _is_number_below(rate, math.inf):
        raise UserError(f"{name}.lr={rate}: a finite number of at least 0 is expected")
    is_pair = isinstance(betas, Sequence) and not isinstance(betas, str) and len(betas) == 2
    if not is_pair or not all(_is_number_below(beta, 1.0) for beta in betas):
        raise UserError(f"{name}.betas={betas}: two numbers from 0 to below 1 are expected, such as [0.5, 0.999]")


def _is_number_below(value: Any, limit: float) -> bool:
    """Return whether a value is a number from 0 to below a limit, and not NaN."""
    return type(value) is not bool and isinstance(value, Real) and 0 <= float(value) < limit


def complete_weights(
    weights: Mapping[str, float] | None, reconstruction: Mapping[str, Any], *, has_discriminator: bool
) -> dict[str, float]:
    """Return a weight for each term of the generator's loss, the paper's where none is given.

    Args:
        weights: Weights by the name of the term; None gives none.
        reconstruction: Reconstruction losses by name.
        has_discriminator: Whether there are adversarial terms.

    Raises:
        UserError: A weight has no term, a reconstruction loss has a name that it cannot have, or there is no term.
    """
    if not isinstance(reconstruction, Mapping):
        raise UserError(f"reconstruction={reconstruction}: losses by name are expected, {{l1: {{_target_: ...}}}}")
    for name in reconstruction:
        if name in _LOGGED_NAMES or "." in name:
            raise UserError(f"reconstruction.{name}: give it a name without a dot, none of {', '.join(_LOGGED_NAMES)}")
    adversarial = {"adversarial": 1.0, "feature_matching": 0.0} if has_discriminator else {}
    known = {**adversarial, **{name: 100.0 if name == "l1" else 1.0 for name in reconstruction}}
    further = ("mode_seeking",)  # computed where it has a weight
    weights = weights or {}
    for name in weights:
        if name not in (*known, *further):
            raise UserError(f"weights.{name}: no such term here, there are {', '.join((*known, *further))}")
    for name, weight in weights.items():
        if not _is_number_below(weight, math.inf):
            raise UserError(f"weights.{name}={weight}: a finite number of at least 0 is expected")
    if not known:
        raise UserError("neither a discriminator nor a reconstruction loss: there is nothing to train on")
    known |= {name: 0.0 for name in further if name in weights}
    return {name: float(weights.get(name, default)) for name, default in known.items()}


def check_settings(
    *,
    discriminator_steps: int,
    accumulate: int,
    gradient_clip: float | None,
    r1_weight: float,
    r1_every: int,
    has_discriminator: bool,
) -> None:
    """Check the numbers of a module.

    Args:
        discriminator_steps: Steps of the discriminator on a batch, at least 1.
        accumulate: Batches of a step, at least 1; above 1 only with one discriminator step.
        gradient_clip: Largest norm of the gradients, above 0, or None.
        r1_weight: Weight of the R1 penalty, at least 0.
        r1_every: Batches from one R1 penalty to the next, at least 1.
        has_discriminator: Whether there is a discriminator.

    Raises:
        UserError: A number is out of range, or does not go with another.
    """
    check_counts(discriminator_steps=discriminator_steps, accumulate=accumulate, r1_every=r1_every)
    check_numbers(at_least=0, r1_weight=r1_weight)
    if r1_weight and not has_discriminator:
        raise UserError(f"r1_weight={r1_weight} without a discriminator: leave it out")
    if accumulate > 1 and discriminator_steps > 1:
        raise UserError(
            f"accumulate={accumulate} with discriminator_steps={discriminator_steps}: only one of them can be above 1"
        )
    if gradient_clip is not None and not (isinstance(gradient_clip, int | float) and 0 < gradient_clip < math.inf):
        raise UserError(f"gradient_clip={gradient_clip}: a finite norm above 0 is expected, or null")
