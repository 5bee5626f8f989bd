"""The reference: pix2pix's training step as people write it, in eager float32."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from pix2pix_lightning.networks import PatchDiscriminator, UNetGenerator


def plain_step(device: torch.device) -> Callable[[Tensor, Tensor], None]:
    """U-Net 256, the 70x70 discriminator, L1 + cGAN and two default Adams, and nothing of ``Pix2PixModule``.

    Args:
        device: Where the networks are.

    Returns:
        A step, given source and target, (B, 3, H, W) in [-1, 1] each.
    """
    generator, discriminator = UNetGenerator().to(device), PatchDiscriminator().to(device)
    optimizer_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))

    def loss_of(logits: Tensor, label: float) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))

    def step(source: Tensor, target: Tensor) -> None:
        fake = generator(source)
        discriminator.requires_grad_(True)
        optimizer_d.zero_grad()
        loss_fake = loss_of(discriminator(torch.cat([source, fake.detach()], 1)), 0.0)
        loss_real = loss_of(discriminator(torch.cat([source, target], 1)), 1.0)
        ((loss_fake + loss_real) / 2).backward()  # type: ignore[no-untyped-call]
        optimizer_d.step()
        discriminator.requires_grad_(False)
        optimizer_g.zero_grad()
        loss_gan = loss_of(discriminator(torch.cat([source, fake], 1)), 1.0)
        (loss_gan + 100 * F.l1_loss(fake, target)).backward()  # type: ignore[no-untyped-call]
        optimizer_g.step()

    return step
