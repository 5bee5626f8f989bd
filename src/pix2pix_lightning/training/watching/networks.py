"""The networks that a training is watched by, and the sizes of their gradients and weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

NETWORKS = {"g": "generator", "d": "discriminator"}
"""Attributes of the module with the networks, by the name of their optimizer."""


def get_networks(module: nn.Module) -> dict[str, nn.Module]:
    """Return the networks of a module that are trained, by the names of their optimizers, ``"g"`` and ``"d"``."""
    networks: dict[str, Any] = {short: getattr(module, name, None) for short, name in NETWORKS.items()}
    return {short: network for short, network in networks.items() if isinstance(network, nn.Module)}


def compute_norms(network: nn.Module) -> tuple[Tensor, Tensor]:
    """Compute the norms of a network's gradients and of its weights, scalars on the device."""
    weights = [weight.detach() for weight in network.parameters()]
    gradients = [weight.grad.detach() for weight in network.parameters() if weight.grad is not None]
    device = weights[0].device if weights else torch.device("cpu")
    norms = get_total_norm(gradients), get_total_norm(weights)
    return norms[0].float().to(device), norms[1].float().to(device)
