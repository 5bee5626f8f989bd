"""The reference: pix2pix's training step as people write it, in eager float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.utils.flop_counter import FlopCounterMode

from pix2pix_lightning.benchmark.plain_networks import plain_networks


class PlainLoop:
    """L1 + cGAN and two default Adams, and nothing of ``Pix2PixModule``.

    Args:
        generator: Source to output, (B, 3, H, W) in [-1, 1] both.
        discriminator: Source and target, concatenated, to logits; None is plain regression.
        device: Where they are moved.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module | None, device: torch.device) -> None:
        self.generator = generator.to(device)
        self.discriminator = None if discriminator is None else discriminator.to(device)
        self.networks = [network for network in (self.generator, self.discriminator) if network is not None]
        self.optimizers: list[Optimizer] = [
            torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999)) for network in self.networks
        ]

    def __call__(self, source: Tensor, target: Tensor) -> None:
        """One step, given source and target, (B, 3, H, W) in [-1, 1] each."""
        fake = self.generator(source)
        loss = 100 * F.l1_loss(fake, target)
        if self.discriminator is not None:
            self._step_discriminator(self.discriminator, source, target, fake.detach())
            self.discriminator.requires_grad_(False)
            loss = loss + _bce(self.discriminator(torch.cat([source, fake], 1)), 1.0)
        self.optimizers[0].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizers[0].step()

    def _step_discriminator(self, network: nn.Module, source: Tensor, target: Tensor, fake: Tensor) -> None:
        network.requires_grad_(True)
        self.optimizers[1].zero_grad()
        loss_fake = _bce(network(torch.cat([source, fake], 1)), 0.0)
        loss_real = _bce(network(torch.cat([source, target], 1)), 1.0)
        ((loss_fake + loss_real) / 2).backward()  # type: ignore[no-untyped-call]
        self.optimizers[1].step()


def _bce(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def count_flop(
    generator: Mapping[str, Any], discriminator: Mapping[str, Any] | None, *, batch_size: int, size: int
) -> int:
    """The FLOP of a step with plain networks like those described; a multiplication and an addition are two.

    Args:
        generator: Description, as the module's hyperparameters have it.
        discriminator: Likewise, or None.
        batch_size: Pairs in a batch.
        size: Side in pixels.
    """
    nowhere = torch.device("meta")  # shapes are counted, nothing is computed
    with nowhere:
        step = PlainLoop(*plain_networks(generator, discriminator), nowhere)
        source, target = torch.zeros(2, batch_size, 3, size, size)
    with FlopCounterMode(display=False) as counter:
        step(source, target)
    total: int = counter.get_total_flops()
    return total
