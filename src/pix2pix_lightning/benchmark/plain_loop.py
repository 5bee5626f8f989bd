"""The reference: the training step as it is commonly written, in eager float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.utils.flop_counter import FlopCounterMode

from pix2pix_lightning.benchmark.plain_networks import build_plain_networks


class PlainLoop:
    """A training step with L1 + cGAN and two default Adam optimizers, without any code of ``Pix2PixModule``.

    Args:
        generator: Maps a source to an output, (B, 3, H, W) in [-1, 1] both.
        discriminator: Maps source and target, concatenated, to logits; None trains by L1 alone.
        device: Device that both are moved to.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module | None, device: torch.device) -> None:
        self.generator = generator.to(device)
        self.discriminator = None if discriminator is None else discriminator.to(device)
        self.networks = [network for network in (self.generator, self.discriminator) if network is not None]
        self.optimizers: list[Optimizer] = [
            torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999)) for network in self.networks
        ]

    def __call__(self, source: Tensor, target: Tensor) -> None:
        """Take a step on source and target, (B, 3, H, W) in [-1, 1] each."""
        fake = self.generator(source)
        loss = 100 * F.l1_loss(fake, target)
        if self.discriminator is not None:
            self._step_discriminator(self.discriminator, source, target, fake.detach())
            self.discriminator.requires_grad_(False)
            loss = loss + _compute_bce(self.discriminator(torch.cat([source, fake], 1)), 1.0)
        self.optimizers[0].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizers[0].step()

    def _step_discriminator(self, network: nn.Module, source: Tensor, target: Tensor, fake: Tensor) -> None:
        network.requires_grad_(True)
        self.optimizers[1].zero_grad()
        loss_fake = _compute_bce(network(torch.cat([source, fake], 1)), 0.0)
        loss_real = _compute_bce(network(torch.cat([source, target], 1)), 1.0)
        ((loss_fake + loss_real) / 2).backward()  # type: ignore[no-untyped-call]
        self.optimizers[1].step()


def _compute_bce(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def count_flop(
    generator: Mapping[str, Any], discriminator: Mapping[str, Any] | None, *, batch_size: int, size: int
) -> int:
    """Count the FLOP of a step with plain networks; a multiplication and an addition are two.

    Args:
        generator: Description of the generator, as in the module's hyperparameters.
        discriminator: Description of the discriminator, or None.
        batch_size: Pairs in a batch.
        size: Side of the images in pixels.

    Returns:
        FLOP of one step of both networks.
    """
    meta = torch.device("meta")  # has shapes, computes nothing
    with meta:
        step = PlainLoop(*build_plain_networks(generator, discriminator), meta)
        source, target = torch.zeros(2, batch_size, 3, size, size)
    with FlopCounterMode(display=False) as counter:
        step(source, target)
    total: int = counter.get_total_flops()
    return total
