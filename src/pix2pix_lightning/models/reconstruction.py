"""Build the reconstruction losses of a module."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from pix2pix_lightning.data.sides import Side
from pix2pix_lightning.models.components import Description, build_module
from pix2pix_lightning.utils.errors import UserError


def build_reconstruction(parts: Mapping[str, nn.Module | Description], target: Side) -> nn.ModuleDict:
    """Build the reconstruction losses.

    Args:
        parts: Losses by name, described or built.
        target: What a target's pixels mean.

    Returns:
        The losses by name.

    Raises:
        UserError: An argument is wrong, or a loss compares classes and the target is no label map.
    """
    losses = {name: build_module(f"reconstruction.{name}", part) for name, part in parts.items()}
    for name, loss in losses.items():
        if getattr(loss, "compares_classes", False) and target.kind != "label":
            raise UserError(
                f"reconstruction.{name} compares classes, and the target is {target.kind}: set kind=label and a "
                "palette or num_classes of the target's side, or choose another loss"
            )
    return nn.ModuleDict(losses)
