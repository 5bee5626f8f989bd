"""The parts that the module is made of: objects, or descriptions of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import nn

from pix2pix_lightning.utils.instantiate import build, is_description

Description = Mapping[str, Any]


def completed(name: str, network: nn.Module | Description, **channels: int) -> nn.Module | Description:
    """Fill in the channels that a description does not give; an object is given back.

    Raises:
        ValueError: It gives others than the pairs have.
    """
    if not is_description(network):
        return network
    network = cast(Description, network)
    for key, value in channels.items():
        if network.get(key) not in (None, value):
            raise ValueError(f"{name}.{key}={network[key]}, but the pairs make it {value}: leave it out")
    return {**network, **{key: value for key, value in channels.items() if network.get(key) is None}}


def as_deep_as(network: nn.Module | Description, size: int) -> nn.Module | Description:
    """Where a description leaves ``num_downs`` open, halve the training images' side as often as it can be, up to 8.

    Raises:
        ValueError: It cannot be halved at all.
    """
    if not is_description(network):
        return network
    network = cast(Description, network)
    if "num_downs" not in network or network["num_downs"] is not None:
        return network
    if size % 2:
        raise ValueError(f"data.size={size} is odd, and the generator halves it: choose 256, 128, or another even size")
    return {**network, "num_downs": min(8, (size & -size).bit_length() - 1)}


def made(name: str, maker: Any, *args: Any) -> Any:
    """What a description or a function makes of ``args``.

    Raises:
        ValueError: It refuses them; the line begins with ``name``.
    """
    try:
        return build(maker, *args) if is_description(maker) else maker(*args)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from None


def described(part: Any) -> dict[str, Any] | None:
    """The description as plain data, or None for an object."""
    return dict(part) if is_description(part) else None


def as_module(part: nn.Module | Description) -> nn.Module:
    """The object, built where it is described."""
    module: nn.Module = build(cast(Description, part)) if is_description(part) else cast(nn.Module, part)
    return module


def checked_weights(
    weights: Mapping[str, float] | None, reconstruction: Mapping[str, Any], *, has_discriminator: bool
) -> dict[str, float]:
    """A weight for each term of the generator's loss, the paper's where none is given.

    Raises:
        ValueError: A weight has no term, or there is no term.
    """
    adversarial = {"adversarial": 1.0, "feature_matching": 0.0} if has_discriminator else {}
    known = {**adversarial, **{name: 100.0 if name == "l1" else 1.0 for name in reconstruction}}
    weights = weights or {}
    for name in weights:
        if name not in known:
            raise ValueError(f"weights.{name}: no such term here, there are {', '.join(known)}")
    if not known:
        raise ValueError("neither a discriminator nor a reconstruction loss: there is nothing to train on")
    return {name: float(weights.get(name, default)) for name, default in known.items()}


def at_least_one(name: str, value: int) -> int:
    """The value, where it counts something that has to be there.

    Raises:
        ValueError: It is below 1.
    """
    if value < 1:
        raise ValueError(f"{name}={value}: at least 1 is expected")
    return value


def has_batch_norm(network: nn.Module | None) -> bool:
    """Whether a layer of the network mixes the images of a batch."""
    return network is not None and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.modules())
